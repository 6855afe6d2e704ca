"""Before and after as one picture: SVG that takes its colours from the page around it.

Shape says the outcome as well as colour does, and every number stands in the table below. The same
measurements give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from patchhub.guard.measurement import Measurement
from patchhub.reporting.pictures import drawing, inline, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROLES = ("ink", "muted", "grid", "paper", "before", "pass", "fail", "doubt", "reported")
"""Names of the page's colours (page.css) that a picture uses."""

_MARKERS = {"pass": "o", "fail": "X", "undecided": "^", "waived": "s", "reported": "D"}
_ROLE = {"undecided": "doubt", "waived": "doubt"}
_ROW = 0.27  # inches


def before_after(measurements: Sequence[Measurement]) -> str:
    """An ``<svg>`` element of shares before and after, and of how much of each ceiling is used."""
    label = "Shares before and after the edit, and how much of each ceiling is used; see the table"
    marks = {role: f"#0{i:x}b1c2" for i, role in enumerate(ROLES)}
    return inline(figure(measurements, marks), marks, label)


def figure(measurements: Sequence[Measurement], colours: Mapping[str, str]) -> bytes:
    """The picture as an SVG file.

    Args:
        measurements: Those without probes are left out.
        colours: One per role of `ROLES`.
    """
    from matplotlib.figure import Figure

    seen = [one for one in measurements if one.n]
    shares = [one for one in seen if one.rule != "ceiling" and _is_share(one)]
    ceilings = [one for one in seen if one.rule == "ceiling" and float(one.floor) > 0]
    parts = [(draw, some) for draw, some in ((_shares, shares), (_used, ceilings)) if some]
    heights = [len(some) + 2.2 for _, some in parts] or [1.0]
    with drawing():
        made = Figure(figsize=(8.2, _ROW * sum(heights) + 0.3), layout="constrained")
        made.patch.set_alpha(0)
        grid = made.add_gridspec(len(heights), 1, height_ratios=heights)
        for place, (draw, some) in enumerate(parts):
            axes = made.add_subplot(grid[place])
            _frame(axes, some, colours)
            draw(axes, some, colours)
        return saved(made, "svg")


def _is_share(one: Measurement) -> bool:
    return all(0 <= value <= 1 for value in (one.before, one.after))


def _frame(axes: Axes, rows: Sequence[Measurement], colours: Mapping[str, str]) -> None:
    """One line per measurement, the first on top."""
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [_label(one) for one in rows])
    axes.patch.set_alpha(0)
    axes.tick_params(length=0, colors=colours["muted"], labelcolor=colours["ink"])
    axes.grid(axis="x", color=colours["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def _label(one: Measurement) -> str:
    return f"{one.name} · {one.protocol} · n = {one.n}"


def _shares(axes: Axes, rows: Sequence[Measurement], colours: Mapping[str, str]) -> None:
    axes.set_xlim(-0.03, 1.03)
    axes.set_title(
        "○ before    ● after, with its 95 % interval    | what the policy asks",
        loc="left",
        fontsize=9,
        color=colours["muted"],
    )
    for y, one in enumerate(rows):
        colour = colours[_role(one)]
        axes.plot([one.low, one.high], [y, y], color=colour, linewidth=5, alpha=0.22, zorder=2)
        axes.plot([one.before, one.after], [y, y], color=colours["before"], linewidth=1, zorder=3)
        _point(axes, one.before, y, "o", colours["before"], hollow=colours["paper"])
        _point(axes, one.after, y, _MARKERS[str(one.outcome)], colour)
        if one.rule in ("rate", "all") and str(one.outcome) != "reported":
            floor = float(one.floor) if one.rule == "rate" else 1.0
            axes.plot([floor, floor], [y - 0.36, y + 0.36], color=colours["ink"], linewidth=1.4)


def _used(axes: Axes, rows: Sequence[Measurement], colours: Mapping[str, str]) -> None:
    """Where 0 is "as before" and 1 the ceiling; far beyond is drawn at the edge."""
    axes.set_xlim(-0.03 * 1.6, 1.6)
    ticks = [0, 0.5, 1, 1.5]
    axes.set_xticks(ticks, ["as before", "half", "ceiling", "1.5 ×"])
    axes.set_title(
        "How much of each ceiling is used", loc="left", fontsize=9, color=colours["muted"]
    )
    axes.axvline(1, color=colours["ink"], linewidth=1.4)
    for y, one in enumerate(rows):
        colour = colours[_role(one)]
        low, value, high = (_inside(_part(one, x)) for x in (one.low, one.value, one.high))
        axes.plot([low, high], [y, y], color=colour, linewidth=5, alpha=0.22, zorder=2)
        axes.plot([0, value], [y, y], color=colours["before"], linewidth=1, zorder=3)
        _point(axes, value, y, _MARKERS[str(one.outcome)], colour)


def _part(one: Measurement, value: float) -> float:
    """Share of what the ceiling allows; a ratio starts at 1, everything else at 0."""
    ceiling = float(one.floor)
    start = 1.0 if one.before and one.measure == "perplexity" and ceiling > 1 else 0.0
    return (value - start) / (ceiling - start)


def _inside(part: float) -> float:
    return 1.55 if math.isnan(part) else max(0.0, min(1.55, part))


def _point(
    axes: Axes, x: float, y: float, marker: str, colour: str, *, hollow: str | None = None
) -> None:
    axes.scatter(
        [x],
        [y],
        s=34,
        marker=marker,
        zorder=5 if hollow is None else 4,
        facecolor=colour if hollow is None else hollow,
        edgecolor=colour,
        linewidth=1.3 if hollow else 0.0,
        clip_on=False,
    )


def _role(one: Measurement) -> str:
    outcome = str(one.outcome)
    return _ROLE.get(outcome, outcome)
