"""The multi-budget term: errors of reconstructions from the k largest codes at several k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.losses.fidelity_term import FidelityTerm, check_rising
from sparsecode.losses.term import TrainingTerm
from sparsecode.losses.variance import squared_error
from sparsecode.nn.affine import BiasedDictionaryModule
from sparsecode.ops.sparse_codes import decode_sparse
from sparsecode.ops.sparse_layout import offsets_of, samples_of
from sparsecode.records import Code, SparseCode

__all__ = ["NestedK", "NestedKTerm"]


class NestedK(TrainingTerm, tag="nested_k"):
    """Reconstruct from the `k[0]` largest codes of each sample alone, from the `k[1]` largest, and so on, and from all active codes.

    The fidelity is the mean of these errors, which makes one model good at every k up to that of its activation: the largest codes come
    first. `sparsecode.models.with_k` gives the model at another k. Source: Multi-TopK of Gao et al., "Scaling and evaluating sparse
    autoencoders", 2024, section 5.3, who add the error at 4 k with weight 1/8.
    """

    k: Annotated[
        tuple[int, ...], Meta(min_length=1, description="increasing numbers of codes, below the k of the activation")
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rising("NestedK.k", self.k)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("zeros", "atoms", "regression")

    def problems(self, n_code: int) -> list[str]:
        return [f"k ends at {self.k[-1]}; expected below n_code, {n_code}"] if self.k[-1] >= n_code else []

    def build(self, n_code: int) -> NestedKTerm:  # noqa: ARG002 - the contract
        return NestedKTerm(self)


class NestedKTerm(FidelityTerm):
    """The module of `NestedK`: it computes the fidelity and adds no other term."""

    spec: NestedK
    reads = (Code, SparseCode)

    def fidelity(
        self, z: Float[Tensor, "b k"], decoder: BiasedDictionaryModule, target: Float[Tensor, "b f"]
    ) -> tuple[Float[Tensor, "b f"], Float[Tensor, " b"]]:
        """The reconstruction from all active codes, and the mean of the errors at every k, per sample."""
        largest, at = z.abs().topk(min(self.spec.k[-1], z.shape[1]), dim=1)
        linear, rest = decoder.bias.expand_as(target), z
        errors: list[Tensor] = []
        for first, last in zip((0, *self.spec.k), (*self.spec.k, None), strict=True):
            if last is None:
                part = rest
            else:
                mask = torch.zeros_like(z).scatter(1, at[:, first:last], (largest[:, first:last] > 0).to(z))
                part = z * mask
                rest = rest - part
            linear = linear + part @ decoder.atoms
            errors.append(squared_error(decoder.output(linear), target))
        return decoder.output(linear), torch.stack(errors).mean(dim=0)

    def sparse_fidelity(
        self, code: SparseCode, decoder: BiasedDictionaryModule, target: Float[Tensor, "b f"]
    ) -> tuple[Float[Tensor, "b f"], Float[Tensor, " b"]]:
        """The same of codes without zeros: each is decoded once, as a part of its sample."""
        split = parts_of(code, self.spec.k)
        parts = decode_sparse(split, decoder.atoms, None).view(len(target), len(self.spec.k) + 1, -1)
        out = decoder.output(parts.cumsum(dim=1) + decoder.bias)
        return out[:, -1], (out - target[:, None]).square().sum(dim=2).mean(dim=1)


def parts_of(code: SparseCode, edges: Sequence[int]) -> SparseCode:
    """Codes of B (len(edges) + 1) rows: of each sample those with the largest magnitudes up to each edge, and the rest."""
    rows = samples_of(code)
    with torch.no_grad():
        size = code.values.abs()
        order = size.argsort(descending=True, stable=True)
        order = order[rows[order].argsort(stable=True)]
        rank = torch.empty_like(rows)
        rank[order] = torch.arange(len(rows), device=rows.device) - code.offsets[:-1][rows[order]]
        part = torch.bucketize(rank, torch.tensor(edges, device=rows.device), right=True)
        row = rows * (len(edges) + 1) + part
        by_row = row.argsort(stable=True)  # within a row codes stay in ascending order
        counts = torch.bincount(row, minlength=(len(code.offsets) - 1) * (len(edges) + 1))
    return SparseCode(code.values[by_row], code.indices[by_row], offsets_of(counts), code.n_code)
