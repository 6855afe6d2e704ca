"""The tables that stand before and after the survey's: a glance, costs, retention, origins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from patchhub.evaluation.records import AGREEMENT, SCORE
from patchhub.evaluation.report.curves import RUNGS
from patchhub.evaluation.report.document import (
    NOTHING,
    Cell,
    Table,
    cell,
    figures,
    percent,
    plain,
    size,
    table,
)
from patchhub.evaluation.report.view import State, View
from patchhub.evaluation.report.words import said
from patchhub.evaluation.results import Provenance, Results
from patchhub.evaluation.summary.efficiency import Cost
from patchhub.evaluation.summary.lines import S
from patchhub.evaluation.summary.retention import Retention
from patchhub.reporting.text import short
from patchhub.scoring.protocols import Protocol

_SHOWN = (Protocol.LIKELIHOOD, Protocol.TEACHER_FORCED, Protocol.GENERATION)


def glance(group: Sequence[View], costs: Sequence[Cost]) -> Iterator[Table]:
    """One row per method: the few numbers to choose by, each with its protocol.

    Args:
        group: The experiments on one model and data set.
        costs: On that model.
    """
    columns = [column for view in group for column in _glanced(view)]
    headers = ["method", *(head for head, *_ in columns), "seconds per edit"]
    methods = dict.fromkeys(method for view in group for method in view.methods)
    rows = []
    for method in methods:
        cells = [
            cell(view.get(method, State(), measure, protocol, figure), runs=False)
            for _, view, measure, protocol, figure in columns
        ]
        took = min((one for one in costs if one.method == method), default=None, key=_least)
        rows.append((Cell(method), *cells, Cell(figures(took.seconds) if took else NOTHING)))
    if columns:
        note = "The tables below say over how many cases. By likelihood 50 is failure."
        yield table("At a glance", headers, rows, note=note)


def _glanced(view: View) -> Iterator[tuple[str, View, str, str, str]]:
    rung = next((name for name in RUNGS if name in view.measures), "")
    state = {"single": "single", "batch": "largest batch", "sequential": "whole sequence"}
    where = state.get(view.experiment, view.experiment)
    for protocol in _SHOWN:
        if protocol not in view.protocols:
            continue
        how = f"{where}, {said(protocol)}"
        if protocol == Protocol.LIKELIHOOD and S in view.measures:
            yield f"S ({how})", view, S, protocol.value, SCORE
        elif protocol == Protocol.GENERATION or view.experiment == "single":
            yield f"reliability ({how})", view, "reliability.target", protocol.value, SCORE
            if protocol == Protocol.GENERATION and rung:
                yield f"locality ({how})", view, rung, protocol.value, AGREEMENT


def _least(cost: Cost) -> tuple[int, str]:
    return cost.size, cost.experiment


def cost_table(costs: Sequence[Cost]) -> Table:
    """What every method took, by experiment and size."""
    rows = [
        (
            *plain(one.method, one.experiment, one.size, one.edits),
            Cell(figures(one.seconds), (f"[{figures(one.quick)}, {figures(one.slow)}]",)),
            Cell(figures(one.per_request)),
            Cell(figures(one.once_seconds) if math.isfinite(one.once_seconds) else NOTHING),
            *plain(size(one.peak_bytes), size(one.patch_bytes)),
            Cell(figures(one.latency) if math.isfinite(one.latency) else NOTHING),
        )
        for one in sorted(costs, key=lambda cost: (cost.method, cost.experiment, cost.size))
    ]
    headers = (
        "method", "experiment", "size", "edits", "seconds per edit", "per request", "once",
        "peak memory", "bytes per request", "answer time ×",
    )  # fmt: skip
    note = "Seconds: median and quartiles. Once: statistics or training, done once for a model."
    return table("Efficiency", headers, rows, words=2, note=note)


def keeping(kept: Sequence[Retention]) -> Iterator[Table]:
    """Retention by the number of edits made since."""
    for protocol in dict.fromkeys(one.protocol for one in kept):
        some = [one for one in kept if one.protocol == protocol]
        ages = sorted({age for one in some for age in one.ages})
        rows = []
        for one in some:
            cells = [one.ages.get(age) for age in ages]
            shown = (
                Cell(NOTHING) if each is None else Cell(percent(each.value), (f"n = {each.n}",))
                for each in cells
            )
            rows.append((Cell(one.method), *shown))
        title = f"Still reliable after so many further edits · {said(protocol)}"
        yield table(title, ("method", *map(str, ages)), rows, folded=True)


def failed_table(results: Sequence[Results]) -> Table:
    """Work that failed: what hangs on it is missing everywhere."""
    rows = [
        plain(one.experiment, one.model, one.work, one.jobs, short(one.message, 300))
        for some in results
        for one in some.failures
    ]
    return Table("", ("experiment", "model", "work", "times", "error"), tuple(rows), words=5)


def origins(results: Sequence[tuple[Results, Provenance]]) -> Iterator[Table]:
    """Command, date, machine, versions, data and settings of every experiment."""
    for found, took in results:
        rows = [plain(*pair) for pair in _facts(found, took)]
        yield Table(f"{found.experiment}", ("", " "), tuple(rows), words=2)


def _facts(found: Results, took: Provenance) -> Iterator[tuple[str, str]]:
    data = found.data
    yield "command", took.command or "from Python"
    yield "finished", took.finished
    yield "took", f"{took.seconds:,.0f} s (of the last run; finished work is not done again)"
    yield "machine", _pairs(took.machine)
    yield "versions", _pairs(took.libraries)
    yield "data", f"{data.get('name')}, {str(data.get('digest'))[:12]}"
    yield "records", f"{data.get('records')}, skipped {data.get('skipped', 0)}"
    yield "models", ", ".join(f"{name} {digest[:12]}" for name, digest in found.models.items())
    yield "settings", short(_pairs(found.settings), 1500)


def _pairs(mapping: object) -> str:
    items = mapping.items() if hasattr(mapping, "items") else ()
    return ", ".join(f"{name} {_plain(value)}" for name, value in sorted(items))


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return f"({_pairs(value)})" if value else "as they are"
    return str(value)
