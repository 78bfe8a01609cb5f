"""What is done once an autoencoder is trained: thresholds for a mean number of codes, and warnings."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sparsecode.losses.term import Terms
from sparsecode.nn.activations import ActivationModule

__all__ = ["calibrated_", "warnings_of"]


def calibrated_(activation: ActivationModule, terms: Terms, pre: Callable[[], Tensor]) -> float | None:
    """Move the thresholds to the mean number of active codes that the activation or a term wants; that number, or None if none does."""
    wishes = [activation.wanted, *(term.wanted for term in terms.each())]
    wanted = next((wish for wish in wishes if wish is not None), None)
    return wanted if wanted is not None and activation.calibrate_(pre(), wanted) else None


def warnings_of(activation: ActivationModule, terms: Terms, pre: Callable[[], Tensor]) -> list[str]:
    """The warnings of the terms about samples with these pre-activations, which are computed only if there are terms."""
    some = list(terms.each())
    if not some:
        return []
    before = pre()
    z = activation.infer(before)
    return [line for term in some for line in term.warnings(z, before, activation)]
