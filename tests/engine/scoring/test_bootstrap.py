from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patchhub.scoring.intervals import bootstrap, harmonic_mean

FINITE = st.floats(-1e6, 1e6)
SHARES = st.floats(0, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(FINITE, min_size=2, max_size=30), st.integers(0, 5), st.randoms())
def test_the_interval_stays_among_the_values_in_whatever_order(
    values: list[float], seed: int, rng: random.Random
) -> None:
    mean, low, high = bootstrap(values, resamples=200, seed=seed)
    assert mean == pytest.approx(sum(values) / len(values), abs=1e-6)
    assert min(values) <= low <= high <= max(values)
    assert min(values) <= mean <= max(values)
    assert (mean, low, high) == bootstrap(rng.sample(values, len(values)), resamples=200, seed=seed)


def test_scale_and_shift_go_through() -> None:
    values = [0.0, 0.1, 0.5, 0.9, 1.0, 1.0]
    plain = bootstrap(values)
    moved = bootstrap([3 - 2 * value for value in values])
    assert moved[0] == pytest.approx(3 - 2 * plain[0])
    # Ends change places; the draws are mirrored, not the same.
    assert moved[1:] == pytest.approx((3 - 2 * plain[2], 3 - 2 * plain[1]), abs=0.1)


def test_too_little_bounds_nothing() -> None:
    assert bootstrap([]) == (0.0, -math.inf, math.inf)
    assert bootstrap([0.3]) == (0.3, -math.inf, math.inf)
    assert bootstrap([1.0, math.inf]) == (math.inf, -math.inf, math.inf)
    mean, low, high = bootstrap([1.0, math.nan])
    assert math.isnan(mean)
    assert (low, high) == (-math.inf, math.inf)


def test_equal_values_are_a_point() -> None:
    assert bootstrap([0.1] * 7) == (0.1, 0.1, 0.1)


def test_many_units_are_drawn_in_parts() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(3000).tolist()
    mean, low, high = bootstrap(values, resamples=1500)
    half = 1.96 * float(np.std(values)) / math.sqrt(len(values))
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=half / 5)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """A skewed score, as magnitudes are; 40 edits. Percentile intervals are a little too short."""
    rng = np.random.default_rng(1)
    covered = 0
    trials = 1000
    for seed in range(trials):
        _, low, high = bootstrap((rng.random(40) ** 3).tolist(), resamples=500, seed=seed)
        covered += low <= 0.25 <= high
    # Binomial: 0.94 ± 4 standard deviations of a share of 1,000.
    assert abs(covered / trials - 0.94) < 4 * math.sqrt(0.94 * 0.06 / trials)


def test_harmonic_mean_by_hand() -> None:
    assert harmonic_mean([1.0, 0.5, 0.25]) == pytest.approx(3 / (1 + 2 + 4))
    # ROME, GPT-2 XL (arXiv:2202.05262, table 4): ES 100.0, PS 96.4, NS 75.4 make S 89.2.
    assert round(harmonic_mean([100.0, 96.4, 75.4]), 1) == 89.2
    assert harmonic_mean([1.0, 0.0, 1.0]) == 0.0
    assert harmonic_mean([]) == 0.0
    assert math.isnan(harmonic_mean([0.0, math.nan]))


@given(st.lists(SHARES, min_size=1, max_size=5))
@example([1.1125369292536007e-308, 1.1125369292536007e-308])
def test_harmonic_mean_lies_between_its_values_and_below_their_mean(values: list[float]) -> None:
    found = harmonic_mean(values)
    assert 0.0 <= found <= sum(values) / len(values) + 1e-12
    assert found == 0.0 or found >= min(values) * (1 - 1e-12)
