"""How large updates are, and how far two of them lie apart, without writing them out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from patchhub.composer.exact_sum import TILE
from patchhub.kinds.protocol import Roles, WeightKind

Signed = Sequence[tuple[int, WeightKind, Roles]]
"""Updates of one tensor, each with +1 or -1."""


@dataclass(frozen=True, slots=True)
class Apart:
    """How two states of one tensor differ, in the dtype they are stored in.

    Attributes:
        changed: Elements that are not equal.
        elements: Elements in all.
        relative: Frobenius norm of the difference over that of the base's tensor.
    """

    changed: int
    elements: int
    relative: float


def norm(terms: Signed, shape: tuple[int, ...]) -> float:
    """Frobenius norm of a signed sum of updates, in float64.

    Where every update is a product B A of thin factors, so is the sum: ‖[B₁ ±B₂ …] [A₁; A₂; …]‖ is
    ‖R_B R_Aᵀ‖ with the R of thin QR decompositions: small matrices, and (unlike traces of Gram
    matrices) no digits are lost where two updates nearly cancel. Others are summed block by block.

    Args:
        terms: The updates.
        shape: (d_out, d_in), or (n,).
    """
    factors = [(sign, kind.factors(roles)) for sign, kind, roles in terms]
    thin = [(sign, pair) for sign, pair in factors if pair is not None]
    rank = sum(left.shape[1] for _, (left, _) in thin)
    if thin and len(thin) == len(factors) and rank <= min(shape):
        left = torch.cat([sign * pair[0].double() for sign, pair in thin], dim=1)
        right = torch.cat([pair[1].double() for _, pair in thin])
        return float((_triangle(left) @ _triangle(right.T).T).norm())
    return _blockwise(terms, shape)


def apart(before: Tensor, after: Tensor, base: Tensor) -> Apart:
    """Compare two states of a tensor, all in stored dtype and layout."""
    changed, difference, whole = 0, 0.0, 0.0
    step = max(1, TILE // max(1, base[:1].numel()))
    for start in range(0, len(base), step):
        rows = slice(start, start + step)
        gap = after[rows].double() - before[rows].double()
        changed += int(gap.count_nonzero())
        difference += float(gap.square().sum())
        whole += float(base[rows].double().square().sum())
    relative = math.sqrt(difference / whole) if whole else math.inf if difference else 0.0
    return Apart(changed, base.numel(), relative)


def _triangle(matrix: Tensor) -> Tensor:
    found: Tensor = torch.linalg.qr(matrix, mode="r").R
    return found


def _blockwise(terms: Signed, shape: tuple[int, ...]) -> float:
    width = shape[1] if len(shape) > 1 else 1
    step = max(1, TILE // width)
    total = 0.0
    for start in range(0, shape[0], step):
        rows = slice(start, min(start + step, shape[0]))
        size = (rows.stop - rows.start, *shape[1:])
        gap = torch.zeros(size, dtype=torch.float64)
        for sign, kind, roles in terms:
            update = torch.zeros(size, dtype=torch.float64)
            kind.add_to(update, roles, rows, slice(0, width))
            gap.add_(update, alpha=sign)
        total += float(gap.square().sum())
    return math.sqrt(total)
