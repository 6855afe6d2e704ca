"""Where a report goes: a Markdown and an HTML file of one stem, and the picture beside them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from patchhub.durable import swap_in
from patchhub.errors import NotFoundError
from patchhub.locating.locate import Located
from patchhub.oserrors import refusals
from patchhub.reporting.pictures import ensure_plots

_SUFFIXES = (".md", ".html")


def report_files(path: str | Path) -> tuple[Path, Path, Path]:
    """The Markdown file, the HTML file and the picture that ``path`` stands for.

    A directory gets ``located.md``, ``.html`` and ``.png``; of any other path, a suffix .md or
    .html is replaced by each of them.

    Raises:
        NotFoundError: E109, the directory is missing.
    """
    wanted = Path(path)
    if wanted.is_dir():
        stem = wanted / "located"
    else:
        stem = wanted.with_suffix("") if wanted.suffix in _SUFFIXES else wanted
    if not stem.parent.is_dir():
        raise NotFoundError("E109", f"no directory {stem.parent} for the report")
    markdown, html, picture = (stem.with_name(stem.name + s) for s in (*_SUFFIXES, ".png"))
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
    with refusals():
        for file, content in contents.items():
            swap_in(file, content)
    return tuple(contents)
