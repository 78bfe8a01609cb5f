"""A report as a file: a page, or data."""

from __future__ import annotations

from pathlib import Path

from sparsecode.files import write_atomic
from sparsecode.reports.document import Document, write_document

__all__ = ["write_report"]


def write_report(path: Path, document: Document) -> None:
    """Write a report: `.html` as one page, `.json` as data. Atomic, and only over files of sparsecode.

    Raises ValueError for other endings, FileExistsError if the file there is somebody else's.
    """
    if path.suffix == ".json":
        write_document(path, document)
    elif path.suffix == ".html":
        from sparsecode.reports.html import render  # Jinja2 takes time to import

        write_atomic(path, render(document).encode())
    else:
        raise ValueError(f"{path}: a report is written as .html or .json; choose such a name")
