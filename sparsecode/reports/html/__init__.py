"""The report as one offline HTML page."""

from sparsecode.reports.html.page import render

__all__ = ["render"]
