"""Results of experiments as tables, pictures and a page. Torch-free."""

from patchhub.evaluation.report.files import report_files, write_report
from patchhub.reporting.pictures import ensure_plots

__all__ = ["ensure_plots", "report_files", "write_report"]
