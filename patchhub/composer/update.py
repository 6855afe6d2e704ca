"""What a stack adds to one tensor: Σ of its patches, as blocks in float64 or as exact terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from patchhub.kinds.protocol import Roles, WeightKind

Terms: TypeAlias = Sequence[tuple[WeightKind, Roles]]
"""Kind and tensors of each patch that touches a site, in any order."""


class Update:
    """Σ of the patches at one site, in (d_out, d_in).

    All patches that are products of two matrices become one product: a stack of ten rank-1 patches
    costs one pass over memory.

    Args:
        terms: The patches.

    Attributes:
        count: Number of exact terms per element.
        bound: Upper bound of Σ|terms| over all elements, but for the rounding of this bound, which
            is less than 2⁻²⁰ of it.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        pairs = [(pair, kind, roles) for kind, roles in terms for pair in [kind.factors(roles)]]
        products = [pair for pair, _, _ in pairs if pair is not None]
        self._sums = [(kind, roles) for pair, kind, roles in pairs if pair is None]
        self._left = self._right = None
        self._less = 0.0
        self.count = sum(kind.term_count(roles) for kind, roles in terms)
        self.bound = sum(kind.bound(roles) for kind, roles in self._sums)
        if products:
            self._left = torch.cat([left.double() for left, _ in products], dim=1)
            self._right = torch.cat([right.double() for _, right in products])
            self.bound += _bound(self._left, self._right)

    def subtract(self, number: float) -> None:
        """Make every block less by a number, which costs next to nothing inside a product."""
        self._less = number
        if self._left is not None and self._right is not None:
            ones = torch.ones(1, self._right.shape[1], dtype=torch.float64)
            less = torch.full((len(self._left), 1), -number, dtype=torch.float64)
            self._left = torch.cat([self._left, less], dim=1)
            self._right = torch.cat([self._right, ones])

    def add_to(self, total: Tensor, rows: slice, columns: slice) -> None:
        """Add a block to ``total``, float64, of any strides.

        Args:
            total: ``(rows, columns)``, or ``(rows,)`` for a vector.
            rows: Of the block.
            columns: Of the block; ignored for vectors.
        """
        if self._left is not None and self._right is not None:
            left, right = self._left[rows], self._right[:, columns]
            # A library call per block is slow where there is nothing to sum.
            (total.addcmul_ if len(right) == 1 else total.addmm_)(left, right)
        elif self._less:
            total -= self._less
        for kind, roles in self._sums:
            kind.add_to(total, roles, rows, columns)

    def products(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The exact terms of some elements, float64: (elements, count).

        Args:
            rows: Row of each element.
            columns: Column of each element; ignored for vectors.
        """
        return torch.cat([kind.products(r, rows, columns) for kind, r in self._terms], dim=1)


def _bound(left: Tensor, right: Tensor) -> float:
    """Upper bound of |left| @ |right| over all elements, from norms of rows and columns.

    By the triangle inequality, or by Cauchy-Schwarz, which is closer for many terms; the scales of
    a pair of factors are arbitrary, so they are evened out first.
    """
    heights, widths = left.abs().amax(0), right.abs().amax(1)
    plain = float(heights @ widths)
    alive = (heights > 0) & (widths > 0)
    if len(heights) < 4 or not bool(alive.any()):
        return plain
    even = (widths[alive] / heights[alive]).sqrt()
    rows = (left[:, alive] * even).square_().sum(1).amax()
    columns = (right[alive] / even[:, None]).square_().sum(0).amax()
    return min(plain, float((rows * columns).sqrt()))
