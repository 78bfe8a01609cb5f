"""The Matryoshka term: errors of reconstructions from nested prefixes of the codes."""

from __future__ import annotations

import itertools
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.losses.fidelity_term import FidelityTerm, check_rising
from sparsecode.losses.term import TrainingTerm
from sparsecode.losses.variance import squared_error
from sparsecode.nn.affine import BiasedDictionaryModule

__all__ = ["Matryoshka", "MatryoshkaTerm"]


class Matryoshka(TrainingTerm, tag="matryoshka"):
    """Reconstruct from the first `sizes[0]` codes alone, from the first `sizes[1]`, and so on, and from all.

    The fidelity is the mean of all these errors, which makes early codes learn general features.
    Source: Bussmann et al., "Learning multi-level features with Matryoshka sparse autoencoders", ICML 2025.
    """

    sizes: Annotated[tuple[int, ...], Meta(min_length=1, description="increasing prefix lengths, all below n_code")]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rising("Matryoshka.sizes", self.sizes)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("atoms", "regression")

    def problems(self, n_code: int) -> list[str]:
        last = self.sizes[-1]
        return [f"sizes ends at {last}; expected below n_code, {n_code}"] if last >= n_code else []

    def build(self, n_code: int) -> MatryoshkaTerm:  # noqa: ARG002 - the contract
        return MatryoshkaTerm(self)


class MatryoshkaTerm(FidelityTerm):
    """The module of `Matryoshka`: it computes the fidelity and adds no other term."""

    spec: Matryoshka

    def fidelity(
        self, z: Float[Tensor, "b k"], decoder: BiasedDictionaryModule, target: Float[Tensor, "b f"]
    ) -> tuple[Float[Tensor, "b f"], Float[Tensor, " b"]]:
        """The reconstruction from all codes, and the mean of the errors from all prefixes, per sample."""
        edges = (0, *self.spec.sizes, z.shape[1])
        linear = decoder.bias.expand_as(target)
        errors: list[Tensor] = []
        out = linear
        for first, last in itertools.pairwise(edges):
            linear = linear + z[:, first:last] @ decoder.atoms[first:last]
            out = decoder.output(linear)
            errors.append(squared_error(out, target))
        return out, torch.stack(errors).mean(dim=0)
