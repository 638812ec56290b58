"""The report: one self-contained HTML page of tables and pictures, made from the run folder alone."""

from anybudget.report.page import write_report

__all__ = ["write_report"]
