"""S, one number for three: the harmonic mean of ES, PS and NS, by method and state.

Its interval draws cases, each with its three numbers, so it knows that they go together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from patchhub.evaluation.records import ACCURACY, SCORE
from patchhub.evaluation.summary.columns import KEY
from patchhub.evaluation.summary.lines import S
from patchhub.evaluation.summary.resampling import BOOTSTRAP, NONE, Floats, Ints, draws, percentiles
from patchhub.scoring.intervals import harmonic_mean
from patchhub.scoring.protocols import Protocol

PARTS = ("reliability.target", "generalization.paraphrase", "locality.neighbourhood")
"""ES, PS and NS, under likelihood, over all that was asked."""

_MEASURE, _PROTOCOL, _FIGURE = (KEY.index(name) for name in ("measure", "protocol", "figure"))


class Harmonic(NamedTuple):
    """S of a state.

    Attributes:
        key: In the order of `KEY`.
        groups: Places of ES, PS and NS among the groups.
        value: S.
        low: Lower end of the 95 % interval.
        high: Upper end.
        interval: Its kind.
        n_cases: Cases that have any of the three.
        before: S of the unedited model.
    """

    key: tuple[Any, ...]
    groups: tuple[int, int, int]
    value: float
    low: float
    high: float
    interval: str
    n_cases: int
    before: float


def harmonics(
    keys: Sequence[tuple[Any, ...]],
    cases: Sequence[Ints],
    values: Sequence[Floats],
    before: Sequence[Floats],
) -> Iterator[Harmonic]:
    """S wherever its three parts are.

    Args:
        keys: Of the groups.
        cases: Of each group, sorted.
        values: Of each group, one per case.
        before: The same of the unedited model.
    """
    for key, parts in _trios(keys).items():
        shown = np.unique(np.concatenate([cases[i] for i in parts]))
        table = np.full((3, len(shown)), np.nan)
        for row, i in zip(table, parts, strict=True):
            row[np.searchsorted(shown, cases[i])] = values[i]
        value, old = (harmonic_mean([own[i].mean() for i in parts]) for own in (values, before))
        low, high, interval = -np.inf, np.inf, NONE
        if len(shown) > 1 and all(np.isfinite(values[i]).all() for i in parts):
            low, high = percentiles(_drawn(table))
            interval = BOOTSTRAP
        if low == high:  # every draw says the same: nothing is known of its spread
            low, high, interval = -np.inf, np.inf, NONE
        yield Harmonic(key, parts, value, float(low), float(high), interval, len(shown), old)


def _mean(parts: Floats) -> Floats:
    """Harmonic mean along the first axis; 0 where a part is."""
    with np.errstate(divide="ignore"):
        found: Floats = len(parts) / np.sum(1.0 / parts, axis=0)
    return found


def _drawn(table: Floats) -> Floats:
    known = ~np.isnan(table)
    filled = np.where(known, table, 0.0)
    found = []
    with np.errstate(invalid="ignore"):  # a draw without any case of a part says nothing
        for block in draws(table.shape[1]):
            found.append(_mean((filled @ block.T) / (known @ block.T)))
    return np.concatenate(found)


def _trios(
    keys: Sequence[tuple[Any, ...]],
) -> Mapping[tuple[Any, ...], tuple[int, int, int]]:
    places = {key: i for i, key in enumerate(keys)}
    found = {}
    for key in keys:
        if (key[_MEASURE], key[_PROTOCOL], key[_FIGURE]) != (
            PARTS[0],
            Protocol.LIKELIHOOD,
            ACCURACY,
        ):
            continue
        three = [places.get(_named(key, part, ACCURACY)) for part in PARTS]
        if all(place is not None for place in three):
            found[_named(key, S, SCORE)] = tuple(three)
    return found  # type: ignore[return-value]


def _named(key: tuple[Any, ...], measure: str, figure: str) -> tuple[Any, ...]:
    changed = list(key)
    changed[_MEASURE], changed[_FIGURE] = measure, figure
    return tuple(changed)
