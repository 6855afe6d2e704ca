"""What was located as Markdown and as an HTML page, with a picture."""

from patchhub.locating.report.files import report_files, write_report
from patchhub.reporting.pictures import ensure_plots

__all__ = ["ensure_plots", "report_files", "write_report"]
