"""How much worse a model's output becomes without each code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.models.base import AbstractSparseModel
from sparsecode.reports.builders.additions import Additions
from sparsecode.reports.builders.coded import Coded, errors_of

__all__ = ["CodeImportance", "importance_of"]

ABLATED = 32  # samples on which a code is set to 0, where outputs must be computed anew
MOST = 200_000  # such outputs, for all codes
TOGETHER = 2**24  # numbers of a batch of codes

Doubles = NDArray[np.float64]


class CodeImportance(NamedTuple):
    """`values` [n] of all units; `words` say what they are, in this `unit`. `per_active` [n]: the mean increase of the error over active
    samples, of `samples` [n] of them, NaN where it was not computed.
    """

    values: Doubles
    words: str
    unit: str
    per_active: Doubles
    samples: NDArray[np.int64]


def importance_of(model: AbstractSparseModel, coded: Coded, additions: Additions) -> CodeImportance:
    """The increase of the error, mean over samples, if a code is set to 0; its share of the energy where that takes too long."""
    active, n = coded.features.n_active, coded.n
    error = "cross-entropy (nats)" if model.n_classes else "squared error per sample in data space"
    if coded.increase is not None:
        mean = np.divide(coded.increase, active, out=np.full(len(active), np.nan), where=active > 0)
        return CodeImportance(
            coded.increase / n, f"increase of the {error} if the code is set to 0, mean over samples", "", mean, active
        )
    if additions.n * ABLATED <= MOST:
        mean, samples = _ablated(model, coded, additions)
        words = (
            f"increase of the {error} if the code is set to 0, mean over samples, from at most {ABLATED} samples on which "
            "the code is active"
        )
        return CodeImportance(np.nan_to_num(mean) * active / n, words, "", mean, samples)
    power = np.bincount(coded.entries.code, coded.entries.value.astype(np.float64) ** 2, minlength=additions.n)
    share = power / max(power.sum(), np.finfo(np.float64).tiny)
    nothing = np.full(additions.n, np.nan)
    return CodeImportance(
        share,
        "share of the sum of squares of all codes: ablations would take too long",
        "share",
        nothing,
        np.zeros_like(active),
    )


@torch.no_grad()
def _ablated(model: AbstractSparseModel, coded: Coded, additions: Additions) -> tuple[Doubles, NDArray[np.int64]]:
    """Mean increase of the error over samples spread evenly over those on which a unit is active, and how many they are."""
    order = np.argsort(coded.entries.code, kind="stable")
    starts = np.searchsorted(coded.entries.code[order], np.arange(additions.n + 1))
    unit, sample = list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    for j in range(additions.n):
        there = coded.entries.row[order[starts[j] : starts[j + 1]]]
        chosen = (
            there[np.linspace(0, len(there) - 1, min(ABLATED, len(there))).astype(np.int64)] if len(there) else there
        )
        unit.append(np.full(len(chosen), j))
        sample.append(chosen)
    units, samples = np.concatenate(unit), np.concatenate(sample)
    by_sample = np.argsort(samples, kind="stable")
    grown = np.zeros(len(units))
    step = max(1, min(1000, TOGETHER // model.n_code))
    for start in range(0, len(units), step):
        pairs = by_sample[start : start + step]
        distinct, place = np.unique(samples[pairs], return_inverse=True)
        z = _codes(model, coded, additions, distinct)[torch.from_numpy(place)]
        by_place = z.reshape(len(z), -1, additions.places)
        by_place[torch.arange(len(z)), torch.from_numpy(units[pairs])] = 0.0
        part = coded.split.take(torch.from_numpy(samples[pairs]))
        out = model.decode(z) if model.n_classes else model.output(part.x, z)
        grown[pairs] = errors_of(model, part, out).cpu().numpy() - coded.errors[samples[pairs]]
    counts = np.bincount(units, minlength=additions.n)
    total = np.bincount(units, grown, minlength=additions.n)
    return np.divide(total, counts, out=np.full(additions.n, np.nan), where=counts > 0), counts


def _codes(model: AbstractSparseModel, coded: Coded, additions: Additions, samples: NDArray[np.int64]) -> Tensor:
    """The codes [n, n_code] of samples: those that were seen, where a unit is a code and all codes that are not 0 were; else coded again."""
    if additions.places > 1 or coded.features.settings.theta > 0:
        return model.encode(coded.split.take(torch.from_numpy(samples)).x)
    z = next(model.parameters()).new_zeros(len(samples), model.n_code)
    first, last = coded.offsets[samples], coded.offsets[samples + 1]
    at = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    rows = np.repeat(np.arange(len(samples)), last - first)
    z[torch.from_numpy(rows), torch.from_numpy(coded.entries.code[at])] = torch.from_numpy(coded.entries.value[at]).to(
        z
    )
    return z
