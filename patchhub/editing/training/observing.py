"""What single projections get and what the loss wants of them, at the labelled places."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from patchhub.editing.passes.budget import Budget
from patchhub.editing.passes.trace import by_row, leaf_outputs, seen_inputs
from patchhub.editing.training.labels import Labelled, LabelledBatch, longest
from patchhub.editing.training.projections import lowest_block
from patchhub.loading import LoadedBase
from patchhub.sites import module_of


def observed(
    base: LoadedBase, rows: Sequence[Labelled], paths: Sequence[str], memory: int | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Input and output gradient of projections at each label.

    The loss is the mean over all labels of −log p, in nats. The graph begins at the lowest of the
    projections and holds no gradients of weights.

    Args:
        base: The model, its parameters frozen.
        rows: Run as one batch, or as several where one does not fit.
        paths: Of modules that hold one matrix each.
        memory: Bytes for a pass beside the model (see `Budget`); ``None`` for no limit.

    Returns:
        Per path, keys ``(m, d_in)`` and gradients ``(m, d_out)``.
    """
    together = len(rows)
    if memory is not None:
        budget = Budget(base.model, base.arch, lowest_block(base, paths))
        together = budget.rows(longest(rows), memory)
    labels = sum(len(row.labels) for row in rows)
    parts = [
        _pass(base, rows[start : start + together], paths, labels)
        for start in range(0, len(rows), together)
    ]
    return {
        path: (torch.cat([p[path][0] for p in parts]), torch.cat([p[path][1] for p in parts]))
        for path in paths
    }


def _pass(
    base: LoadedBase, rows: Sequence[Labelled], paths: Sequence[str], labels: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """What some rows add to it, of rows that have so many labels."""
    modules = {path: module_of(base.model, path) for path in paths}
    batch = LabelledBatch(base, rows)
    with torch.enable_grad(), seen_inputs(modules) as into, leaf_outputs(modules) as out:
        said = batch.run(batch.every)
        log_p = said.logits.log_softmax(-1).gather(1, said.labels[:, None])
        gradients = torch.autograd.grad(-log_p.sum() / labels, [out[path] for path in paths])
    return {
        path: (
            by_row(into[path].detach(), batch.size)[said.rows, said.slots],
            by_row(gradient, batch.size)[said.rows, said.slots],
        )
        for path, gradient in zip(paths, gradients, strict=True)
    }
