"""Figures and an interactive page of a trained model's codes."""

from sparsecode.reports.codes import Subject, subject_of
from sparsecode.reports.page import interactive_page

__all__ = ["Subject", "interactive_page", "subject_of"]
