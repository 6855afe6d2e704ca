"""Text and tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from patchhub.reporting.text import short

_SPECIAL = re.compile(r"[\\`*_\[\]<>|~&$@#]|:(?=//)")


def escaped(text: str) -> str:
    """Text that Markdown shows letter by letter inside a line, in a table cell too."""
    return _SPECIAL.sub(r"\\\g<0>", short(text, 10**6))


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[str] = ()
) -> Iterator[str]:
    """The lines of a table of cells that are Markdown already.

    Args:
        headers: Of the columns.
        rows: Of cells.
        right: Headers whose columns stand at the right edge.
    """
    numbers = frozenset(right)
    yield "| " + " | ".join(headers) + " |"
    yield "|" + "".join("---:|" if name in numbers else "---|" for name in headers)
    for cells in rows:
        yield "| " + " | ".join(cells) + " |"
