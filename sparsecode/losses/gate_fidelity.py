"""The term added for activations with a separate gate for active codes."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsecode.losses.term import Forward, TermModule
from sparsecode.losses.variance import squared_error

__all__ = ["GateFidelity"]


class GateFidelity(TermModule):
    """|x - decode(gate)|^2 with the decoder held fixed: it trains the encoder to reconstruct from the gate alone.

    Source: Rajamanoharan et al., "Improving dictionary learning with gated sparse autoencoders", 2024, section 3.3.
    """

    @property
    def part(self) -> str:
        return "gate_fidelity"

    def value(self, forward: Forward) -> Tensor:
        decoder = forward.decoder
        out = torch.addmm(decoder.bias.detach(), forward.gate, decoder.atoms.detach())
        return squared_error(out, forward.target)
