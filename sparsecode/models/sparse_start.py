"""The start of training with a target L0: biases at which the codes of a fresh encoder are sparse."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparsecode.nn.activations import ActivationModule
from sparsecode.nn.activations.base import level_of
from sparsecode.nn.activations.elementwise import ReLUModule
from sparsecode.nn.affine import AffineModule

__all__ = ["ENTRIES", "start_at_"]

ENTRIES = 2**22  # pre-activations computed together to place a threshold, 16 MiB in float32


@torch.no_grad()
def start_at_(l0: float, encoder: nn.Module, activation: ActivationModule, pre: Float[Tensor, "b k"]) -> None:
    """Subtract one number from the biases of an affine encoder under ReLU, so that l0 codes per sample are active on average.

    pre are pre-activations of samples. Codes that are sparser already stay as they are, and so do thresholds and gates: those
    of JumpReLU that learn slowly do not return from below the target, and gates that start nearly closed cost explained variance.
    """
    if not isinstance(activation, ReLUModule) or not isinstance(encoder, AffineModule) or encoder.bias is None:
        return
    if float((pre > 0).sum()) > l0 * len(pre):
        encoder.bias.sub_(level_of([pre], round(l0 * len(pre))))
