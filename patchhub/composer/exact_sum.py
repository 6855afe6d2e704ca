"""Correctly rounded sums: base + Σ patches, an exact real number rounded once.

Such a result is a function of the numbers alone. Order of patches, threads, tiles, BLAS and its use
of fused multiply-adds cannot change a bit, and leaving out a patch gives the bytes that were never
patched with it. How an element gets there:

1. *Estimate.* All terms are exact in float64 (factors have at most 24 significant bits, so a
   product has at most 48). A sum of n such terms in any order lies within n·u·Σ|terms| of the true
   sum, u = 2⁻⁵³ (Jeannerod and Rump 2013, "Improved error bounds for inner products in
   floating-point arithmetic", SIAM J. Matrix Anal. Appl. 34(2):338–344). Underflow plays no part:
   terms are multiples of 2⁻²⁹⁸.
2. *Bracket.* Rounding is monotone: where the lower and the upper end of that interval round to the
   same bits, these are the bits of the true sum. That settles all but about one element in 10⁶ in
   float32.
3. *Decide.* The others are summed without error (Shewchuk 1997, "Adaptive precision floating-point
   arithmetic and fast robust geometric predicates"; in Python, `math.fsum`), rounded to odd in
   float64 and then to nearest, which equals rounding the true sum once (Boldo and Melquiond 2008,
   "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd", IEEE
   Trans. Comput. 57(4):462–471).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.kinds.protocol import Roles, WeightKind
from patchhub.manifest import Orientation, Site

TILE = 1 << 18
"""Elements summed at a time: 2 MiB of float64 for each of the few arrays at work."""
TABLE = 1 << 20
"""Terms listed at a time for the elements that are summed without error."""
_BITS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}
_GRAIN = 1 << 15


Terms: TypeAlias = Sequence[tuple[WeightKind, Roles]]
"""Kind and tensors of each patch that touches a site, in any order."""


def compose(base: Tensor, site: Site, terms: Terms) -> Tensor:
    """The tensor that a site holds with some patches on it.

    Where the patches' terms are all zero, or add up to exactly zero on a zero, the base's bytes
    stay (also a negative zero's, and infinities and NaN); any other exact zero is +0. Sums beyond
    the largest number become infinite as IEEE 754 says.

    Args:
        base: The pristine tensor, stored dtype and layout.
        site: Says how the layout is to be read.
        terms: The kind and tensors of each patch that touches the site. The order does not matter.

    Returns:
        A tensor like ``base`` on the CPU; without terms the base itself.

    Raises:
        InvalidInputError: E112, dtype or shape of ``base`` do not fit.
        PatchHubError: E703, the process flushes subnormal numbers to zero.
    """
    if base.dtype not in _BITS or tuple(base.shape) != tuple(site.shape):
        raise InvalidInputError(
            "E112",
            f"{site.tensor} cannot be patched",
            expected=f"float16, bfloat16, float32 or float64 of shape {tuple(site.shape)}",
            found=f"{base.dtype} of shape {tuple(base.shape)}",
        )
    if not terms:
        return base
    _require_subnormals()
    pristine = base.cpu()
    result = torch.empty_like(pristine)
    turned = site.orientation is Orientation.IN_OUT
    exact_sum(pristine.T if turned else pristine, terms, result.T if turned else result)
    return result


def exact_sum(base: Tensor, terms: Terms, out: Tensor) -> None:
    """Write the correctly rounded sums to ``out``.

    Args:
        base: ``(d_out, d_in)`` or ``(n,)``, any strides.
        terms: As in `compose`.
        out: Same shape and dtype as ``base``.
    """
    step = max(1, TILE // max(1, base[:1].numel()))
    for start in range(0, len(base), step):
        rows = slice(start, min(start + step, len(base)))
        out[rows] = _tile(base[rows], terms, rows)


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


def _tile(base: Tensor, terms: Terms, rows: slice) -> Tensor:
    total = base.double()
    if total is base:
        total = base.clone()
    size = torch.zeros_like(total)
    count = 1
    for kind, roles in terms:
        kind.add_to(total, roles, rows)
        size += kind.magnitude(roles, rows)
        count += kind.term_count(roles)
    moved = (size > 0) & base.isfinite()
    size += base.abs()
    # n·u from the theorem; the rest covers the rounding of this bound and of the ends it gives.
    size *= (count + 4) * 2.0**-53 * (1 + 2.0**-20)
    # torch rounds to the 16-bit formats by way of float32: the ends must stay outside on that
    # detour.
    if base.dtype in (torch.float16, torch.bfloat16):
        size += total.abs() * 2.0**-23 + 2.0**-149
    bits = _BITS[base.dtype]
    result = (total - size).to(torch.float32).to(base.dtype)
    settled = result.view(bits) == (total + size).to(torch.float32).to(base.dtype).view(bits)
    # A zero's sign depends on whether the sum is zero or merely small.
    settled &= result != 0
    result = torch.where(moved, result, base)
    undecided = moved if base.dtype == torch.float64 else moved & ~settled
    _decide(base, terms, rows, undecided, result)
    return result


def _decide(base: Tensor, terms: Terms, rows: slice, undecided: Tensor, result: Tensor) -> None:
    """Sum the undecided elements without error and put them into ``result``."""
    count = 1 + sum(kind.term_count(roles) for kind, roles in terms)
    for places in torch.split(undecided.nonzero(), max(1, TABLE // count)):
        row = places[:, 0]
        column = places[:, 1] if base.ndim > 1 else torch.zeros_like(row)
        where = tuple(places.T)
        own = base[where]
        table = torch.cat(
            [
                own.double()[:, None],
                *(kind.products(roles, row + rows.start, column) for kind, roles in terms),
            ],
            dim=1,
        )
        sums = _sum_rows(table, exactly=base.dtype == torch.float64)
        kept = (sums == 0) & (own == 0)
        result[where] = torch.where(kept, own, round_once(sums, base.dtype))


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


def _require_subnormals() -> None:
    """Refuse to work where a thread rounds subnormals to zero: sums would not be exact any more."""
    smallest = torch.ones(_GRAIN * torch.get_num_threads(), dtype=torch.int32).view(torch.float32)
    if not bool(smallest.double().all()):
        raise PatchHubError(
            "E703",
            "this process rounds subnormal numbers to zero",
            hint="call torch.set_flush_denormal(False) before anything is computed",
        )
