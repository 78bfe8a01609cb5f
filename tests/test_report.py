"""The report's data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sparsecode.files import is_own
from sparsecode.reports.document import Document, read_document, write_document
from sparsecode.reports.schema.arrays import PackedArray, packed


def test_arrays_come_back(tmp_path: Path) -> None:
    values = np.array([[0.1, np.nan, -np.inf], [1e-300, 2.0, 3.0]])
    np.testing.assert_array_equal(packed(values).values(), values)
    np.testing.assert_array_equal(packed([3, -1], "i4").values(), [3, -1])
    with pytest.raises(
        ValueError, match=re.escape("PackedArray.data has 8 characters; expected 24 for f8 of shape (2,)")
    ):
        PackedArray("f8", (2,), "AAAAAAA=")


def test_documents_come_back_and_newer_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    document = Document("two", (), None, {}, "0.1")
    write_document(file, document)
    assert read_document(file) == document
    assert is_own(file)
    file.write_bytes(file.read_bytes().replace(b'"format":1', b'"format":2'))
    with pytest.raises(ValueError, match="written in format 2 by a newer sparsecode"):
        read_document(file)
    file.write_text("{}")
    with pytest.raises(ValueError, match="not a report"):
        read_document(file)
