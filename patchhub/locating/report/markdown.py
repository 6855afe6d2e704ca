"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from patchhub.locating.locate import Located
from patchhub.locating.report.plots import CAPTION
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
from patchhub.reporting.markdown import escaped, table


def to_markdown(found: Located, picture: str) -> str:
    """The whole file.

    Args:
        found: What it says.
        picture: Address of the picture.
    """
    return "\n".join(_lines(found, picture)) + "\n"


def _lines(found: Located, picture: str) -> Iterator[str]:
    yield f"# {TITLE}"
    yield from ("", f"**{escaped(headline(found))}**", "")
    yield from (f"- {escaped(reason)}" for reason in found.proposal.reasons)
    yield from ("", f"![{CAPTION}]({picture})", "", CAPTION)
    names = headers(found)
    for part, title in PARTS.items():
        yield from ("", f"## {title}", "")
        yield from table(names, effect_rows(found, part), names[1:])
    if found.moved:
        yield from ("", "## Block output exchanged for another subject's", "")
        yield from table(names, moved_rows(found), names[1:])
    yield from ("", "## At the subject's last token, with 95 % intervals", "")
    yield from table(INTERVAL_HEADERS, interval_rows(found), INTERVAL_HEADERS)
    yield from ("", "## What was looked at", "")
    yield from table(("", ""), [(a, escaped(b)) for a, b in facts(found)])
    if found.left_out:
        yield from ("", "## Left out", "")
        rows = ([escaped(cell) for cell in row] for row in left_out_rows(found))
        yield from table(("prompt", "why"), rows)
