"""Terms that compute the fidelity as a mean over several reconstructions, and add no other part to the loss."""

from __future__ import annotations

from sparsecode.losses.term import Forward, TermModule, TrainingTerm

__all__ = ["FidelityTerm", "check_rising"]


class FidelityTerm(TermModule):
    """The module of such a term: a subclass replaces `fidelity`."""

    def __init__(self, spec: TrainingTerm) -> None:
        super().__init__()
        self.spec = spec

    def value(self, forward: Forward) -> None:
        """None: the term has no part besides the fidelity."""


def check_rising(field: str, numbers: tuple[int, ...]) -> None:
    """Raise ValueError for numbers that do not rise strictly from 1 or more."""
    if list(numbers) != sorted(set(numbers)) or numbers[0] < 1:
        raise ValueError(f"{field} is {numbers}; expected strictly rising numbers from 1")
