"""What the pictures have in common: colours that colour-blind readers tell apart, axes, labels.

Every method keeps its colour and its marker in all pictures of a report; where its edits are solved
together, lines are broken and markers hollow. Those that are none are grey lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from patchhub.evaluation.records import COLLAPSED, MAGNITUDE, UNEDITED
from patchhub.evaluation.report.document import uncertain
from patchhub.evaluation.summary.lines import SHARES, Line
from patchhub.evaluation.ways import Way

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HUES = (
    "#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#332288", "#56a0d3", "#882255",
)  # fmt: skip
ROLES = ("ink", "muted", "grid", "paper", *(f"hue{i}" for i in range(len(_HUES))))
"""Names of the page's colours that a picture uses."""

LIGHT: Mapping[str, str] = {
    "ink": "#1b1f24", "muted": "#59636e", "grid": "#d8dee4", "paper": "#ffffff",
    **{f"hue{i}": hue for i, hue in enumerate(_HUES)},
}  # fmt: skip
"""The colours of pictures that are files; the hues after Okabe and Ito 2008 and Tol 2021."""

_MANY = 9  # labels
_ASIDE, _WIDEST = 1.4, 8.0  # points
_ENTRY, _LETTER = 44.0, 4.4  # points, of the key; an entry's without its name, and a letter's
_MARKERS = "osD^vPX<>*hd"
_PLAIN = {UNEDITED: (0, (5, 2)), COLLAPSED: (0, (1, 1.5))}
_SOLID, _JOINT = (0, ()), (0, (3, 1.5))


@dataclass(frozen=True)
class Pens:
    """How methods are drawn.

    Attributes:
        methods: All of a report that are some, sorted.
        colours: By role.
    """

    methods: Sequence[str]
    colours: Mapping[str, str]

    def colour(self, method: str) -> str:
        """Of its lines and labels."""
        if method in _PLAIN:
            return self.colours["muted"]
        return self.colours[f"hue{self._place(method) % len(_HUES)}"]

    def marks(self, method: str) -> dict[str, Any]:
        """Of its points, for ``plot``; markers go round after another number than colours do."""
        fill = self.colours["paper"] if Way.named(method).joint else self.colour(method)
        marker = _MARKERS[self._place(method) % len(_MARKERS)]
        return {"color": self.colour(method), "marker": marker, "markerfacecolor": fill}

    def stroke(self, method: str) -> tuple[float, tuple[float, ...]]:
        """Style of its lines."""
        return _PLAIN.get(method, _JOINT if Way.named(method).joint else _SOLID)

    def _place(self, method: str) -> int:
        names = sorted({Way.named(one).method for one in self.methods})
        return names.index(Way.named(method).method)


def canvas(width: float, height: float, colours: Mapping[str, str]) -> Figure:
    """An empty figure; inches."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    made.patch.set_facecolor(colours["paper"])
    return made


def frame(axes: Axes, colours: Mapping[str, str], *, grid: Any = "y") -> None:
    """A light frame: lines to read values by, no box."""
    axes.set_facecolor(colours["paper"])
    axes.tick_params(
        which="both", length=0, colors=colours["muted"], labelcolor=colours["ink"], labelsize=8
    )
    axes.grid(axis=grid, color=colours["grid"], linewidth=0.7)
    axes.set_axisbelow(True)
    for name, side in axes.spines.items():
        side.set_visible(name == "bottom" and grid == "y")
        side.set_color(colours["muted"])
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(colours["ink"])
        label.set_fontsize(8.5)


def shares(axes: Axes, which: str = "y") -> None:
    """An axis from 0 to 100 %."""
    ticks = [0, 25, 50, 75, 100]
    if which == "y":
        axes.set_ylim(-4, 104)
        axes.set_yticks(ticks)
    else:
        axes.set_xlim(-3, 103)
        axes.set_xticks(ticks)


def scaled(line: Line) -> tuple[float, float, float]:
    """Value and bounds as they are drawn; shares in hundredths, no bounds where there are none."""
    by = 100 if line.figure in SHARES | {MAGNITUDE} else 1
    low, high = (line.low, line.high) if uncertain(line) else (line.value, line.value)
    return by * line.value, by * low, by * high


Point = tuple[float, tuple[float, float, float]]
"""Where on the x axis; value, lower and upper bound."""


def curve(axes: Axes, pens: Pens, method: str, points: Sequence[Point]) -> tuple[str, float, float]:
    """Values with their intervals, joined; methods stand a little beside each other.

    The limits of the x axis are the caller's to set.

    Returns:
        Method, x and y of the last point, for `end_labels`.
    """
    from matplotlib.transforms import ScaledTranslation

    x, y = [place for place, _ in points], [found[0] for _, found in points]
    below = [max(0.0, value - low) for _, (value, low, _) in points]
    above = [max(0.0, high - value) for _, (value, _, high) in points]
    colour = pens.colour(method)
    step = min(_ASIDE, _WIDEST / len(pens.methods))
    aside = (pens.methods.index(method) - (len(pens.methods) - 1) / 2) * step
    figure: Any = axes.get_figure()
    where = axes.transData + ScaledTranslation(aside / 72, 0, figure.dpi_scale_trans)
    axes.errorbar(
        x, y, [below, above], color=colour, linewidth=1.3, elinewidth=0.9, marker="",
        linestyle=pens.stroke(method), zorder=3, transform=where,
    )  # fmt: skip
    axes.plot(
        x, y, linestyle="", **pens.marks(method), markersize=4, zorder=4, clip_on=False,
        transform=where,
    )  # fmt: skip
    return method, x[-1], y[-1]


def level(axes: Axes, pens: Pens, method: str, line: Line | None) -> None:
    """A method that is none: its value across the whole width."""
    if line is not None:
        axes.axhline(
            scaled(line)[0], color=pens.colour(method), linewidth=1.1, linestyle=pens.stroke(method)
        )


def end_labels(
    axes: Axes, pens: Pens, ends: Iterable[tuple[str, float, float]], *, gap: float
) -> None:
    """Names right of the panel, beside the ends of lines, moved apart where they would meet.

    Args:
        axes: The axes.
        pens: For the colours.
        ends: Name, x and y.
        gap: Least distance of two labels, in units of y.
    """
    known = sorted(ends, key=lambda end: (end[2], end[0]))
    bottom, top = axes.get_ylim()
    fit = min(gap, (top - bottom) / max(1, len(known)))
    places = apart([y for _, _, y in known], fit)
    # All of them beside the panel, however many there are.
    places = [min(y, top - fit * (len(places) - 1 - i)) for i, y in enumerate(places)]
    places = [max(y, bottom + fit * i) for i, y in enumerate(places)]
    for (name, _, y), place in zip(known, places, strict=True):
        axes.annotate(
            name,
            (1.0, y),
            xycoords=("axes fraction", "data"),
            xytext=(4, (place - y) * _points(axes)),
            textcoords="offset points",
            color=pens.colour(name),
            fontsize=7.5 if len(known) < _MANY else 6,
            va="center",
            annotation_clip=False,
        )


def _points(axes: Axes) -> float:
    """Points per unit of y, before the layout is final; near enough to keep labels apart."""
    bottom, top = axes.get_ylim()
    figure = axes.get_figure()
    rows = axes.get_subplotspec().get_gridspec().nrows if axes.get_subplotspec() else 1  # type: ignore[union-attr]
    height = float(figure.get_figheight()) if figure is not None else 3.0  # type: ignore[union-attr]
    return 72 * height / rows * 0.72 / float(top - bottom)


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Sorted places moved as little as needed to stand ``gap`` apart, around where they were."""
    groups: list[list[float]] = []  # each: how many, and the sum of where they would begin
    for i, place in enumerate(places):
        groups.append([1, place - gap * i])
        while len(groups) > 1 and groups[-2][1] / groups[-2][0] > groups[-1][1] / groups[-1][0]:
            n, total = groups.pop()
            groups[-1][0] += n
            groups[-1][1] += total
    starts = [total / n for n, total in groups for _ in range(int(n))]
    return [start + gap * i for i, start in enumerate(starts)]


def key(figure: Figure, pens: Pens, methods: Sequence[str]) -> None:
    """Which line is which, above all panels."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=pens.colour(name), linestyle=pens.stroke(name), linewidth=1.1)
        if name in _PLAIN
        else Line2D([], [], linestyle=pens.stroke(name), **pens.marks(name), markersize=4)
        for name in methods
    ]
    wide = _ENTRY + _LETTER * max(map(len, methods))
    columns = max(1, min(len(methods), int(72 * figure.get_figwidth() / wide)))
    legend = figure.legend(
        handles, methods, loc="outside upper center", ncols=columns, frameon=False, fontsize=8,
        handlelength=3,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_color(pens.colours["ink"])
