"""Figures and an interactive page of a trained model's codes."""

from sparsecode.reports.codes import Subject, subject_of
from sparsecode.reports.comparing import codes_beside, manifold
from sparsecode.reports.page import interactive_page

__all__ = ["Subject", "codes_beside", "interactive_page", "manifold", "subject_of"]
