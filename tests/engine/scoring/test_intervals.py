from __future__ import annotations

import math

import pytest

from patchhub.scoring.intervals import mean_interval, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998, Stat. Med. 17:857, table I, method 3 (Wilson score).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_ends_and_symmetry() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == 1.0
    assert wilson(10, 10)[0] == pytest.approx(0.7225, abs=5e-5)
    low, high = wilson(3, 10)
    assert wilson(7, 10) == pytest.approx((1 - high, 1 - low))


def test_mean_interval_by_hand() -> None:
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    half = 1.959963984540054 * 1.0 / math.sqrt(3)  # standard deviation 1
    assert (mean, low, high) == pytest.approx((2.0, 2 - half, 2 + half))


def test_weights_are_counts() -> None:
    mean, _, _ = mean_interval([1.0, 4.0], [3.0, 1.0])
    assert mean == pytest.approx(1.75)


def test_too_few_values_bound_nothing() -> None:
    assert mean_interval([2.0]) == (2.0, -math.inf, math.inf)
    assert mean_interval([]) == (0.0, -math.inf, math.inf)


def test_values_that_are_not_finite_are_not_averaged_away() -> None:
    assert mean_interval([1.0, math.inf]) == (math.inf, -math.inf, math.inf)
    assert math.isnan(mean_interval([math.inf, -math.inf])[0])
    assert math.isnan(mean_interval([1.0, math.nan])[0])
