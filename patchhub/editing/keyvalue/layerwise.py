"""Solve and write one layer after another, each on the model that the ones below left.

Source: Meng et al. 2023, arXiv:2210.07229, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from patchhub.editing.editor import EditContext
from patchhub.editing.keyvalue.keys import KeyStream, Prompts
from patchhub.editing.passes.trace import swapped
from patchhub.editing.wording.tokens import filler_id
from patchhub.errors import InvalidInputError
from patchhub.sites import module_of, weight_matrix

Solve = Callable[[int, Tensor], Tensor]
"""(block, keys K ``(f, n)``) ↦ A ``(f, n)``, float64: the update for residuals R is ``R Aᵀ``."""
Share = Callable[[int], float]
"""Part of what is still missing that a layer makes up for, given how many layers are left, itself
included."""


def evenly(left: int) -> float:
    """MEMIT's share."""
    return 1.0 / left


@dataclass(frozen=True, eq=False)
class Solution:
    """Everything an edit computed, in float64 on the CPU.

    Attributes:
        factors: Block → A ``(f, n)`` and R ``(d, n)``; ΔW = R Aᵀ.
        keys: Block → ``(n, f)``, on the weights with all lower blocks written.
        residuals: δ per target, ``(n, d)``.
    """

    factors: dict[int, tuple[Tensor, Tensor]]
    keys: dict[int, Tensor]
    residuals: Tensor


def write_layers(
    context: EditContext,
    prompts: Sequence[Prompts],
    deltas: Tensor,
    layers: Sequence[int],
    *,
    solve: Solve,
    share: Share,
    site: str,
) -> Solution:
    """Layer by layer keys, residuals, update, and the write, which no tensor of the model sees.

    Args:
        context: The model as it is, and the memory to use beside it.
        prompts: Where each target is looked up.
        deltas: By how much the output of ``site`` in the last layer shall move there, ``(n, d)``.
        layers: Blocks to write, ascending.
        solve: The method's closed form.
        share: The method's.
        site: ``block``, ``mlp`` or ``mlp_out``.

    Raises:
        InvalidInputError: E145, a system is singular; E148, an update is not finite.
    """
    base, model = context.base, context.base.model
    stream = KeyStream(
        model,
        base.arch,
        prompts,
        top=layers[-1],
        site=site,
        filler=filler_id(base.tokenizer),
        memory=context.memory,
    )
    wanted = deltas.cpu().double()
    solution, first = Solution({}, {}, wanted), torch.zeros(())
    with ExitStack() as stack:
        for done, layer in enumerate(layers):
            context.report("layers", done, len(layers))
            keys, values = stream.read([layer])
            first = first if done else values
            residuals = share(len(layers) - done) * (wanted - (values - first)).T
            rows = solve(layer, keys[layer].T)
            _check_finite(layer, rows, residuals)
            path = base.arch.path("mlp_out", layer, model, base.arch.reading)
            module = module_of(model, path)
            own = module.get_parameter("weight").detach()
            stack.enter_context(swapped(module, "weight", own.clone()))
            weight_matrix(module).add_((residuals @ rows.T).to(own.device, own.dtype))
            solution.factors[layer] = rows, residuals
            solution.keys[layer] = keys[layer]
    context.report("layers", len(layers), len(layers))
    return solution


def _check_finite(layer: int, *factors: Tensor) -> None:
    if not all(bool(torch.isfinite(factor).all()) for factor in factors):
        raise InvalidInputError(
            "E148",
            f"the update of block {layer} is not finite",
            expected="numbers",
            hint="a larger weight of the covariance, or fewer requests that look alike",
        )
