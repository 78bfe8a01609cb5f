"""Recovery of the dictionary and codes that generated the samples."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparsecode.evaluate.dictionary.geometry import unit_rows
from sparsecode.specs import Spec

__all__ = ["FOUND", "Matching", "Recovery", "SupportCounts", "assignment", "matching", "recovery"]

FOUND = 0.9  # cosine above which an atom counts as recovered


class Matching(NamedTuple):
    """Pairs of atoms of two dictionaries, each atom at most once: rows of the first, rows of the second, cosines."""

    first: Int[Tensor, " m"]
    second: Int[Tensor, " m"]
    cosine: Float[Tensor, " m"]


@torch.no_grad()
def matching(first: Float[Tensor, "k f"], second: Float[Tensor, "m f"], signed: bool = True) -> Matching:
    """The one-to-one pairing of atoms with the largest sum of cosines, as many pairs as the smaller dictionary has atoms.

    With `signed` codes an atom and its negative are the same: |cosine|. Norms do not matter; atoms of norm 0 have cosine 0.
    Takes seconds for 2 000 atoms and minutes for 10 000. Source: Kuhn, Naval Research Logistics 1955 (SciPy's solver).
    """
    size = unit_rows(first.cpu()) @ unit_rows(second.cpu()).T
    return assignment(size.abs() if signed else size)


def assignment(similarity: Float[Tensor, "k m"]) -> Matching:
    """The one-to-one pairing of rows and columns with the largest sum of similarities."""
    from scipy.optimize import linear_sum_assignment  # here, because SciPy is slow to import

    rows, columns = (torch.from_numpy(i) for i in linear_sum_assignment(similarity.numpy(), maximize=True))
    return Matching(rows, columns, similarity[rows, columns].clamp(max=1.0))


class SupportCounts:
    """Per true code: counts of true positives, false positives and false negatives of its being active."""

    def __init__(self, n: int) -> None:
        self.hits, self.false, self.missed = (torch.zeros(n, dtype=torch.long) for _ in range(3))

    def update(self, true: Tensor, inferred: Tensor) -> None:
        """Whether codes are active, [B, n] bool: in truth, and according to the model."""
        self.hits += (true & inferred).sum(dim=0)
        self.false += (~true & inferred).sum(dim=0)
        self.missed += (true & ~inferred).sum(dim=0)

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        """Precision, recall and F1 = 2 hits / (2 hits + false + missed) of each code [n]; 0 / 0 is 0."""

        def share(part: Tensor, whole: Tensor) -> Tensor:
            return part.double() / whole.clamp(min=1)

        hits = self.hits
        f1 = share(2 * hits, 2 * hits + self.false + self.missed)
        return share(hits, hits + self.false), share(hits, hits + self.missed), f1


class Recovery(Spec, tag="recovery"):
    """Recovery of a known dictionary and its codes by a model.

    `mcc`: the mean cosine of true atoms to the learned atoms matched with them, one to one; a true atom without a partner
    counts 0. `found`: the share of true atoms with a cosine above 0.9. `precision`, `recall`, `f1`: of the matched code being
    active when the true one is, on `n` samples, means over the true codes that are ever active.
    """

    n_true: int
    n_learned: int
    mcc: float
    found: float
    n: int
    theta: float
    precision: float
    recall: float
    f1: float


def recovery(pairs: Matching, true: Float[Tensor, "n k"], z: Float[Tensor, "n m"], theta: float = 0.0) -> Recovery:
    """Score codes `z` (active above `theta`) against the true codes (active where not 0), by pairs (true, learned)."""
    k = true.shape[1]
    active = torch.zeros(true.shape, dtype=torch.bool)
    active[:, pairs.first] = z[:, pairs.second].abs().cpu() > theta
    counts = SupportCounts(k)
    counts.update(true != 0, active)
    ever = (true != 0).any(dim=0)
    precision, recall, f1 = (float(share[ever].mean()) if bool(ever.any()) else 0.0 for share in counts.result())
    return Recovery(
        n_true=k,
        n_learned=z.shape[1],
        mcc=float(pairs.cosine.sum()) / k,
        found=float((pairs.cosine > FOUND).sum()) / k,
        n=len(true),
        theta=theta,
        precision=precision,
        recall=recall,
        f1=f1,
    )
