"""Plain formulas of definitions, as in `|x - y|^2`, with the signs of mathematics: powers, indices, minus, roots."""

from __future__ import annotations

import re

from sparsecode.reports.html.geometry import MINUS, SUPERSCRIPTS

__all__ = ["in_signs"]

INDICES = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
POWER, INDEX = re.compile(r"\^(-?\d+)"), re.compile(r"(?<=\|)_(\d)")


def in_signs(text: str) -> str:
    """The text with |x - y|^2 as |x − y|², |z|_1 as |z|₁, 1/2 as ½, sqrt(k) as √(k), a * b as a · b and -x as −x.

    >>> in_signs("(sqrt(k) - |z|_1 / |z|_2) and 10^-3, non-negative")
    '(√(k) − |z|₁ / |z|₂) and 10⁻³, non-negative'
    """
    text = POWER.sub(lambda match: match[1].translate(SUPERSCRIPTS), text)
    text = INDEX.sub(lambda match: match[1].translate(INDICES), text)
    text = re.sub(r"\bsqrt\(", "√(", re.sub(r"\b1/2(?= )", "½", text)).replace(" * ", " · ")
    return re.sub(r"(?:(?<=^)|(?<=[ (]))-(?=[ \w(])", MINUS, text)
