"""Integrated gradients of an answer's probability with respect to the neurons of every MLP.

Source: Sundararajan et al. 2017, arXiv:1703.01365, as Dai et al. 2022, arXiv:2104.08696, eq. 2 to
3, apply it to the neurons of one block at a time: with a the activations,

    attribution = a/m ⊙ Σ_α ∂p(answer | activations = α·a) / ∂activations.

A neuron is an output of the MLP's first projection, before the non-linearity (of the gate, in a
gated MLP), at the positions that a `Place` runs.

Only those positions change, and below a block none: one pass serves all blocks. It begins with
one row, as the model is; at every block rows branch off, one per α, that go on from the first row
with their activations in that block scaled. Rows do not see each other, so the gradient of the
sum of their probabilities is the gradient of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from patchhub.editing.passes.recall import Place
from patchhub.editing.passes.trace import by_row, changed_output, first_input
from patchhub.loading import LoadedBase
from patchhub.sites import module_of, weight_matrix

Branch = tuple[int, float]
"""A block and the α of a row that branches off there."""

_ROWS = 256
"""Most rows of one pass: more gains nothing and outgrows the processor's cache."""
_HIDDEN, _INNER = 16, 6
"""Numbers that a block keeps for the gradient, per position: times residual and MLP width."""


def attributions(
    base: LoadedBase, place: Place, grid: Sequence[float], *, memory: int | None = None
) -> Tensor:
    """Of the mean probability of the place's labels, ``(blocks, positions, neurons)``, float64.

    Args:
        base: The model, its parameters without gradients.
        place: Where it is asked.
        grid: The α's.
        memory: Bytes that passes may use, or ``None`` for no limit; more than one row needs is used
            up by as many rows as fit.
    """
    blocks = base.arch.block_count(base.model)
    branches = [(layer, share) for layer in range(blocks) for share in grid]
    found = torch.zeros(blocks, place.positions, _neurons(base, 0), dtype=torch.float64)
    for part in _parts(base, place, branches, memory):
        for layer, scores in _pass(base, place, part).items():
            found[layer] += scores.double().cpu()
    return found / len(grid)


def _pass(base: LoadedBase, place: Place, branches: Sequence[Branch]) -> dict[int, Tensor]:
    """Activations times the sum of gradients over the branches, of each block."""
    model, arch = base.model, base.arch
    shares: dict[int, list[float]] = {}
    for layer, share in branches:
        shares.setdefault(layer, []).append(share)
    rows, count = [], 1
    for layer in range(arch.block_count(model)):
        count += len(shares.get(layer, ()))
        rows.append(count)
    branched: dict[int, tuple[Tensor, Tensor]] = {}
    with ExitStack() as stack, torch.enable_grad():
        for layer, some in shares.items():
            block = module_of(model, arch.path("block", layer, model))
            first = module_of(model, arch.paths("mlp_in", layer, model)[0])
            scaled = _scaled(base, layer, rows[layer], some, branched)
            stack.enter_context(_more_rows(block, len(some)))
            stack.enter_context(changed_output(first, scaled))
        logits = place.logits(base, rows)[1:]
        labels = logits.softmax(-1)[:, list(place.slots), list(place.labels)]
        leaves = [leaf for _, leaf in branched.values()]
        gradients = torch.autograd.grad(labels.mean(1).sum(), leaves)
    return {
        layer: own * gradient.sum(0)
        for (layer, (own, _)), gradient in zip(branched.items(), gradients, strict=True)
    }


def _scaled(
    base: LoadedBase,
    layer: int,
    rows: int,
    shares: Sequence[float],
    branched: dict[int, tuple[Tensor, Tensor]],
) -> Callable[[Tensor], Tensor]:
    """Scale the activations of the newest rows; notes the activations and what is differentiated.

    Where gate and up-projection are one module, the gate comes first, and only it is scaled.
    """
    neurons = _neurons(base, layer)

    def change(hidden: Tensor) -> Tensor:
        whole = by_row(hidden, rows)
        own = whole[:1, :, :neurons].detach()
        leaf = (own.new_tensor(shares)[:, None, None] * own).requires_grad_()
        branched[layer] = own[0], leaf
        rest = whole[:1, :, neurons:].expand(len(shares), -1, -1)
        newest = torch.cat([leaf, rest], dim=-1)
        return torch.cat([whole[: -len(shares)], newest]).reshape(hidden.shape)

    return change


@contextmanager
def _more_rows(block: nn.Module, count: int) -> Iterator[None]:
    """Let ``count`` copies of the first row join what the block is given."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = first_input(args, kwargs)
        joined = torch.cat([hidden, hidden[:1].expand(count, *hidden.shape[1:])])
        return (
            tuple(joined if value is hidden else value for value in args),
            {name: joined if value is hidden else value for name, value in kwargs.items()},
        )

    handle = block.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _neurons(base: LoadedBase, layer: int) -> int:
    """Width of an MLP."""
    down = module_of(base.model, base.arch.path("mlp_out", layer, base.model))
    return weight_matrix(down).shape[1]


def _parts(
    base: LoadedBase, place: Place, branches: Sequence[Branch], memory: int | None
) -> Iterator[list[Branch]]:
    """Branches of one pass after another; those of high blocks cost less."""
    model, blocks = base.model, base.arch.block_count(base.model)
    words, width = weight_matrix(module_of(model, base.arch.head)).shape
    held = sum(keys.numel() + values.numel() for keys, values in place.past) / blocks
    block = place.positions * (_HIDDEN * width + _INNER * _neurons(base, 0)) + held
    part: list[Branch] = []
    used = 0.0
    for branch in branches:
        numbers = block * (blocks - branch[0]) + 3 * place.positions * words
        size = numbers * model.dtype.itemsize
        full = memory is not None and used + size > memory
        if part and (full or len(part) == _ROWS):
            yield part
            part, used = [], 0.0
        part.append(branch)
        used += size
    yield part
