"""The retention matrix as a picture: which edits are left after which others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from patchhub.evaluation.report.document import Picture
from patchhub.evaluation.report.style import canvas, frame
from patchhub.evaluation.report.words import said
from patchhub.evaluation.summary.retention import Retention

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PER_ROW = 4
_DARK = 0.72  # of the scale; above it letters are light


def matrix(kept: Sequence[Retention]) -> Picture:
    """A square per method.

    Args:
        kept: Of one protocol.
    """
    caption = (
        f"Retention by {said(kept[0].protocol)}: per cent of edits still answered as requested. "
        "Columns: edits made when it was asked. Rows: the checkpoint after which the edits were "
        "first asked; the diagonal is right after."
    )
    return Picture("matrix", caption, partial(_matrix, kept))


def _matrix(kept: Sequence[Retention], colours: Mapping[str, str]) -> Figure:
    columns = min(_PER_ROW, len(kept))
    rows = math.ceil(len(kept) / columns)
    made = canvas(0.5 + 2.05 * columns, 2.5 * rows, colours)
    grid = made.subplots(rows, columns, squeeze=False)
    for i, axes in enumerate(axes for line in grid for axes in line):
        frame(axes, colours)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        if i < len(kept):
            _square(axes, kept[i], colours)
            axes.set_title(kept[i].method, fontsize=9, color=colours["ink"])
        else:
            axes.set_axis_off()
    for line in grid:
        line[0].set_ylabel("first asked after", fontsize=8.5, color=colours["ink"])
    for i in range(columns):
        below = max(row for row in range(rows) if row * columns + i < len(kept))
        grid[below][i].set_xlabel("edits made", fontsize=8.5, color=colours["ink"])
    return made


def _square(axes: Axes, one: Retention, colours: Mapping[str, str]) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    scale = colormaps["Blues"]
    place = {step: i for i, step in enumerate(one.steps)}
    size = 6.5 if len(place) < 8 else 5.5 if len(place) <= 10 else 4.0
    for (step, first), cell in one.cells.items():
        x, y = place[step], place[first]
        share = min(1.0, max(0.0, cell.value)) if math.isfinite(cell.value) else 0.0
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=scale(0.9 * share), lw=0))
        text = f"{100 * cell.value:.0f}" if math.isfinite(cell.value) else "?"
        # Of these two none follows the page: the squares do not either.
        ink = "#fefefe" if share > _DARK else "#1b1f25"
        axes.text(x, y, text, ha="center", va="center", fontsize=size, color=ink)
    axes.set_xlim(-0.5, len(place) - 0.5)
    axes.set_ylim(len(place) - 0.5, -0.5)
    axes.set_aspect("equal")
    few = list(place.items())[:: max(1, math.ceil(len(place) / 5))]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([i for _, i in few], [str(step) for step, _ in few])
