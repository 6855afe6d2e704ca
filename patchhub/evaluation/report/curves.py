"""Curves: what happens as edits pile up, in one batch or one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from patchhub.evaluation.records import AGREEMENT, SCORE
from patchhub.evaluation.report.document import Picture
from patchhub.evaluation.report.style import (
    Pens,
    Point,
    canvas,
    curve,
    end_labels,
    frame,
    key,
    level,
    scaled,
)
from patchhub.evaluation.report.style import shares as to_hundred
from patchhub.evaluation.report.view import PLAIN, State, View
from patchhub.evaluation.report.words import said
from patchhub.evaluation.summary.retention import Kept, Retention
from patchhub.scoring.intervals import wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUNGS = ("locality.neighbourhood", "locality.unrelated", "locality.other_relation", "locality.base")
"""Of the ladder of locality, the rung that pictures show: the first that was measured."""


def quality(view: View) -> list[tuple[str, str, str]]:
    """Title, measure and figure of the numbers that pictures show."""
    rung = next((name for name in RUNGS if name in view.measures), "")
    wanted = [
        ("reliability", "reliability.target", SCORE),
        ("generalization", "generalization.paraphrase", SCORE),
        (f"locality ({rung.partition('.')[2].replace('_', ' ')}, agreement)", rung, AGREEMENT),
    ]
    return [each for each in wanted if each[1] in view.measures]


def by_size(view: View, methods: Sequence[str]) -> Picture:
    """Quality against requests per batch."""
    caption = (
        "Quality by the number of requests in one batch. Bars: 95 % intervals over the edits. "
        "By likelihood 50 % is chance."
    )
    return Picture("batch", caption, partial(_by_state, view, methods, "requests per batch"))


def by_step(view: View, methods: Sequence[str]) -> Picture:
    """Quality of everything edited so far, along a sequence."""
    caption = (
        "Quality over all edits made so far, in a sequence of edits. Bars: 95 % intervals over the "
        "edits. By likelihood 50 % is chance."
    )
    return Picture("sequence", caption, partial(_by_state, view, methods, "edits made"))


def _by_state(view: View, methods: Sequence[str], label: str, colours: Mapping[str, str]) -> Figure:
    pens = Pens(methods, colours)
    batch = view.experiment == "batch"
    rows, columns = quality(view), view.protocols
    made = canvas(1.2 + 1.75 * len(columns), 0.6 + 1.75 * len(rows), colours)
    grid = made.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    for axes_row, (name, measure, figure) in zip(grid, rows, strict=True):
        for axes, protocol in zip(axes_row, columns, strict=True):
            frame(axes, colours)
            to_hundred(axes)
            ends = []
            for method in view.edited:
                points = list(_points(view, method, measure, protocol, figure, batch))
                if points:
                    ends.append(curve(axes, pens, method, points))
            for method in PLAIN:
                level(axes, pens, method, view.get(method, State(), measure, protocol, figure))
            if axes is axes_row[-1]:
                end_labels(axes, pens, ends, gap=9.5)
            if axes is axes_row[0]:
                axes.set_ylabel(", %\n(".join(name.split(" (")) + ("" if "(" in name else ", %"))
    places = view.sizes if batch else view.steps
    _across(grid, columns, label, places, colours, log=batch)
    key(made, pens, (*PLAIN, *view.edited))
    return made


def _points(
    view: View, method: str, measure: str, protocol: str, figure: str, batch: bool
) -> Iterable[Point]:
    for place in view.sizes if batch else view.steps:
        state = State(size=place) if batch else State(step=place)
        line = view.get(method, state, measure, protocol, figure)
        if line is not None and line.value == line.value:
            yield place, scaled(line)


def _across(
    grid: Any,
    protocols: Sequence[str],
    label: str,
    places: Sequence[int],
    colours: Mapping[str, str],
    *,
    log: bool,
) -> None:
    """Titles on top, the common axis below, from the first place to the last."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    for axes, protocol in zip(grid[0], protocols, strict=True):
        axes.set_title(said(protocol), fontsize=9, color=colours["ink"])
    for axes in grid[-1]:
        axes.set_xlabel(label, fontsize=8.5, color=colours["ink"])
    least, most = min(places), max(places)
    for axes in (axes for row in grid for axes in row):
        if log:
            edge = max(1.2, (most / least) ** 0.08)
            axes.set_xscale("log")
            axes.set_xlim(least / edge, most * edge)
            axes.set_xticks(places, [f"{place:,}" for place in places])
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            edge = max(0.5, 0.06 * (most - least))
            axes.set_xlim(least - edge, most + edge)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def by_age(kept: Sequence[Retention], methods: Sequence[str]) -> Picture:
    """What is left of an edit after so many more."""
    caption = (
        "Retention: share of edits still answered as requested, by the number of edits made since; "
        "the mean over all checkpoints. Bars: Wilson's 95 % interval over the edits."
    )
    return Picture("retention", caption, partial(_by_age, kept, methods))


def _by_age(
    kept: Sequence[Retention], methods: Sequence[str], colours: Mapping[str, str]
) -> Figure:
    pens = Pens(methods, colours)
    protocols = list(dict.fromkeys(one.protocol for one in kept))
    made = canvas(1.2 + 1.75 * len(protocols), 2.5, colours)
    grid = made.subplots(1, len(protocols), sharey=True, squeeze=False)
    for axes, protocol in zip(grid[0], protocols, strict=True):
        frame(axes, colours)
        to_hundred(axes)
        ends = []
        for one in (one for one in kept if one.protocol == protocol):
            points = [(float(age), _kept(cell)) for age, cell in one.ages.items()]
            ends.append(curve(axes, pens, one.method, points))
        if axes is grid[0][-1]:
            end_labels(axes, pens, ends, gap=9.5)
    grid[0][0].set_ylabel("still reliable, %", fontsize=8.5, color=colours["ink"])
    ages = [age for one in kept for age in one.ages]
    _across(grid, protocols, "edits made since", ages, colours, log=False)
    key(made, pens, list(dict.fromkeys(one.method for one in kept)))
    return made


def _kept(cell: Kept) -> tuple[float, float, float]:
    low, high = wilson(cell.value * cell.n, cell.n)
    return 100 * cell.value, 100 * low, 100 * high
