"""Rows as columns of numbers, grouped: one pass over half a million rows. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from patchhub.evaluation.records import Known, Row
from patchhub.evaluation.summary.resampling import Floats, Ints

KEY = (
    "experiment", "model", "method", "size", "step", "variant", "measure", "protocol", "figure",
)  # fmt: skip
"""Rows that agree in these are numbers of the same kind: cases, orders and seeds of one line."""

_FIELDS = (*KEY, "order", "seed", "case", "n", "value", "before")
_FLOATS = ("value", "before")
_WORDS = ("experiment", "model", "method", "variant", "measure", "protocol", "figure")


@dataclass(frozen=True)
class Columns:
    """Rows of one data set.

    Attributes:
        key: One tuple per group, in the order of `KEY`, sorted.
        group: Of each row, its place in ``key``; rows are sorted by group, case, and run.
        case: Of each row.
        run: A number for its (order, seed).
        occurrence: How many rows of the same group, case and run stand before it: numbers about
            the whole model may come once per edit.
        n: Probes.
        value: The number.
        before: The unedited model's.
    """

    key: tuple[tuple[Any, ...], ...]
    group: Ints
    case: Ints
    run: Ints
    occurrence: Ints
    n: Ints
    value: Floats
    before: Floats

    def where(self, mask: Any) -> Columns:
        """Some of the rows, under the same keys."""
        parts = (self.group, self.case, self.run, self.occurrence, self.n, self.value, self.before)
        return Columns(self.key, *(part[mask] for part in parts))


def columns(rows: Sequence[Row]) -> Columns:
    """Rows without numbers (n = 0) are left out: nothing was asked."""
    asked = [row for row in rows if row.n]
    raw: Mapping[str, tuple[Any, ...]] = dict(
        zip(_FIELDS, zip(*map(attrgetter(*_FIELDS), asked), strict=True), strict=True)
        if asked
        else dict.fromkeys(_FIELDS, ())
    )
    numbers = {name: np.array(raw[name], float) for name in _FLOATS}
    coded = {name: _coded(raw[name]) for name in _WORDS}
    whole = {
        name: coded[name][0] if name in coded else np.array(raw[name], np.int64)
        for name in _FIELDS
        if name not in _FLOATS
    }
    group = together(whole[name] for name in KEY)
    run = together((whole["order"], whole["seed"]))
    value, before = numbers["value"], numbers["before"]
    # The last three settle the order of rows that agree in everything else.
    order = np.lexsort((before, whole["n"], value, run, whole["case"], group))
    group, run, case = group[order], run[order], whole["case"][order]
    first = order[_starts(group)]
    names = [coded[name][1][whole[name][first]] if name in coded else whole[name][first]
             for name in KEY]  # fmt: skip
    key = tuple(zip(*(one.tolist() for one in names), strict=True))
    occurrence = _occurrences(together((group, case, run)))
    return Columns(
        key, group, case, run, occurrence, whole["n"][order], value[order], before[order]
    )


def together(parts: Iterable[Ints]) -> Ints:
    """One number per combination, from 0, sorted as the combinations are."""
    code: Ints | None = None
    for part in parts:
        least = part - part.min(initial=0)
        pairs = least if code is None else code * (int(least.max(initial=0)) + 1) + least
        code = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
    return np.zeros(0, np.int64) if code is None else code


def filters(table: Columns, known: Sequence[Known]) -> tuple[Any, Any]:
    """Masks of rows whose edit the unedited model got wrong, and whose old fact it knew.

    Both under the row's own protocol; numbers about the whole model are in neither.
    """
    said = {(one.model, one.protocol, one.case): (one.right, one.old) for one in known}
    model, protocol = KEY.index("model"), KEY.index("protocol")
    asked = [(key[model], key[protocol]) for key in table.key]
    pairs = {pair: i for i, pair in enumerate(dict.fromkeys(asked))}
    width = max((one.case for one in known), default=-1) + 2
    wrong, old = (np.zeros((len(pairs), width), bool) for _ in range(2))
    for (name, how, case), (right, had) in said.items():
        if case >= 0 and (name, how) in pairs:
            wrong[pairs[name, how], case] = not right
            old[pairs[name, how], case] = had
    row = np.array([pairs[pair] for pair in asked], np.int64)[table.group]
    # The last column stands for every case that nothing is known of.
    place = np.where((table.case < 0) | (table.case >= width - 1), width - 1, table.case)
    return wrong[row, place], old[row, place]


def _coded(words: Sequence[str]) -> tuple[Ints, Any]:
    """Places of words among the sorted different ones."""
    names = sorted(set(words))
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[word] for word in words], np.int64), np.array(names, object)


def _starts(code: Ints) -> Any:
    """Where a sorted column begins a new value."""
    return np.flatnonzero(np.diff(code, prepend=-1))


def _occurrences(code: Ints) -> Ints:
    """Of a column in which equal values stand together: how many equal ones stand before."""
    starts = np.flatnonzero(np.diff(code, prepend=-1))
    lengths = np.diff(starts, append=len(code))
    return np.arange(len(code)) - np.repeat(starts, lengths)
