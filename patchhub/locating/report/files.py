"""Where a report goes: a Markdown and an HTML file of one stem, and the picture beside them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from patchhub.locating.locate import Located
from patchhub.reporting import files as reporting
from patchhub.reporting.pictures import ensure_plots


def report_files(path: str | Path) -> tuple[Path, Path, Path]:
    """The Markdown file, the HTML file and the picture that ``path`` stands for.

    A directory gets ``located.md``, ``.html`` and ``.png``; of any other path, a suffix .md or
    .html is replaced by each of them.

    Raises:
        NotFoundError: E109, the directory is missing.
    """
    markdown, html, picture = reporting.report_files(path, "located", ".png")
    return markdown, html, picture


def write_report(found: Located, path: str | Path) -> tuple[Path, ...]:
    """Write what was found as Markdown with a picture and as one HTML page.

    The same findings give the same bytes.

    Args:
        found: By `patchhub.locating.locate.locate`.
        path: See `report_files`.

    Returns:
        The files.

    Raises:
        NotFoundError: E109.
        PatchHubError: E704, the disk refused; E705, matplotlib is missing.
    """
    ensure_plots()
    from patchhub.locating.report.markdown import to_markdown
    from patchhub.locating.report.page import to_html
    from patchhub.locating.report.plots import picture

    markdown, html, image = report_files(path)
    drawn = picture(found)
    contents = {
        markdown: to_markdown(found, quote(image.name)).encode(),
        html: to_html(found, drawn["svg"]).encode(),
        image: drawn["png"],
    }
    return reporting.write_files(contents)
