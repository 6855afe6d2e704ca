"""The report as one Markdown file; pictures stand beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from patchhub.evaluation.report.document import Cell, Picture, Section, Table
from patchhub.reporting.markdown import escaped, table


def to_markdown(title: str, sections: Sequence[Section], pictures: Mapping[str, str]) -> str:
    """The whole file.

    Args:
        title: Of the page.
        sections: What it says.
        pictures: The address of each picture by its name.
    """
    return "\n".join([f"# {escaped(title)}", *_lines(sections, pictures)]) + "\n"


def _lines(sections: Sequence[Section], pictures: Mapping[str, str]) -> Iterator[str]:
    for section in sections:
        yield from ("", f"{'#' * section.level} {escaped(section.title)}")
        for paragraph in section.text:
            yield from ("", escaped(paragraph))
        for part in section.parts:
            if isinstance(part, Picture):
                address = pictures[part.name]
                yield from ("", f"![{escaped(part.caption)}]({address})")
                yield from ("", f"*{escaped(part.caption)}*")
            else:
                yield from _table(part)


def _table(part: Table) -> Iterator[str]:
    if part.title:
        yield from ("", f"**{escaped(part.title)}**")
    if part.note:
        yield from ("", escaped(part.note))
    yield ""
    rows = ([_cell(cell) for cell in row] for row in part.rows)
    yield from table([escaped(h) for h in part.headers], rows, part.headers[part.words :])


def _cell(cell: Cell) -> str:
    return escaped(" ".join((cell.text, ", ".join(cell.small))).strip())
