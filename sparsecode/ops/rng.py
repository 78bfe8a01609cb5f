"""Randomness as an argument: generators that are functions of (seed, purpose, position)."""

from __future__ import annotations

import hashlib
from typing import Literal

import torch
from torch import Tensor

from sparsecode.ops.collective import rank, world_size

__all__ = ["Stream", "drawn_rows", "generator"]


def generator(seed: int, purpose: str, *position: int) -> torch.Generator:
    """A CPU generator seeded from hash(seed, purpose, position): no generator state ever needs saving."""
    key = ":".join([str(seed), purpose, *map(str, position)]).encode()
    number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little", signed=True)
    return torch.Generator().manual_seed(number)


class Stream:
    """The random numbers of one training step: `rng(purpose)` is a fresh generator for that purpose."""

    def __init__(self, seed: int, step: int) -> None:
        self.seed, self.step = seed, step

    def __call__(self, purpose: str) -> torch.Generator:
        return generator(self.seed, purpose, self.step)


def drawn_rows(
    like: Tensor, shape: tuple[int, ...], rng: torch.Generator, kind: Literal["uniform", "normal"]
) -> Tensor:
    """Random numbers [B, *shape] for the B rows of `like`, in its dtype and place.

    Drawn in float32 on the CPU for the batches of all processes, of which each takes its own rows.
    """
    whole = (len(like) * world_size(), *shape)
    draw = torch.randn if kind == "normal" else torch.rand
    drawn = draw(whole, generator=rng, dtype=torch.float32)  # the default may be another while Fabric trains in float64
    return drawn[rank() * len(like) : (rank() + 1) * len(like)].to(like)
