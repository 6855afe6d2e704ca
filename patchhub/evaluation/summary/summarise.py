"""From numbers by case to lines: means with their intervals, each under its own protocol.

Torch-free. Every line says how it was asked and over how many cases; two protocols never meet in
one number. Orders and seeds of the same case are averaged first, so that asking thrice makes no
interval narrower, and their spread stands beside. Refused edits are counted in `Summary.refused`;
an experiment that asks about them finds the model as it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from patchhub.evaluation.records import Known, Refusal
from patchhub.evaluation.results import Results
from patchhub.evaluation.summary.columns import KEY, Columns, columns, filters, together
from patchhub.evaluation.summary.harmonic import Harmonic, harmonics
from patchhub.evaluation.summary.lines import ALL, OLD, SHARES, WRONG, Knew, Line, Refused, Summary
from patchhub.evaluation.summary.merging import Merged, merged
from patchhub.evaluation.summary.resampling import Floats, Ints, mean_intervals
from patchhub.scoring.intervals import harmonic_mean

__all__ = ["ALL", "OLD", "SHARES", "WRONG", "Knew", "Line", "Refused", "Summary", "summarise"]


def summarise(results: Sequence[Results]) -> Summary:
    """All lines of some results.

    Args:
        results: Of one or several experiments. Those over the same cases are taken together;
            different ones of the same name are told apart by a number behind it.

    Raises:
        InvalidInputError: E159, two results give different numbers for the same thing.
    """
    lines: list[Line] = []
    refused: list[Refused] = []
    knew: list[Knew] = []
    for some in merged(results):
        table = columns(some.rows)
        wrong, old = filters(table, some.known)
        for column, mask in ((ALL, slice(None)), (WRONG, wrong), (OLD, old)):
            lines += _lines(some.data, column, table.where(mask))
        refused += _refused(some)
        knew += _knew(some)
    lines.sort(key=lambda line: line.key)
    return Summary(tuple(lines), tuple(sorted(refused)), tuple(sorted(knew)))


class _Units(NamedTuple):
    """Numbers by group and case, sorted so."""

    group: Ints
    case: Ints
    n: Ints
    value: Floats
    before: Floats


def _units(table: Columns) -> _Units:
    """The mean over orders and seeds of each case."""
    code = together((table.group, table.case, table.occurrence))
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    first = order[starts]
    return _Units(
        table.group[first],
        table.case[first],
        np.maximum.reduceat(table.n[order], starts),
        _means(code, table.value),
        _means(code, table.before),
    )


def _means(code: Ints, values: Floats) -> Floats:
    """Mean of the values of each code; codes are 0 to some number without gaps."""
    with np.errstate(invalid="ignore"):  # infinities of both signs: no number, and it says so
        means: Floats = np.bincount(code, values) / np.bincount(code)
    return means


def _lines(data: str, column: str, table: Columns) -> Iterator[Line]:
    if not len(table.group):
        return
    units = _units(table)
    starts = np.flatnonzero(np.diff(units.group, prepend=-1))
    counts = np.diff(starts, append=len(units.group))
    keys = [table.key[group] for group in units.group[starts].tolist()]
    probes = np.add.reduceat(units.n, starts)
    shares = np.array([key[KEY.index("figure")] in SHARES for key in keys])
    # A single number about the whole model is a mean over its own probes.
    lonely = (counts == 1) & (units.case[starts] < 0)
    low, high, kinds = mean_intervals(units.value, counts, shares, np.where(lonely, probes, 1))
    place = together((units.group,))
    value, before = _means(place, units.value), _means(place, units.before)
    # A sum's last digit must not put a mean outside its own interval.
    low, high = np.fmin(low, value), np.fmax(high, value)
    runs = _runs(place.max() + 1, together((table.group,)), table)
    found = [
        Line._make((data, *key, column, *rest, len(own), min(own.values()), max(own.values())))
        for key, own, *rest in zip(
            keys,
            runs,
            value.tolist(),
            low.tolist(),
            high.tolist(),
            kinds,
            counts.tolist(),
            probes.tolist(),
            before.tolist(),
            strict=True,
        )
    ]
    yield from found
    ends = starts[1:]
    parts = np.split(units.case, ends), np.split(units.value, ends), np.split(units.before, ends)
    yield from _scores(found, runs, harmonics(keys, *parts))


def _runs(groups: int, group: Ints, table: Columns) -> list[dict[int, float]]:
    """Of each group, the mean of every run (order and seed)."""
    code = together((group, table.run))
    first = np.unique(code, return_index=True)[1]
    found: list[dict[int, float]] = [{} for _ in range(groups)]
    means = _means(code, table.value).tolist()
    for place, run, mean in zip(
        group[first].tolist(), table.run[first].tolist(), means, strict=True
    ):
        found[place][run] = mean
    return found


def _scores(
    lines: Sequence[Line], runs: Sequence[dict[int, float]], found: Iterable[Harmonic]
) -> Iterator[Line]:
    """S of every state."""
    for one in found:
        parts = [lines[i] for i in one.groups]
        common = set.intersection(*(set(runs[i]) for i in one.groups))
        by_run = [harmonic_mean([runs[i][run] for i in one.groups]) for run in common]
        bounds = (one.value, one.low, one.high, one.interval, one.n_cases)
        probes = sum(part.n_probes for part in parts)
        spread = (min(by_run, default=one.value), max(by_run, default=one.value))
        key = (parts[0].data, *one.key, parts[0].column)
        yield Line._make((*key, *bounds, probes, one.before, len(common), *spread))


def _refused(some: Merged) -> Iterator[Refused]:
    found: dict[tuple[Any, ...], list[Refusal]] = defaultdict(list)
    for one in some.refusals:
        found[one.experiment, one.model, one.method, one.size, one.code].append(one)
    for key, edits in found.items():
        cases = {case for one in edits for case in one.cases}
        message = min((one.order, one.seed, one.step, one.cases, one.message) for one in edits)[-1]
        yield Refused._make((some.data, *key, len(edits), len(cases), message))


def _knew(some: Merged) -> Iterator[Knew]:
    with_old = sum(bool(case.target_old) for case in some.cases)
    found: dict[tuple[str, str], list[Known]] = defaultdict(list)
    for one in some.known:
        found[one.model, one.protocol].append(one)
    for key, each in found.items():
        right, old = sum(one.right for one in each), sum(one.old for one in each)
        yield Knew(some.data, some.experiment, *key, len(each), right, with_old, old)
