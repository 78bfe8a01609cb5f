"""What the user names for writing."""

from __future__ import annotations

from pathlib import Path

from sparsecode.cli.options import UsageError

__all__ = ["refuse_to_overwrite"]


def refuse_to_overwrite(option: str, path: Path | None, force: bool) -> None:
    """Raise UsageError if the file is there already and the user has not said --force."""
    if path is not None and path.exists() and not force:
        raise UsageError(f"{option} {path}: exists already; choose another name, or write over it with --force")
