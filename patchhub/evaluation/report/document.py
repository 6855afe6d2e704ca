"""What a report consists of before it has a form, and how its numbers are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from patchhub.evaluation.records import AGREEMENT, MAGNITUDE, UNEDITED
from patchhub.evaluation.summary.lines import SHARES, Line
from patchhub.reporting.text import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTHING = "–"


class Cell(NamedTuple):
    """A cell of a table: what it says, and what is said below it."""

    text: str
    small: tuple[str, ...] = ()


class Table(NamedTuple):
    """A table.

    Attributes:
        title: What it shows.
        headers: Of the columns.
        rows: Of cells.
        words: How many columns, from the left, hold no numbers.
        folded: Long, and not what a reader wants first.
        note: A sentence below the title.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: int = 1
    folded: bool = False
    note: str = ""


class Picture(NamedTuple):
    """A picture.

    Attributes:
        name: Of its files.
        caption: What it shows.
        draw: Makes it, given a colour for each role of `style.ROLES`.
    """

    name: str
    caption: str
    draw: Callable[[Mapping[str, str]], Figure]


class Section(NamedTuple):
    """A heading and what stands below it.

    Attributes:
        level: 2 and up.
        title: Of the heading.
        text: Paragraphs.
        parts: Tables and pictures.
    """

    level: int
    title: str
    text: tuple[str, ...] = ()
    parts: tuple[Table | Picture, ...] = ()


def percent(value: float) -> str:
    """A share, or a difference of shares, in hundredths."""
    if not math.isfinite(value):
        return number(value)
    text = f"{100 * value:.1f}"
    return "0.0" if text == "-0.0" else text


def figures(value: float) -> str:
    """A number of any size, three digits of it."""
    if not math.isfinite(value):
        return number(value)
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 1
    return f"{value:.{min(digits, 4)}f}"


def cell(line: Line | None, cases: int | None = None, *, runs: bool = True) -> Cell:
    """A line as a cell.

    Args:
        line: None where nothing was asked.
        cases: How many the row is about; where the line is about others, it says so.
        runs: Say between what the runs lie, if there are several.
    """
    if line is None:
        return Cell(NOTHING)
    write = percent if line.figure in SHARES | {MAGNITUDE} else figures
    beside = [f"[{write(line.low)}, {write(line.high)}]"] if uncertain(line) else []
    least, most = write(line.lowest), write(line.highest)
    if runs and least != most:
        beside.append(f"runs {least} to {most}")
    if cases is not None and line.n_cases != cases:
        beside.append(f"n = {line.n_cases}")
    return Cell(write(line.value), tuple(beside))


def uncertain(line: Line) -> bool:
    """Whether an interval says anything: the unedited model agrees with itself by definition."""
    return bool(line.interval) and (line.method, line.figure) != (UNEDITED, AGREEMENT)


def plain(*texts: str | int) -> tuple[Cell, ...]:
    """Cells that only say something."""
    return tuple(Cell(str(text)) for text in texts)


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return NOTHING


def table(
    title: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    words: int = 1,
    folded: bool = False,
    note: str = "",
) -> Table:
    """A table without the columns in which no row says anything."""
    kept = [
        i for i in range(len(headers)) if i < words or any(row[i].text != NOTHING for row in rows)
    ]
    return Table(
        title,
        tuple(headers[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in rows),
        words,
        folded,
        note,
    )
