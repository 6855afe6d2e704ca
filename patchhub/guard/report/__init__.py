"""A verdict as a page: Markdown and self-contained HTML. Torch-free."""

from patchhub.guard.report.facts import Background
from patchhub.guard.report.files import report_files, write_report
from patchhub.reporting.pictures import ensure_plots

__all__ = ["Background", "ensure_plots", "report_files", "write_report"]
