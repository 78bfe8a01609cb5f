"""Randomness as an argument: generators that are functions of (seed, purpose, position)."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["Stream", "generator"]


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
