"""The report as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from patchhub.evaluation.report.document import Cell, Picture, Section, Table
from patchhub.evaluation.report.style import LIGHT
from patchhub.reporting import page
from patchhub.reporting.pictures import inline


def to_html(title: str, sections: Sequence[Section], pictures: Mapping[str, bytes]) -> str:
    """The whole file.

    Args:
        title: Of the page.
        sections: What it says.
        pictures: SVG files in the colours of `style.LIGHT`, by name.
    """
    return "".join(page.document(title, _parts(sections, pictures)))


def _parts(sections: Sequence[Section], pictures: Mapping[str, bytes]) -> Iterator[str]:
    yield "<nav><ul>\n"
    for i, section in enumerate(sections):
        if section.level == 2:
            yield f"<li><a href='#s{i}'>{escape(section.title)}</a></li>\n"
    yield "</ul></nav>\n"
    shown = 0
    for i, section in enumerate(sections):
        yield f"<h{section.level} id='s{i}'>{escape(section.title)}</h{section.level}>\n"
        for paragraph in section.text:
            yield f"<p>{escape(paragraph)}</p>\n"
        for part in section.parts:
            if isinstance(part, Picture):
                shown += 1
                yield _picture(part, pictures[part.name], f"p{shown}-")
            else:
                yield from _table(part)


def _picture(part: Picture, svg: bytes, prefix: str) -> str:
    caption = escape(part.caption)
    shown = inline(svg, LIGHT, caption, prefix)
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>\n"


def _table(part: Table) -> Iterator[str]:
    title = escape(part.title)
    if part.folded:
        yield f"<details>\n<summary>{title}</summary>\n"
    elif title:
        yield f"<h4>{title}</h4>\n"
    if part.note:
        yield f"<p class='note'>{escape(part.note)}</p>\n"
    numbers = part.headers[part.words :]
    yield from page.table(part.headers, _rows(part), numbers, dense=bool(numbers))
    if part.folded:
        yield "</details>\n"


def _rows(part: Table) -> Iterator[list[str]]:
    """Cells; what a row repeats of the one above stands back."""
    above = ""
    for first, *rest in part.rows:
        again = first.text == above
        word = f"<span class='again'>{_cell(first)}</span>" if again else _cell(first)
        above = first.text
        yield [word, *map(_cell, rest)]


def _cell(cell: Cell) -> str:
    return escape(cell.text) + "".join(f" <small>{escape(each)}</small>" for each in cell.small)
