"""What is done once an autoencoder is trained: thresholds for a mean number of codes, and warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from sparsecode.losses.term import Terms
from sparsecode.nn.activations import ActivationModule

__all__ = ["calibrated_", "warnings_of"]


@torch.no_grad()
def calibrated_(activation: ActivationModule, terms: Terms, pre: Iterable[Tensor], n: int) -> float | None:
    """Move the thresholds to the mean number of active codes that the activation or a term wants; that number, or None if none does.

    pre: pre-activations [b, n_code] of n samples in all, computed when they are asked for.
    """
    wishes = [activation.wanted, *(term.wanted for term in terms.each())]
    wanted = next((wish for wish in wishes if wish is not None), None)
    return wanted if wanted is not None and activation.calibrate_(pre, round(wanted * n)) else None


@torch.no_grad()
def warnings_of(activation: ActivationModule, terms: Terms, pre: Callable[[], Iterable[Tensor]]) -> list[str]:
    """The warnings of the terms about samples with these pre-activations [b, n_code], computed for the terms that ask for them."""

    def blocks() -> Iterator[tuple[Tensor, Tensor]]:
        return ((activation.infer(before), before) for before in pre())

    return [line for term in terms.each() for line in term.warnings(blocks, activation)]
