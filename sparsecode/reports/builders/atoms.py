"""What codes add to the output, as pictures or weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_posterior
from sparsecode.reports.builders.additions import Additions, receptive_fields
from sparsecode.reports.builders.sheets import Sheets
from sparsecode.reports.document import Atom, Cell, PackedArray, WeightedName, packed

__all__ = ["atoms_of"]

ATOMS, FIELDS = "atoms", "fields"
TOP = 8  # largest weights that are listed
WIDE = 64  # features up to which all weights are given


def atoms_of(
    additions: Additions, peaks: NDArray[np.float64], shown: NDArray[np.int64], names: Sequence[str], sheets: Sheets
) -> list[Atom]:
    """The atoms of the `shown` units, with pictures of them where samples are pictures; `peaks` are the largest values of all units, `names`
    those of features, or none.
    """
    model, units = additions.model, torch.from_numpy(shown)
    largest = torch.from_numpy(peaks[shown])
    unit_value = additions.linear or has_posterior(model)  # codes of the latter have unit scale in their prior
    values = torch.ones(len(shown)) if unit_value else torch.where(largest == 0, 1.0, largest).float()
    local, data = additions.at(units, values.to(next(model.parameters())))
    rows = data.double().cpu().numpy()
    cells: list[Cell | None] = [None] * len(shown)
    fields: list[Cell | None] = [None] * len(shown)
    pictured = sheets.pictured and model.n_sites == 1
    if additions.filters is not None:
        drawn = additions.filters[units]
        if drawn.shape[1] in (1, 3):
            cells = [Cell(ATOMS, i) for i in sheets.add_weights(ATOMS, drawn.flatten(1).cpu().numpy(), drawn.shape[1:])]
    elif pictured and model.reconstructs:
        cells = [Cell(ATOMS, i) for i in sheets.add_weights(ATOMS, rows)]
    keys = receptive_fields(model, units) if pictured else None
    if keys is not None:
        fields = [Cell(FIELDS, i) for i in sheets.add_weights(FIELDS, keys.double().cpu().numpy())]
    sites = _site_shares(model, local.reshape(len(local), -1).double().cpu().numpy())
    listed = not (pictured and model.reconstructs)
    return [
        Atom(
            picture=cells[i],
            field=fields[i],
            weights=_weights(rows[i]) if listed else None,
            top=_top(model, names, rows[i]) if listed else (),
            sites=sites[i],
            exact=additions.linear or additions.filters is not None,
        )
        for i in range(len(shown))
    ]


def _weights(row: NDArray[np.float64]) -> PackedArray | None:
    return packed(row, "f4") if len(row) <= WIDE else None


def _top(model: AbstractSparseModel, names: Sequence[str], row: NDArray[np.float64]) -> tuple[WeightedName, ...]:
    """The largest weights; the outputs are features of the data, or classes."""
    order = map(int, np.argsort(-np.abs(row), kind="stable")[:TOP])
    plain, n = ("class", 0) if model.n_classes else ("feature", len(names))
    return tuple(WeightedName(names[i] if i < n else f"{plain} {i}", float(row[i])) for i in order)


def _site_shares(model: AbstractSparseModel, local: NDArray[np.float64]) -> list[tuple[float, ...]]:
    if model.n_sites == 1:
        return [()] * len(local)
    norms = np.linalg.norm(local.reshape(len(local), model.n_sites, -1), axis=2)
    shares = norms / np.maximum(norms.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return [tuple(row) for row in shares.tolist()]
