"""Random starting weights from an explicit generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["uniform_fan_in"]


def uniform_fan_in(shape: tuple[int, ...], fan_in: int, rng: torch.Generator) -> Tensor:
    """Uniform on (-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default for linear layers, drawn on the CPU."""
    bound = 1 / math.sqrt(fan_in)
    return torch.empty(shape).uniform_(-bound, bound, generator=rng)
