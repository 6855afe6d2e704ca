"""A refused edit is one that failed: rows in which it counts against its method. Torch-free.

Experiments ask about refused requests, too, and find the model as it was, which may even be right;
results from elsewhere may not have asked at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from patchhub.evaluation.records import COLLAPSED, SCORE, UNEDITED, Refusal, Row

RELIABILITY, GENERALIZATION, REMOVAL = "reliability", "generalization", "removal"
"""Checks of what an edit that was not made cannot have done."""

_Run: TypeAlias = tuple[str, str, str, int, int, int, int]


def counted(rows: Sequence[Row], refusals: Sequence[Refusal]) -> list[Row]:
    """The rows, with the failures of what was refused.

    Args:
        rows: Of plain runs.
        refusals: Of the same experiments, those of other runs among them.
    """
    plain = [one for one in refusals if not one.variant]
    refused = {_run(one, case): one for one in plain for case in one.cases}
    asked = {run for row in rows if (run := _run(row, row.case)) in refused and _made(row)}
    found = [replace(r, value=0.0) if _run(r, r.case) in asked and _made(r) else r for r in rows]
    missing = [(run[-1], refused[run]) for run in sorted(refused.keys() - asked)]
    return [*found, *_failures(rows, missing)]


def _failures(rows: Sequence[Row], missing: Sequence[tuple[int, Refusal]]) -> Iterator[Row]:
    """One in every state of such edits, for what others were asked about the same case."""
    about: dict[tuple[str, str, int], set[tuple[str, str]]] = defaultdict(set)
    steps: dict[tuple[str, str, int], set[int]] = defaultdict(set)
    for row in filter(_made, rows):
        about[row.experiment, row.model, row.case].add((row.measure, row.protocol))
        if row.method not in (UNEDITED, COLLAPSED):
            steps[row.experiment, row.model, row.size].add(row.step)
    for case, one in missing:
        where = one.experiment, one.model
        for measure, protocol in sorted(about[*where, case]):
            for step in sorted(steps[*where, one.size] or {one.size}):
                yield Row(
                    one.experiment, one.model, one.method, one.size, one.order, one.seed, step, "",
                    case, measure, protocol, SCORE, 1, 0.0, 0.0,
                )  # fmt: skip


def _run(one: Row | Refusal, case: int) -> _Run:
    return one.experiment, one.model, one.method, one.size, one.order, one.seed, case


def _made(row: Row) -> bool:
    check = row.measure.partition(".")[0]
    return row.figure == SCORE and check in (RELIABILITY, GENERALIZATION, REMOVAL)
