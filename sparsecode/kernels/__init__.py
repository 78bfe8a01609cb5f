"""Compiled versions of a few operations, each tested against its eager counterpart. Imported only when used."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path


def _forget_outdated(folder: Path) -> None:
    """Remove what numba has compiled of a file here before another, whose functions went into it, was changed.

    Numba looks at the file of a function alone.
    """
    for source in folder.glob("*.py"):
        used = [
            folder / f"{name}.py"
            for name in re.findall(r"^from sparsecode\.kernels\.(\w+) import", source.read_text(), re.M)
        ]
        changed = max((file.stat().st_mtime for file in used), default=0.0)
        for index in (folder / "__pycache__").glob(f"{source.stem}.*.nbi"):
            with suppress(OSError):
                if index.stat().st_mtime < changed:
                    index.unlink()


_forget_outdated(Path(__file__).parent)
