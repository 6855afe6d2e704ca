"""Where a report goes: a Markdown and an HTML file of one stem, and pictures beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from patchhub.evaluation.report.document import Picture, Section
from patchhub.evaluation.results import Provenance, Results
from patchhub.reporting import files as reporting
from patchhub.reporting.pictures import drawing, ensure_plots, saved

_DPI = 200


def report_files(path: str | Path) -> tuple[Path, Path, Path]:
    """The Markdown file, the HTML file and the directory of pictures that ``path`` stands for.

    A directory gets ``report.md``, ``report.html`` and ``report-figures``; of any other path, a
    suffix .md or .html is replaced.

    Raises:
        NotFoundError: E109, the directory is missing.
    """
    markdown, html, figures = reporting.report_files(path, "report", "-figures")
    return markdown, html, figures


def write_report(
    results: Sequence[tuple[Results, Provenance]], path: str | Path
) -> tuple[Path, ...]:
    """Write what experiments found as Markdown, as HTML and as pictures.

    The same results give the same bytes.

    Args:
        results: Of any experiments, each with what it took.
        path: See `report_files`.

    Returns:
        All files: Markdown, HTML, then the pictures as PNG and SVG.

    Raises:
        NotFoundError: E109.
        InvalidInputError: E159, the results do not go together.
        PatchHubError: E704, the disk refused; E705, matplotlib is missing.
    """
    ensure_plots()
    from patchhub.evaluation.report.markdown import to_markdown
    from patchhub.evaluation.report.page import to_html
    from patchhub.evaluation.report.sections import TITLE, report

    markdown, html, figures = report_files(path)
    sections = report(results)
    pictures = {part.name: _drawn(part) for part in _pictures(sections)}
    addresses = {name: f"{quote(figures.name)}/{name}.png" for name in pictures}
    svg = {name: content["svg"] for name, content in pictures.items()}
    files = {
        markdown: to_markdown(TITLE, sections, addresses).encode(),
        html: to_html(TITLE, sections, svg).encode(),
    }
    for name, forms in pictures.items():
        files |= {figures / f"{name}.{form}": content for form, content in forms.items()}
    return reporting.write_files(files)


def _pictures(sections: Sequence[Section]) -> Iterator[Picture]:
    return (p for section in sections for p in section.parts if isinstance(p, Picture))


def _drawn(picture: Picture) -> dict[str, bytes]:
    """A picture in both forms."""
    from patchhub.evaluation.report.style import LIGHT

    with drawing():
        figure = picture.draw(LIGHT)
        svg = saved(figure, "svg")
        figure.set_layout_engine("none")  # where everything stands is found out once
        return {"png": saved(figure, "png", dpi=_DPI), "svg": svg}
