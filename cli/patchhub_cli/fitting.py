"""Tables and lists that fit the terminal; what is piped stays one line per row, uncut."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_GAP = 2
_LEAST = 8
"""Columns are not made narrower than this, or than their header."""


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none."""
    if not sys.stdout.isatty():
        return None
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except OSError:
        return None


def widths(columns: Sequence[Sequence[str]], limit: int) -> list[int]:
    """Widths of columns, the widest ones made narrower until they fit.

    Args:
        columns: Header and cells of each.
        limit: Characters of a line.
    """
    found = [max(map(len, column)) for column in columns]
    least = [min(w, max(len(c[0]), _LEAST)) for w, c in zip(found, columns, strict=True)]
    while sum(found) + _GAP * (len(found) - 1) > limit:
        room = [i for i in range(len(found)) if found[i] > least[i]]
        if not room:
            break
        found[max(room, key=lambda i: found[i])] -= 1
    return found


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a cell; what has no space is cut where the line ends."""
    import textwrap  # piped output, and most commands of scripts, never need it

    return textwrap.wrap(text, width, break_on_hyphens=False, drop_whitespace=True) or [""]


def fitted(columns: Sequence[Sequence[str]], right: str, limit: int) -> list[str]:
    """Lines of a table with a rule below the header; a long cell goes on below itself.

    Args:
        columns: Header and cells of each.
        right: One letter per column, ``r`` to align it right.
        limit: Characters of a line.
    """
    wide = widths(columns, limit)
    lines: list[str] = []
    for number, row in enumerate(zip(*columns, strict=True)):
        cells = [wrapped(cell, width) for cell, width in zip(row, wide, strict=True)]
        for i in range(max(map(len, cells))):
            parts = [
                _aligned(cell[i] if i < len(cell) else "", width, right[j : j + 1])
                for j, (cell, width) in enumerate(zip(cells, wide, strict=True))
            ]
            lines.append((" " * _GAP).join(parts).rstrip())
        if number == 0:
            lines.append((" " * _GAP).join("-" * width for width in wide))
    return lines


def hanging(label: str, value: str, width: int, limit: int) -> str:
    """A label and its value, whose further lines begin below its first."""
    room = max(limit - width - _GAP, 20)
    first, *rest = wrapped(value, room)
    indent = " " * (width + _GAP)
    return "\n".join([f"{label:<{width}}  {first}".rstrip(), *(indent + line for line in rest)])


def _aligned(text: str, width: int, side: str) -> str:
    return text.rjust(width) if side == "r" else text.ljust(width)
