"""Means and shares, and 95 % intervals of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution: two-sided 95 %."""

RESAMPLES = 2000
"""Of a bootstrap: the ends of its intervals then move by less than a tenth of their distance."""

_AT_ONCE = 2**21  # numbers drawn at a time


def wilson(successes: float, n: int, *, z: float = Z95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    It holds its level for few trials and for shares near 0 and 1, where the textbook interval
    p ± z·sqrt(p(1-p)/n) collapses to a point.

    Args:
        successes: Sum of scores, each in [0, 1]; for fractional scores the interval is
            conservative, since no variable in [0, 1] with mean p varies more than a coin.
        n: Number of trials.
        z: Normal quantile of the two-sided level.

    Returns:
        Lower and upper bound; (0, 1) without trials.
    """
    if n <= 0:
        return 0.0, 1.0
    p = successes / n
    z2 = z * z
    scale = 1 + z2 / n
    centre = (p + z2 / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    high = 1.0 if successes >= n else min(1.0, centre + half)
    return low, high


def mean_interval(
    values: Sequence[float], weights: Sequence[float] | None = None, *, z: float = Z95
) -> tuple[float, float, float]:
    """Weighted mean of independent values with its normal interval (a ratio estimator).

    Args:
        values: One value per unit (a text's loss per token, say).
        weights: Of the units (its number of tokens); all equal without.
        z: Normal quantile of the two-sided level.

    Returns:
        Mean, lower and upper bound; the bounds are infinite for fewer than two units or where a
        value is not finite.
    """
    broken = [v for v in values if not math.isfinite(v)]
    if broken:
        return sum(broken), -math.inf, math.inf
    w = [1.0] * len(values) if weights is None else list(weights)
    total = math.fsum(w)
    if not values or total <= 0:
        return 0.0, -math.inf, math.inf
    mean = math.fsum(a * v for a, v in zip(w, values, strict=True)) / total
    n = len(values)
    if n < 2:
        return mean, -math.inf, math.inf
    spread = math.fsum((a * (v - mean)) ** 2 for a, v in zip(w, values, strict=True))
    half = z * math.sqrt(spread * n / (n - 1)) / total
    return mean, mean - half, mean + half


def bootstrap(
    values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of independent values with its percentile bootstrap interval (Efron 1979, AoS 7:1).

    Values are edits, not probes: probes of one edit succeed and fail together. The interval stays
    inside the values' range, where a normal one would leave it, and follows a skewed distribution.
    Like that one it says nothing of what no value showed: of equal values it is a point, so shares
    of single probes are `wilson`'s affair.

    Args:
        values: One value per unit, in any order; the order changes nothing.
        resamples: Samples drawn with replacement.
        seed: Of the draws.

    Returns:
        Mean, lower and upper bound; as in `mean_interval` the bounds are infinite for fewer than
        two units or where a value is not finite.
    """
    mean, low, high = mean_interval(values)
    if math.isinf(low):
        return mean, low, high
    import numpy as np

    units = np.sort(np.asarray(values, dtype=np.float64))
    rng = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // len(units))
    sizes = (min(step, resamples - start) for start in range(0, resamples, step))
    means = [units[rng.integers(0, len(units), (size, len(units)))].mean(1) for size in sizes]
    ends = np.percentile(np.concatenate(means), [2.5, 97.5]).tolist()
    # A mean of equal values is that value, however it is summed.
    least, most = float(units[0]), float(units[-1])
    mean, low, high = (min(max(found, least), most) for found in (mean, *ends))
    return mean, low, high


def harmonic_mean(values: Sequence[float]) -> float:
    """Harmonic mean of shares: ROME's score S of ES, PS and NS (arXiv:2202.05262); 0 if one is 0.

    Not a number where one is not; 0 of none.
    """
    if any(math.isnan(value) for value in values):
        return math.nan
    if not values or min(values) <= 0:
        return 0.0
    least = min(values)  # the smallest numbers have no reciprocals
    return len(values) * least / math.fsum(least / value for value in values)
