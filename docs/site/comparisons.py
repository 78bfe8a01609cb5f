"""What becomes of a file in benchmarks/results: tables, and comparisons of ours with others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Comparison", "Parts", "Table", "number"]


class Table(NamedTuple):
    """Cells as text; the first row is the head."""

    rows: Sequence[Sequence[str]]
    title: str = ""


class Comparison(NamedTuple):
    """One quantity of ours beside that of a peer, the lower one better unless `higher`."""

    what: str
    ours: float
    peer: str
    theirs: float
    higher: bool = False

    @property
    def lost(self) -> bool:
        return self.theirs > self.ours if self.higher else self.theirs < self.ours


Parts = tuple[list[Table], list[Comparison]]


def number(value: float | None) -> str:
    """Four significant digits."""
    if value is None:
        return "-"
    return f"{value:.4g}" if abs(value) < 10000 else f"{value:.0f}"
