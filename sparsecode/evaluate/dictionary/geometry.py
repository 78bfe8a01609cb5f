"""Geometry of dictionaries: cosines between their atoms."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.models.base import AbstractSparseModel
from sparsecode.specs import Spec

__all__ = [
    "CHUNK",
    "DUPLICATE",
    "QUANTILES",
    "Cosines",
    "Dictionary",
    "cosines",
    "dictionary_of",
    "nearest_cosines",
    "unit_rows",
]

DUPLICATE = 0.9  # cosine above which two atoms are called the same
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CHUNK = 1024  # rows at a time


class Dictionary(NamedTuple):
    """A linear decoder: z -> z D + bias, `atoms` D [n_code, n_features], `bias` [n_features]."""

    atoms: Tensor
    bias: Tensor


class Cosines(Spec, tag="cosines"):
    """Mean, quantiles at `QUANTILES` and maximum over atoms of the largest |cosine| of each atom to another one.

    `duplicates` are atoms for which it is above 0.9, `pairs` the share of all pairs of atoms above 0.9, `empty` atoms of norm
    0 (their cosines are 0).
    """

    n_atoms: int
    empty: int
    mean: float
    quantiles: tuple[float, ...]
    largest: float
    duplicates: int
    pairs: float


@torch.no_grad()
def dictionary_of(model: AbstractSparseModel, data_space: bool = False) -> Dictionary:
    """The atoms and bias of a model whose decoder is linear, in model space or in data space (flattened).

    Read off `decode` and tried on codes with all atoms in them. Raises ValueError if decoding is not linear.
    """
    weights = next(model.parameters())
    n_code = model.encode(torch.zeros(1, *model.shape).to(weights)).shape[1]

    def decoded(z: Tensor) -> Tensor:
        x = model.decode(z.to(weights))
        return (model.denormalise(x).flatten(1) if data_space else x).detach()

    bias = decoded(torch.zeros(1, n_code))
    parts: list[Tensor] = []
    for start in range(0, n_code, CHUNK):
        rows = torch.arange(min(CHUNK, n_code - start))
        units = torch.zeros(len(rows), n_code)
        units[rows, start + rows] = 1.0
        parts.append(decoded(units) - bias)
    atoms = torch.cat(parts)
    trial = torch.linspace(0.1, 1.0, n_code).to(weights).expand(2, -1) * torch.tensor([[1.0], [-1.0]]).to(weights)
    expected = trial @ atoms
    if not float((decoded(trial) - bias - expected).norm()) <= 1e-3 * float(expected.norm()):
        raise ValueError(
            "the model's decoder is not linear, so it has no dictionary; take a model with a linear decoder"
        )
    return Dictionary(atoms, bias[0])


def unit_rows(atoms: Float[Tensor, "k f"]) -> Float[Tensor, "k f"]:
    """Atoms of norm 1, float64; those of norm 0 stay."""
    atoms = atoms.double()
    norms = torch.linalg.vector_norm(atoms, dim=1, keepdim=True)
    return torch.where(norms > 0, atoms / norms, atoms)


@torch.no_grad()
def nearest_cosines(atoms: Float[Tensor, "k f"]) -> tuple[Float[Tensor, " k"], int]:
    """The largest |cosine| of each atom to another one, and the number of pairs above 0.9; norms do not matter."""
    units = unit_rows(atoms)
    nearest, above = torch.zeros(len(units), dtype=torch.float64), 0
    for start in range(0, len(units), CHUNK):
        part = slice(start, start + CHUNK)
        size = (units[part] @ units.T).abs().cpu()
        rows = torch.arange(len(size))
        size[rows, start + rows] = 0.0
        nearest[part] = size.amax(dim=1)
        above += int((size > DUPLICATE).sum())
    return nearest.clamp(max=1.0), above // 2


def cosines(atoms: Float[Tensor, "k f"]) -> Cosines:
    """`Cosines` of a dictionary [n_code, n_features]. Raises ValueError for fewer than two atoms."""
    n = len(atoms)
    if n < 2:
        raise ValueError(f"atoms has {n} rows; expected at least two atoms to compare")
    nearest, above = nearest_cosines(atoms)
    return Cosines(
        n_atoms=n,
        empty=int((atoms == 0).all(dim=1).sum()),
        mean=float(nearest.mean()),
        quantiles=tuple(torch.quantile(nearest, torch.tensor(QUANTILES, dtype=torch.float64)).tolist()),
        largest=float(nearest.max()),
        duplicates=int((nearest > DUPLICATE).sum()),
        pairs=above / (n * (n - 1) / 2),
    )
