"""What a report knows of a quantity."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Better", "Quantity"]

Better = Literal["higher", "lower", ""]


class Quantity(NamedTuple):
    """A quantity: its label, unit, definition, and which direction is better."""

    label: str
    unit: str = ""
    text: str = ""
    better: Better = ""
    source: str = ""
