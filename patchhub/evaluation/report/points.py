"""Points and bars: protocols beside each other, quality against cost, what editing took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from patchhub.evaluation.records import AGREEMENT, SCORE
from patchhub.evaluation.report.curves import quality
from patchhub.evaluation.report.document import Picture, figures, size
from patchhub.evaluation.report.style import Pens, canvas, frame, level, scaled
from patchhub.evaluation.report.style import shares as to_hundred
from patchhub.evaluation.report.view import PLAIN, State, View
from patchhub.evaluation.report.words import said
from patchhub.evaluation.summary.efficiency import Cost
from patchhub.evaluation.summary.lines import Line, S
from patchhub.scoring.protocols import Protocol

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIGNS = "osD^vP"
_STEP = 0.17


def protocols(view: View) -> Picture:
    """The same edits, asked in every way."""
    caption = (
        "The same single edits by every protocol, with 95 % intervals over the edits. By "
        "likelihood 50 % is chance; generation is what a user sees."
    )
    return Picture("protocols", caption, partial(_protocols, view))


def _protocols(view: View, colours: Mapping[str, str]) -> Figure:
    panels = quality(view)
    methods = view.methods
    hues = [colours[f"hue{i}"] for i in (0, 4, 2, 1, 3, 5)]
    made = canvas(7.6, 0.9 + 0.2 * len(methods) * (len(view.protocols) * 0.55 + 0.6), colours)
    grid = made.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, (name, measure, figure) in zip(grid[0], panels, strict=True):
        frame(axes, colours, grid="x")
        to_hundred(axes, "x")
        axes.set_title(name, fontsize=9, color=colours["ink"])
        axes.set_xlabel("%", fontsize=8.5, color=colours["ink"])
        for i, protocol in enumerate(view.protocols):
            shift = (i - (len(view.protocols) - 1) / 2) * _STEP
            style = {"color": hues[i % len(hues)], "marker": _SIGNS[i % len(_SIGNS)]}
            for y, method in enumerate(methods):
                line = view.get(method, State(), measure, protocol, figure)
                if line is None or not math.isfinite(line.value):
                    continue
                value, low, high = scaled(line)
                axes.plot([low, high], [y + shift] * 2, color=style["color"], alpha=0.5, lw=1.2)
                axes.plot([value], [y + shift], markersize=4.5, clip_on=False, **style)
        for y in range(1, len(methods)):
            axes.axhline(y - 0.5, color=colours["grid"], linewidth=0.7)
    grid[0][0].set_yticks(range(len(methods)), methods)
    grid[0][0].set_ylim(len(methods) - 0.45, -0.55)
    _signs(made, view.protocols, hues, colours)
    return made


def _signs(
    made: Figure, names: Sequence[str], hues: Sequence[str], colours: Mapping[str, str]
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker=_SIGNS[i % len(_SIGNS)], color=hues[i % len(hues)])
        for i in range(len(names))
    ]
    legend = made.legend(
        handles, [said(name) for name in names], loc="outside upper center", ncols=len(names),
        frameon=False, fontsize=8,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_color(colours["ink"])


def against_cost(view: View, costs: Sequence[Cost], methods: Sequence[str]) -> Picture:
    """Which method buys how much for its seconds."""
    caption = (
        "Quality of single edits against the seconds an edit takes (median and quartiles; what is "
        "done once for a model is not in it). Vertical bars: 95 % intervals over the edits."
    )
    return Picture("cost", caption, partial(_against_cost, view, costs, methods))


def _against_cost(
    view: View, costs: Sequence[Cost], methods: Sequence[str], colours: Mapping[str, str]
) -> Figure:
    pens = Pens(methods, colours)
    panels = _worth(view)
    made = canvas(0.7 + 2.4 * len(panels), 2.7, colours)
    grid = made.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, (name, measure, protocol, figure) in zip(grid[0], panels, strict=True):
        frame(axes, colours, grid="both")
        to_hundred(axes)
        axes.set_xscale("log")
        axes.set_title(name, fontsize=9, color=colours["ink"], pad=14)
        axes.set_xlabel("seconds per edit", fontsize=8.5, color=colours["ink"])
        ends = []
        for cost in costs:
            line = view.get(cost.method, State(), measure, protocol, figure)
            if line is not None and math.isfinite(line.value):
                _priced(axes, pens, cost, line)
                ends.append((cost.method, cost.seconds, scaled(line)[0]))
        levels = []
        for method in PLAIN:
            line = view.get(method, State(), measure, protocol, figure)
            level(axes, pens, method, line)
            if line is not None:
                levels.append(scaled(line)[0])
                _note(axes, pens, method, levels[-1])
        if ends:
            _names(axes, pens, ends, levels)
            _plain_seconds(axes, [seconds for _, seconds, _ in ends])
    grid[0][0].set_ylabel("%", fontsize=8.5, color=colours["ink"])
    return made


def _worth(view: View) -> list[tuple[str, str, str, str]]:
    how = next((one for one in (Protocol.GENERATION, *view.protocols) if one in view.protocols), "")
    rung = [each for each in quality(view) if each[2] == AGREEMENT]
    found = [("S (likelihood)", S, Protocol.LIKELIHOOD.value, SCORE)] if S in view.measures else []
    found.append((f"reliability ({said(how)})", "reliability.target", str(how), SCORE))
    return [*found, *((f"locality ({said(how)})", rung[0][1], str(how), AGREEMENT) for _ in rung)]


def _priced(axes: Axes, pens: Pens, cost: Cost, line: Line) -> None:
    value, low, high = scaled(line)
    colour = pens.colour(cost.method)
    axes.plot([cost.seconds] * 2, [low, high], color=colour, linewidth=1, alpha=0.6)
    axes.plot([cost.quick, cost.slow], [value] * 2, color=colour, linewidth=1, alpha=0.6)
    axes.plot([cost.seconds], [value], linestyle="", **pens.marks(cost.method), markersize=5.5)


def _note(axes: Axes, pens: Pens, method: str, y: float) -> None:
    """Name a line; the two of them at different ends, since they may coincide."""
    right = method != PLAIN[0]
    axes.annotate(
        method, (float(right), y), xycoords=("axes fraction", "data"),
        xytext=(-2 if right else 2, 2), fontsize=6.5, textcoords="offset points",
        color=pens.colour(method), va="bottom", ha="right" if right else "left",
    )  # fmt: skip


def _names(
    axes: Axes, pens: Pens, ends: Sequence[tuple[str, float, float]], levels: Sequence[float]
) -> None:
    """Names beside their points, each where it covers least of the others and of the levels."""
    axes.margins(x=0.25)
    logs = [math.log10(x) for _, x, _ in ends]
    wide = 1.5 * (max(logs) - min(logs)) or 1.0
    at = [
        (_PANEL * place / wide, _PANEL * y / 108)
        for place, (_, _, y) in zip(logs, ends, strict=True)
    ]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in at]
    taken += [(-1e3, _PANEL * y / 108 - 0.7, 1e3, _PANEL * y / 108 + 0.7) for y in levels]
    for (name, x, y), (left, up) in zip(ends, at, strict=True):
        size = (4.1 * len(name), 7.0)
        spots = [_box(left + dx, up + dy, side, *size) for dx, dy, side in _SPOTS]
        best = min(range(len(spots)), key=lambda i: (sum(_common(spots[i], t) for t in taken), i))
        taken.append(spots[best])
        dx, dy, side = _SPOTS[best]
        axes.annotate(
            name, (x, y), xytext=(dx, dy), textcoords="offset points", color=pens.colour(name),
            fontsize=7, va="center", ha=side, annotation_clip=False,
        )  # fmt: skip


_PANEL = 140.0  # points
_SPOTS = (
    (6, 0, "left"), (-6, 0, "right"), (0, 9, "center"), (0, -9, "center"), (5, 8, "left"),
    (5, -8, "left"), (-5, 8, "right"), (-5, -8, "right"), (0, 17, "center"), (0, -17, "center"),
)  # fmt: skip
Box = tuple[float, float, float, float]


def _box(x: float, y: float, side: str, width: float, height: float) -> Box:
    left = x - {"left": 0.0, "center": 0.5, "right": 1.0}[side] * width
    return left, y - height / 2, left + width, y + height / 2


def _common(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


def _plain_seconds(axes: Axes, seconds: Sequence[float]) -> None:
    """Ticks at 1, 2, 5 times a power of ten, written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    wide = max(seconds) > 30 * min(seconds)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def taken(costs: Sequence[Cost], methods: Sequence[str]) -> Picture:
    """Seconds, memory, bytes and answer time."""
    caption = (
        "What one edit takes: wall time (median and quartiles), work done once for a model, most "
        "memory held, bytes stored for each request, and answer time with a patch against without."
    )
    return Picture("efficiency", caption, partial(_taken, costs, methods))


def _taken(costs: Sequence[Cost], methods: Sequence[str], colours: Mapping[str, str]) -> Figure:
    pens = Pens(methods, colours)
    panels = (
        ("seconds per edit", [one.seconds for one in costs], figures),
        ("seconds once", [one.once_seconds for one in costs], figures),
        ("peak memory", [float(one.peak_bytes) for one in costs], size),
        ("bytes per request", [one.patch_bytes for one in costs], size),
        ("answer time, ×", [one.latency for one in costs], figures),
    )
    made = canvas(8.2, 0.75 + 0.24 * len(costs), colours)
    grid = made.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, values, write) in zip(grid, panels, strict=True):
        frame(axes, colours, grid="x")
        axes.set_title(name, fontsize=8.5, color=colours["ink"], loc="left")
        axes.set_xticks([])
        for y, (one, value) in enumerate(zip(costs, values, strict=True)):
            known = math.isfinite(value)
            axes.barh(y, value if known else 0.0, 0.62, color=pens.colour(one.method))
            end = value if known else 0.0
            if name == "seconds per edit":
                axes.plot([one.quick, one.slow], [y, y], color=colours["ink"], linewidth=1)
                end = max(end, one.slow)
            axes.annotate(
                write(value) if known else "not measured", (end, y),
                xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5,
                color=colours["ink"],
            )  # fmt: skip
        # Room for the numbers behind the bars.
        most = max((value for value in values if math.isfinite(value)), default=1.0)
        axes.set_xlim(0, 1.9 * most or 1.0)
    grid[0].set_yticks(range(len(costs)), [one.method for one in costs])
    grid[0].set_ylim(len(costs) - 0.4, -0.6)
    return made
