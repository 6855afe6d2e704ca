"""Correctly rounded sums: base + Σ patches, an exact real number rounded once.

Such a result is a function of the numbers alone. Order of patches, threads, tiles, BLAS and its use
of fused multiply-adds cannot change a bit, and leaving out a patch gives the bytes that were never
patched with it. How a tile gets there, in few passes over a block that stays in the cache:

1. *Estimate.* All terms are exact in float64 (factors have at most 24 significant bits, so a
   product has at most 48); their sum lies within a known distance of the true one, for which one
   number holds over the whole tensor: from the largest base element and the norms of the factors.
2. *Bracket.* Rounding is monotone: where the lower and the upper end of that interval round to the
   same bits, these are the bits of the true sum. That settles all but about one element in 10⁶ in
   float32 and one in 10⁴ in the 16-bit formats.
3. *Decide.* The others are summed one by one, see `patchhub.composer.rounding`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchhub.composer.rounding import BITS, error_bound, round_sums
from patchhub.composer.update import Terms, Update
from patchhub.errors import InvalidInputError, PatchHubError
from patchhub.manifest import Orientation, Site

TILE = 1 << 18
"""Elements summed at a time: 5 MiB in all. Smaller ones spend their time on calls."""
TABLE = 1 << 20
"""Terms listed at a time for the elements that are summed one by one."""
_GRAIN = 1 << 15


def compose(base: Tensor, site: Site, terms: Terms, largest: float | None = None) -> Tensor:
    """The tensor that a site holds with some patches on it.

    Where the patches' terms are all zero, or add up to exactly zero on a zero, the base's bytes
    stay (also a negative zero's, and infinities and NaN); any other exact zero is +0. Sums beyond
    the largest number become infinite as IEEE 754 says.

    Args:
        base: The pristine tensor, stored dtype and layout.
        site: Says how the layout is to be read.
        terms: The kind and tensors of each patch that touches the site. The order does not matter.
        largest: What `largest_of` says about ``base``, if it is known.

    Returns:
        A tensor like ``base`` on the CPU; without terms the base itself.

    Raises:
        InvalidInputError: E112, dtype or shape of ``base`` do not fit.
        PatchHubError: E703, the process flushes subnormal numbers to zero.
    """
    check_base(base, site)
    if not terms:
        return base
    require_subnormals()
    pristine = base.cpu()
    result = torch.empty_like(pristine)
    compose_into(result, pristine, site, terms, largest)
    return result


def check_base(base: Tensor, site: Site) -> None:
    """Refuse what cannot be composed.

    Raises:
        InvalidInputError: E112.
    """
    if base.dtype not in BITS or tuple(base.shape) != tuple(site.shape):
        raise InvalidInputError(
            "E112",
            f"{site.tensor} cannot be patched",
            expected=f"float16, bfloat16, float32 or float64 of shape {tuple(site.shape)}",
            found=f"{base.dtype} of shape {tuple(base.shape)}",
        )


def compose_into(
    out: Tensor, base: Tensor, site: Site, terms: Terms, largest: float | None = None
) -> None:
    """As `compose`, but into a tensor that is there, and cast if that is of another dtype.

    Nothing is checked here, see `check_base` and `require_subnormals`.

    Args:
        out: Same shape as ``base``, any dtype and device; no view of ``base``.
        base: The pristine tensor, stored dtype and layout, on the CPU.
        site: Says how the layout is to be read.
        terms: The kind and tensors of each patch that touches the site.
        largest: What `largest_of` says about ``base``, if it is known.
    """
    update = Update(terms)
    if not update.bound:  # all terms are zero, if there are any
        out.copy_(base)
        return
    reach = largest_of(base) if largest is None else largest
    _Tiles(out, base, site.orientation is Orientation.IN_OUT, update, reach).run()


def largest_of(base: Tensor) -> float:
    """Size of the largest element; not finite if one of them is not."""
    if not base.numel():
        return 0.0
    low, high = torch.aminmax(base)
    return max(abs(float(low)), abs(float(high)))


class _Tiles:
    """One tensor on its way, tile by tile over the rows of the stored layout."""

    def __init__(
        self, out: Tensor, base: Tensor, turned: bool, update: Update, largest: float
    ) -> None:
        self._out, self._base, self._turned, self._update = out, base, turned, update
        self._finite = math.isfinite(largest)
        if not self._finite:
            largest = largest_of(torch.where(base.isfinite(), base, 0))
        self._error = float(error_bound(update.count + 1, update.bound + largest))
        self._width = max(1, base[:1].numel())
        self._step = max(1, TILE // self._width)
        shape = (min(self._step, len(base)), *base.shape[1:])
        self._total = torch.empty(shape, dtype=torch.float64)
        self._low, self._high = (torch.empty(shape, dtype=base.dtype) for _ in range(2))
        self._differ, self._sizes = np.empty(shape, np.bool_), np.empty(shape, np.uint16)
        if base.dtype == torch.float32:
            update.subtract(self._error)
        self._smallest = _least_size(self._error, base.dtype) if base.itemsize == 2 else 0
        self._direct = out.dtype == base.dtype and out.device.type == "cpu"
        self._open: list[NDArray[np.intp]] = []

    def run(self) -> None:
        for start in range(0, len(self._base), self._step):
            rows = slice(start, min(start + self._step, len(self._base)))
            undecided = self._tile(rows)
            if undecided.any():
                self._open.append(np.flatnonzero(undecided) + start * self._width)
        if self._open:
            self._decide(torch.from_numpy(np.concatenate(self._open)))

    def _tile(self, rows: slice) -> NDArray[np.bool_]:
        """Write the rows; True where they are not yet what they must be."""
        own = self._base[rows]
        differ = self._differ[: len(own)]
        if own.dtype == torch.float64:
            differ[...] = True
            return differ
        total = self._total[: len(own)]
        total.copy_(own)
        if self._turned:
            self._update.add_to(total.T, slice(None), rows)
        else:
            self._update.add_to(total, rows, slice(None))
        low = self._out[rows] if self._direct else self._low[: len(own)]
        high = self._high[: len(own)]
        (self._wide if own.dtype == torch.float32 else self._narrow)(total, low, high, differ)
        if not self._direct:
            self._out[rows].copy_(low)
        if not self._finite:
            differ |= ~own.isfinite().numpy()
        return differ

    def _wide(self, total: Tensor, low: Tensor, high: Tensor, differ: NDArray[np.bool_]) -> None:
        """Round both ends of an interval whose lower one is ``total``, which is spent."""
        low.copy_(total)
        high.copy_(total.add_(2 * self._error))
        np.not_equal(low.numpy().view(np.int32), high.numpy().view(np.int32), out=differ)

    def _narrow(self, total: Tensor, low: Tensor, high: Tensor, differ: NDArray[np.bool_]) -> None:
        """The same for 16-bit formats, which torch reaches by way of float32.

        The detour moves an end by up to 2⁻²⁴ of its size, so the interval goes from 1 - 2⁻²³ to
        1 + 1.5·2⁻²³ times ``total``. From 2²⁵ times the error upwards that covers the error too;
        what is smaller is left to be summed one by one.
        """
        low.copy_(total.mul_(1 - 2.0**-23))
        high.copy_(total.mul_(1 + 2.5 * 2.0**-23))
        bits, others = (end.view(torch.int16).numpy().view(np.uint16) for end in (low, high))
        np.not_equal(bits, others, out=differ)
        sizes = np.left_shift(bits, 1, out=self._sizes[: len(bits)])
        if sizes.size and sizes.min() < self._smallest:
            differ |= sizes < self._smallest

    def _decide(self, places: Tensor) -> None:
        """Sum single elements, by their index in the stored layout, and write them."""
        for part in torch.split(places, max(1, TABLE // (self._update.count + 1))):
            where = torch.unravel_index(part, self._base.shape)
            row, column = where if len(where) == 2 else (where[0], where[0])
            if self._turned:
                row, column = column, row
            found = round_sums(self._base[where], self._update.products(row, column))
            self._out[where] = found.to(self._out.device, self._out.dtype)


def _least_size(error: float, dtype: torch.dtype) -> int:
    """Bits without the sign, times two, of the least result that `_Tiles._narrow` can vouch for."""
    limit = torch.tensor(2 * max(2.0**25 * error, 2.0**-100), dtype=torch.float64)
    return 2 * (int(limit.to(dtype).view(torch.int16)) + 1)


def require_subnormals() -> None:
    """Refuse to work where a thread rounds subnormals to zero: sums would not be exact any more.

    Raises:
        PatchHubError: E703.
    """
    smallest = torch.ones(_GRAIN * torch.get_num_threads(), dtype=torch.int32).view(torch.float32)
    if not bool(smallest.double().all()):
        raise PatchHubError(
            "E703",
            "this process rounds subnormal numbers to zero",
            hint="call torch.set_flush_denormal(False) before anything is computed",
        )
