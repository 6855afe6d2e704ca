"""A refused edit is one that failed: rows in which it counts against its method. Torch-free.

Experiments ask about refused requests, too, and find the model as it was, which may even be right;
results from elsewhere may not have asked at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from patchhub.evaluation.records import SCORE, Refusal, Row

RELIABILITY, GENERALIZATION, REMOVAL = "reliability", "generalization", "removal"
"""Checks of what an edit that was not made cannot have done."""

_Run: TypeAlias = tuple[str, str, str, int, int, int, int]


def counted(rows: Sequence[Row], refusals: Sequence[Refusal]) -> list[Row]:
    """The rows, with the failures of what was refused.

    Args:
        rows: Of any experiments.
        refusals: Of the same.
    """
    refused = {_run(one, case): one for one in refusals for case in one.cases}
    asked = {run for row in rows if (run := _run(row, row.case)) in refused and _made(row)}
    found = [replace(r, value=0.0) if _run(r, r.case) in asked and _made(r) else r for r in rows]
    states = {
        (r.experiment, r.model, r.size, r.step, r.measure, r.protocol) for r in rows if _made(r)
    }
    for run in sorted(refused.keys() - asked):
        found += _missing(run, refused[run], sorted(states))
    return found


def _missing(
    run: _Run, refusal: Refusal, states: Sequence[tuple[str, str, int, int, str, str]]
) -> Iterator[Row]:
    """One failure in every state in which others were asked after the refusal."""
    *_, case = run
    one = refusal
    for experiment, model, size, step, measure, protocol in states:
        if (experiment, model, size) == (one.experiment, one.model, one.size) and step >= one.step:
            yield Row(
                experiment, model, one.method, size, one.order, one.seed, step, "", case,
                measure, protocol, SCORE, 1, 0.0, 0.0,
            )  # fmt: skip


def _run(one: Row | Refusal, case: int) -> _Run:
    return one.experiment, one.model, one.method, one.size, one.order, one.seed, case


def _made(row: Row) -> bool:
    check = row.measure.partition(".")[0]
    return row.figure == SCORE and check in (RELIABILITY, GENERALIZATION, REMOVAL)
