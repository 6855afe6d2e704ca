"""Where a report goes: two files of one stem, each replaced in one step."""

from __future__ import annotations

from pathlib import Path

from patchhub.guard.report.facts import Background
from patchhub.guard.verdict import Verdict
from patchhub.reporting import files as reporting
from patchhub.reporting.pictures import ensure_plots


def report_files(path: str | Path, patch: str) -> tuple[Path, Path]:
    """The Markdown and the HTML file that ``path`` stands for.

    A directory gets ``verdict-<patch>.md`` and ``.html``; of any other path, a suffix .md or .html
    is replaced by each of the two.

    Args:
        path: As the user gave it.
        patch: Id of the patch.

    Raises:
        NotFoundError: E109, the directory is missing.
    """
    markdown, html = reporting.report_files(path, f"verdict-{patch[:12]}")
    return markdown, html


def write_report(
    verdict: Verdict, path: str | Path, background: Background | None = None
) -> tuple[Path, Path]:
    """Write a verdict as Markdown and as HTML.

    Args:
        verdict: What the guard said; fresh from a check it has every probe, read back from a
            registry the failures only.
        path: See `report_files`.
        background: What the verdict names by digest only.

    Returns:
        The two files.

    Raises:
        NotFoundError: E109.
        PatchHubError: E704, the disk refused; E705, matplotlib is missing.
    """
    ensure_plots()
    from patchhub.guard.report.markdown import to_markdown
    from patchhub.guard.report.page import to_html

    markdown, html = report_files(path, verdict.patch)
    known = background or Background()
    reporting.write_files(
        {
            markdown: to_markdown(verdict, known).encode(),
            html: to_html(verdict, known).encode(),
        }
    )
    return markdown, html
