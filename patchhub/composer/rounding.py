"""Rounding exact sums once, to nearest, ties to even.

Single elements, whatever it takes. First the float64 sum and its error bound of each element (see
`patchhub.composer.exact_sum`); where both ends round to the same bits, these are the bits of the
true sum. The rest is summed without error (Shewchuk 1997, "Adaptive precision floating-point
arithmetic and fast robust geometric predicates"; in Python, `math.fsum`), rounded to odd in float64
and then to nearest, which equals rounding the true sum once (Boldo and Melquiond 2008, "Emulation
of a FMA and correctly rounded sums: proved algorithms using rounding to odd", IEEE Trans. Comput.
57(4):462-471).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BITS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}
"""The dtypes that can be patched, each with the integers that show its bits."""
_FEW = 32
"""Elements that are summed without error at once: sorting them out would take longer."""


def error_bound(count: int, size: float | Tensor) -> float | Tensor:
    """Upper bound of what a float64 sum of ``count`` exact terms is wrong by, in any order.

    n·u·Σ|terms| (Jeannerod and Rump 2013, "Improved error bounds for inner products in
    floating-point arithmetic", SIAM J. Matrix Anal. Appl. 34(2):338-344); the four more cover the
    rounding of the ends of the interval, the last factor that of ``size``. Underflow plays no part:
    terms are multiples of 2⁻²⁹⁸.

    Args:
        count: Terms of each sum.
        size: Upper bound of Σ|terms|.
    """
    return size * ((count + 4) * 2.0**-53 * (1 + 2.0**-20))


def round_sums(own: Tensor, products: Tensor) -> Tensor:
    """Base + Σ terms of some elements, rounded once.

    Where the terms are all zero, or add up to exactly zero on a zero, the base's bits stay (also a
    negative zero's, and infinities and NaN); any other exact zero is +0.

    Args:
        own: The base's elements, ``(n,)``, stored dtype.
        products: Their exact terms, float64, ``(n, terms)``.

    Returns:
        ``(n,)`` in the dtype of ``own``.
    """
    moved = (products != 0).any(1) & own.isfinite()
    table = torch.cat([own.double()[:, None], products], dim=1)
    result = own
    if own.dtype != torch.float64 and len(table) > _FEW:
        total, error = table.sum(1), error_bound(table.shape[1], table.abs().sum(1))
        low, high = round_once(total - error, own.dtype), round_once(total + error, own.dtype)
        settled = low.view(BITS[own.dtype]) == high.view(BITS[own.dtype])
        result = torch.where(moved & settled, low, own)
        moved &= ~settled
    rest = moved.nonzero()[:, 0]
    sums = _sum_rows(table[rest], exactly=own.dtype == torch.float64)
    kept = (sums == 0) & (own[rest] == 0)
    found = torch.where(kept, own[rest], round_once(sums, own.dtype))
    return result.index_put((rest,), found)


def round_once(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Round float64 to ``dtype``, to nearest, ties to even, subnormals included.

    torch rounds float64 to float32 on the way to the 16-bit formats; the second rounding then meets
    ties that the numbers never had. Rounding to odd first makes the detour harmless.
    """
    if dtype in (torch.float64, torch.float32):
        return values.to(dtype)
    single = values.to(torch.float32)
    back = single.double()
    bits = single.view(torch.int32)
    outward = torch.where(values.abs() > back.abs(), 1, -1).to(torch.int32)
    inexact_even = (back != values) & (bits & 1 == 0)
    return torch.where(inexact_even, bits + outward, bits).view(torch.float32).to(dtype)


def _sum_rows(table: Tensor, *, exactly: bool) -> Tensor:
    """Sums of the rows: to nearest if float64 is the goal, else to odd; a zero is exact, and +0."""
    one = math.fsum if exactly else _sum_to_odd
    return torch.tensor([one(row) + 0.0 for row in table.tolist()], dtype=torch.float64)


def _sum_to_odd(terms: list[float]) -> float:
    """The true sum if it is a float64, else the neighbour whose last bit is set."""
    nearest = math.fsum(terms)
    rest = math.fsum([*terms, -nearest])
    if rest == 0 or int(math.frexp(nearest)[0] * 2**53) % 2:
        return nearest
    return math.nextafter(nearest, math.copysign(math.inf, rest))
