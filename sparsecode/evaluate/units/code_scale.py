"""Sizes of codes and of what single codes decode to: whether the codes shrink while the decoder grows."""

from __future__ import annotations

import torch

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import KnownMeasure, MeasureSettings, Result, in_parts, rows_together
from sparsecode.models.base import AbstractSparseModel

__all__ = ["CodeScale", "CodeSizes"]


class CodeSizes(Result, tag="code_sizes"):
    """Sizes of n codes z [n, k], and of the decoder.

    `norm` is the mean over samples of |z_i|_2. `deviation` and `least_deviation` are mean and minimum over j of the standard
    deviation s_j of z_.j over the samples (n - 1), `l1` the mean over samples of |z_i|_1. `atom_norm` is the mean over j of
    |decode(e_j) - decode(0)|_2 in model space, for unit vectors e_j: of a linear decoder, the mean norm of its atoms.
    A collapse by an L1 penalty has codes of ever smaller norm and atoms of ever larger norm.
    """

    n: int
    norm: float
    l1: float
    deviation: float
    least_deviation: float
    atom_norm: float

    def means(self) -> dict[str, float]:
        return {name: value for name, value in super().means().items() if name != "n"}


class CodeScale(KnownMeasure, tag="code_scale"):
    """Norms and standard deviations of the codes of every coder, and the norm of what single codes decode to."""

    @torch.no_grad()
    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, CodeSizes]:
        sizes: dict[str, CodeSizes] = {}
        atom_norm: float | None = None
        for name, coder in model.coders().items():
            z = in_parts(coder, split.x, model.n_code).flatten(1)
            deviation = z.double().std(dim=0) if split.n > 1 else torch.zeros(z.shape[1])
            if atom_norm is None:
                atom_norm = _atom_norm(model, z[:1])
            sizes[name] = CodeSizes(
                n=split.n,
                norm=float(z.double().norm(dim=1).mean()),
                l1=float(z.double().abs().sum(dim=1).mean()),
                deviation=float(deviation.mean()),
                least_deviation=float(deviation.min()),
                atom_norm=atom_norm,
            )
        return sizes


def _atom_norm(model: AbstractSparseModel, like: torch.Tensor) -> float:
    """The mean over j of |decode(e_j) - decode(0)|_2, for codes of the size and dtype of `like` [1, k]."""
    rest, total = model.decode(torch.zeros_like(like)), 0.0
    for units in torch.arange(like.shape[1]).split(rows_together(like.shape[1])):
        codes = torch.zeros(len(units), like.shape[1]).to(like)
        codes[torch.arange(len(units)), units] = 1.0
        total += float((model.decode(codes) - rest).flatten(1).double().norm(dim=1).sum())
    return total / like.shape[1]
