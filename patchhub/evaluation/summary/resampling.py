"""95 % intervals of many means at once: what summaries of half a million numbers need.

Torch-free. Shares of cases that are each right or wrong get Wilson's interval
(`patchhub.scoring.intervals.wilson`). Everything else is drawn anew from its cases, with the draws
of `patchhub.scoring.intervals.bootstrap`, for all means over equally many cases in one product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from patchhub.scoring.intervals import RESAMPLES, wilson

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

WILSON, BOOTSTRAP, NONE = "wilson", "bootstrap", ""

_LEVELS = (0.025, 0.975)
_CHUNK = 4_000_000  # numbers held at a time


def mean_intervals(
    values: Floats, counts: Ints, shares: NDArray[np.bool_], trials: Ints
) -> tuple[Floats, Floats, list[str]]:
    """Intervals of the means of consecutive groups of values.

    Args:
        values: One per case, group after group.
        counts: Cases of each group, at least one; at least one group.
        shares: Whether a group's values lie in [0, 1] by what they mean.
        trials: For a group of one value that is itself the share of independent trials: how many;
            1 everywhere else.

    Returns:
        Lower and upper bounds, and the kind of each: `WILSON` for shares that are all 0 or 1, or
        all the same, of which a bootstrap would know nothing; `NONE` with infinite bounds where a
        value is not finite or a single one is no share; else `BOOTSTRAP`.
    """
    starts = np.cumsum(counts) - counts
    finite = np.logical_and.reduceat(np.isfinite(values), starts)
    least, most = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    counted = np.logical_and.reduceat((values == 0) | (values == 1), starts) | (least == most)
    low, high = np.full(len(counts), -np.inf), np.full(len(counts), np.inf)
    kinds = [NONE] * len(counts)
    by_size: dict[int, list[int]] = {}
    for i in np.flatnonzero(finite).tolist():
        n, tried = int(counts[i]), int(trials[i])
        if shares[i] and counted[i]:
            total = float(values[starts[i] : starts[i] + n].sum())
            low[i], high[i] = wilson(total * tried, n * tried)
            kinds[i] = WILSON
        elif n > 1:
            by_size.setdefault(n, []).append(i)
            kinds[i] = BOOTSTRAP
    for n, groups in by_size.items():
        places = starts[groups][:, None] + np.arange(n)
        low[groups], high[groups] = _percentiles(np.sort(values[places], axis=1))
    return low, high, kinds


def draws(n: int) -> Iterator[Floats]:
    """How often each of n cases is drawn, in blocks of shape (draws, n); `RESAMPLES` in all."""
    generator = np.random.default_rng(0)
    block = max(1, min(RESAMPLES, _CHUNK // n))
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        drawn = generator.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(float)


def percentiles(means: Floats) -> tuple[Any, Any]:
    """The interval that resampled means span, along the last axis; NaN does not count."""
    low, high = np.nanquantile(means, _LEVELS, axis=-1)
    return low, high


def _percentiles(values: Floats) -> tuple[Floats, Floats]:
    """Bounds of the mean of each row of ``values``, which are sorted."""
    n = values.shape[1]
    low, high = np.empty(len(values)), np.empty(len(values))
    rows = max(1, _CHUNK // RESAMPLES)
    for start in range(0, len(values), rows):
        some = slice(start, start + rows)
        means = np.concatenate([values[some] @ block.T for block in draws(n)], axis=1) / n
        low[some], high[some] = np.quantile(means, _LEVELS, axis=1)
    # A mean of equal values is that value, however it is summed.
    return np.maximum(low, values[:, 0]), np.minimum(high, values[:, -1])
