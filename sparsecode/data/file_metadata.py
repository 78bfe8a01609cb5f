"""The metadata of safetensors files, read without torch."""

from __future__ import annotations

import os
from pathlib import Path

from sparsecode.specs import converted, parsed

__all__ = ["read_metadata"]


def read_metadata(path: Path, remedy: str) -> dict[str, str]:
    """The metadata of a safetensors file, without its tensors.

    Not by the safetensors library, which opens no file whose name is not UTF-8. Raises ValueError naming the file and the remedy if the
    file is cut short or its header is damaged.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size  # of the open file: training may replace the path meanwhile
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= size - 8 else b""
    try:
        tensors = parsed(header, "header", "see the format of safetensors")
        metadata = converted(tensors.pop("__metadata__", {}), dict[str, str], "metadata")
        end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        if size != 8 + length + end:
            raise ValueError(f"{size} bytes, and its header announces {8 + length + end}")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{path}: damaged or cut short ({error}); {remedy}") from None
    return metadata
