"""The report as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from patchhub.locating.locate import Located
from patchhub.locating.report.plots import CAPTION, COLOURS
from patchhub.locating.report.words import (
    INTERVAL_HEADERS,
    PARTS,
    TITLE,
    effect_rows,
    facts,
    headers,
    headline,
    interval_rows,
    left_out_rows,
    moved_rows,
)
from patchhub.reporting.page import document, table
from patchhub.reporting.pictures import inline


def to_html(found: Located, svg: bytes) -> str:
    """The whole file.

    Args:
        found: What it says.
        svg: The picture, in the colours of `plots.COLOURS`.
    """
    return "".join(document(TITLE, _parts(found, svg)))


def _parts(found: Located, svg: bytes) -> Iterator[str]:
    yield f"<p class='verdict'>{escape(headline(found))}</p>\n<ul>\n"
    yield from (f"<li>{escape(reason)}</li>\n" for reason in found.proposal.reasons)
    caption = escape(CAPTION)
    drawn = inline(svg, COLOURS, caption)
    yield f"</ul>\n<figure>{drawn}<figcaption>{caption}</figcaption></figure>\n"
    names = headers(found)
    for part, title in PARTS.items():
        yield from _table(title, names, effect_rows(found, part))
    if found.moved:
        title = "Block output exchanged for another subject's"
        yield from _table(title, names, moved_rows(found))
    title = "At the subject's last token, with 95 % intervals"
    yield from _table(title, INTERVAL_HEADERS, interval_rows(found))
    yield "<h2>What was looked at</h2>\n<dl>\n"
    yield from (f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>\n" for a, b in facts(found))
    yield "</dl>\n"
    if found.left_out:
        yield from _table("Left out", ("prompt", "why"), left_out_rows(found), words=2)


def _table(
    title: str, names: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1
) -> Iterator[str]:
    yield f"<h2>{escape(title)}</h2>\n"
    yield from table(names, [[escape(cell) for cell in row] for row in rows], names[words:])
