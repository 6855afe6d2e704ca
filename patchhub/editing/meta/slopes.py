"""Gradients as factors, and updates as factors: no matrix is ever formed.

The gradient of a loss with respect to the weight of a projection y = W x is Σ_t d_t u_tᵀ, with u_t
its input at position t and d_t the gradient of the loss with respect to its output there. An update
of the same form is added to the output: y + Σ_t d̂_t (û_tᵀ x).

Source: Mitchell et al. 2022, arXiv:2110.11309, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from patchhub.editing.passes.trace import by_row, first_input, leaf_outputs, seen_inputs
from patchhub.editing.training.labels import Labelled, LabelledBatch
from patchhub.loading import LoadedBase
from patchhub.sites import module_of


@dataclass(frozen=True, eq=False)
class Factors:
    """Of one projection and several edits, each padded with zeros to as many positions.

    Attributes:
        inputs: u or û ``(e, t, d_in)``.
        slopes: d or d̂ ``(e, t, d_out)``; the product is Σ_t d_t u_tᵀ.
    """

    inputs: Tensor
    slopes: Tensor

    @property
    def used(self) -> Tensor:
        """Where neither factor is zero ``(e, t)``; padding, and what no label hears of, is."""
        return (self.inputs != 0).any(-1) & (self.slopes != 0).any(-1)

    def joined(self, count: int) -> Factors:
        """Edits summed by ``count``: their positions side by side."""
        edits, positions = self.inputs.shape[:2]
        size = (edits // count, count * positions)
        return Factors(
            self.inputs.reshape(*size, self.inputs.shape[-1]),
            self.slopes.reshape(*size, self.slopes.shape[-1]),
        )


def gradients(
    base: LoadedBase, rows: Sequence[Labelled], paths: Sequence[str]
) -> dict[str, Factors]:
    """The gradient of each row's own loss, at all positions.

    The loss of a row is the mean over its labels of −log p, in nats: what a row gives does not
    depend on the others. The graph begins at the lowest of the projections.

    Args:
        base: The model, its parameters frozen.
        rows: One per edit.
        paths: Of modules that hold one matrix each.
    """
    modules = {path: module_of(base.model, path) for path in paths}
    batch = LabelledBatch(base, rows)
    with torch.enable_grad(), seen_inputs(modules) as into, leaf_outputs(modules) as out:
        said = batch.run(batch.every)
        log_p = said.logits.log_softmax(-1).gather(1, said.labels[:, None])[:, 0]
        counts = said.rows.bincount(minlength=len(rows))
        loss = -(log_p / counts[said.rows]).sum()
        found = torch.autograd.grad(loss, [out[path] for path in paths])
    return {
        path: Factors(by_row(into[path].detach(), len(rows)), by_row(slope, len(rows)))
        for path, slope in zip(paths, found, strict=True)
    }


@contextmanager
def updated(base: LoadedBase, updates: Mapping[str, Factors], owners: Tensor) -> Iterator[None]:
    """Run batches in which each row has weights of its own: those of one of several updates.

    Args:
        base: The model.
        updates: By path of a projection.
        owners: For each row of the batch, which of the updates it has ``(b,)``.
    """

    def hook(own: Factors) -> Callable[..., Tensor]:
        rows, columns = own.inputs[owners].mT, own.slopes[owners]

        def add(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
            hidden = by_row(first_input(args, kwargs), len(owners))
            return output + ((hidden @ rows) @ columns).reshape(output.shape)

        return add

    with ExitStack() as stack:
        for path, own in updates.items():
            module = module_of(base.model, path)
            handle = module.register_forward_hook(hook(own), with_kwargs=True)
            stack.callback(handle.remove)
        yield
