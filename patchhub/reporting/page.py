"""An HTML page that stands alone: no script, nothing fetched, readable in light and in dark."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from html import escape
from importlib import resources


def document(title: str, parts: Iterable[str]) -> Iterator[str]:
    """A whole file.

    Args:
        title: As text.
        parts: What stands between heading and end, as HTML.
    """
    style = (resources.files("patchhub.reporting") / "page.css").read_text(encoding="utf-8")
    name = escape(title)
    yield "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
    yield "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
    yield "<meta name='color-scheme' content='light dark'>\n"
    # Should escaping ever fail, a browser still runs and fetches nothing.
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield f"<title>{name}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
    yield f"<h1>{name}</h1>\n"
    yield from parts
    yield "</main>\n</body>\n</html>\n"


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Container[str] = (),
    *,
    dense: bool = False,
) -> Iterator[str]:
    """A table of cells that are HTML already.

    Args:
        headers: Of the columns, as text.
        rows: Of cells.
        right: Headers whose columns hold numbers and stand at the right edge.
        dense: It is wide: headers break into lines, and the first column stays in sight.
    """

    def align(name: str) -> str:
        return " class='number'" if name in right else ""

    kind = " class='dense'" if dense else ""
    yield f"<div class='scroll'><table{kind}>\n<thead><tr>"
    yield from (f"<th scope='col'{align(name)}>{escape(name)}</th>" for name in headers)
    yield "</tr></thead>\n<tbody>\n"
    for cells in rows:
        yield "<tr>"
        for name, cell in zip(headers, cells, strict=True):
            yield f"<td{align(name)}>{cell}</td>"
        yield "</tr>\n"
    yield "</tbody></table></div>\n"
