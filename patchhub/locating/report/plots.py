"""The figure: effects by position and block as in Meng et al., and whose answer follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from patchhub.locating.interchange import Where
from patchhub.locating.locate import Located
from patchhub.locating.report.words import PARTS, grid
from patchhub.locating.tracing import Part
from patchhub.reporting.pictures import drawing, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: Mapping[str, str] = {
    "ink": "#1b1f24", "muted": "#59636e", "grid": "#d8dee4", "paper": "#ffffff",
    "hue0": "#0072b2", "hue1": "#d55e00", "hue2": "#009e73",
}  # fmt: skip
"""By role: of a file; in a page they are exchanged for the page's own."""
CAPTION = (
    "What the answer's probability gains when states are put back to what they were without noise "
    "on the subject, by kind of token and block; the darkest square is the most of its panel. "
    "Curves: the share of answers that become another subject's when a block's output is "
    "exchanged. Between the dashed lines: the blocks proposed."
)
_SCALES = {Part.BLOCK: "Purples", Part.MLP: "Greens", Part.ATTENTION: "Reds"}
_LIGHT, _DARK = "#fefefe", "#1b1f25"  # of letters in squares, which do not follow the page
_LETTERED = 16  # blocks; numbers of more would not be read
_DPI = 200


def picture(found: Located) -> dict[str, bytes]:
    """The figure as ``svg`` and ``png``."""
    from matplotlib.figure import Figure

    panels = len(Part) + bool(found.moved)
    width = 2.6 + max(4.2, min(10.0, 0.36 * found.blocks))
    with drawing():
        made = Figure(figsize=(width, 1.75 * panels), layout="constrained")
        made.patch.set_facecolor(COLOURS["paper"])
        every = made.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
        for axes, part in zip(every, Part, strict=False):
            _heat(axes, found, part)
        if found.moved:
            _curves(every[-1], found)
        for axes in every:
            _frame(axes, found)
        every[-1].set_xlabel(f"block of the {found.proposal.stack}", color=COLOURS["ink"])
        svg = saved(made, "svg")
        made.set_layout_engine("none")  # where everything stands is found out once
        return {"svg": svg, "png": saved(made, "png", dpi=_DPI)}


def _heat(axes: Axes, found: Located, part: Part) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    rows = grid(found, part)
    most = max(max(e.mean for row in rows.values() for e in row.values()), 1e-12)
    for y, row in enumerate(rows.values()):
        for x, effect in row.items():
            depth = max(0.0, effect.mean) / most
            colour = colormaps[_SCALES[part]](0.92 * depth)
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, lw=0))
            if found.blocks <= _LETTERED and abs(effect.mean) >= 0.005:
                ink = _LIGHT if depth > 0.6 else _DARK
                text = f"{effect.mean:.2f}"
                axes.text(x, y, text, ha="center", va="center", fontsize=6.5, color=ink)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [str(place) for place in rows])
    axes.set_title(f"{PARTS[part]}: up to {most:.3f}", loc="left", color=COLOURS["ink"], fontsize=9)


def _curves(axes: Axes, found: Located) -> None:
    for where, role, marker in zip(Where, ("hue0", "hue1", "hue2"), "os^", strict=True):
        some = [one for one in found.moved if one.where is where]
        low = [100 * (one.share - one.interval[0]) for one in some]
        high = [100 * (one.interval[1] - one.share) for one in some]
        axes.errorbar(
            [one.block for one in some], [100 * one.share for one in some], [low, high],
            color=COLOURS[role], marker=marker, markersize=4, linewidth=1.3, elinewidth=0.9,
            label=str(where),
        )  # fmt: skip
    axes.set_ylim(-4, 104)
    axes.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    title = f"Answers that follow the exchange, {found.pairs} pairs"
    axes.set_title(title, loc="left", color=COLOURS["ink"], fontsize=9)
    key = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    for text in key.get_texts():
        text.set_color(COLOURS["ink"])


def _frame(axes: Axes, found: Located) -> None:
    axes.set_facecolor(COLOURS["paper"])
    axes.tick_params(length=0, colors=COLOURS["muted"], labelcolor=COLOURS["ink"], labelsize=8)
    axes.set_xlim(-0.5, found.blocks - 0.5)
    step = max(1, found.blocks // 12)
    axes.set_xticks(range(0, found.blocks, step))
    for side in axes.spines.values():
        side.set_color(COLOURS["grid"])
    if found.proposal.layers:
        for edge in (found.proposal.layers[0] - 0.5, found.proposal.layers[-1] + 0.5):
            axes.axvline(edge, color=COLOURS["ink"], linewidth=1.0, linestyle=(0, (4, 3)))
