"""Stability of dictionaries across trainings."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.evaluate.dictionary.dictionary_recovery import Matching, matching
from sparsecode.evaluate.dictionary.geometry import unit_rows
from sparsecode.specs import Spec

__all__ = ["CLOSE", "SAME", "Stability", "leading_subspace", "stability", "subspace_angles"]

CLOSE, SAME = 0.7, 0.9  # cosines above which matched atoms are called close, and the same
HELD = 0.9  # share of the atoms' squared norms that a leading subspace holds


class Stability(Spec, tag="stability"):
    """Two dictionaries, matched one to one: `mcc` is the mean cosine of the pairs, `close` and `same` the shares above 0.7, 0.9.

    The subspaces compared are those of the `dimensions` leading right singular vectors of the atoms, scaled to norm 1, as many
    as hold 90 % of their squares (the more of the two dictionaries); angles between them in degrees.
    """

    first: str
    second: str
    n_atoms: tuple[int, int]
    mcc: float
    close: float
    same: float
    dimensions: int
    mean_angle: float
    largest_angle: float


def leading_subspace(atoms: Float[Tensor, "k f"]) -> tuple[Tensor, int]:
    """Right singular vectors [r, n_features] of the atoms scaled to norm 1, and how many hold 90 % of the squares."""
    _, values, vectors = torch.linalg.svd(unit_rows(atoms.cpu()), full_matrices=False)
    share = values.square().cumsum(dim=0) / values.square().sum()
    return vectors, int((share < HELD).sum()) + 1


def subspace_angles(first: Float[Tensor, "r f"], second: Float[Tensor, "r f"]) -> Float[Tensor, " r"]:
    """Principal angles in degrees between the spans of orthonormal rows, rising. Source: Björck & Golub 1973.

    Small ones from sines, which keep their digits there.
    """
    cosine = torch.linalg.svdvals(first @ second.T).clamp(max=1.0)
    sine = torch.linalg.svdvals(second - second @ first.T @ first).clamp(max=1.0).flip(0)[: len(cosine)]
    return torch.rad2deg(torch.where(cosine**2 > 0.5, sine.asin(), cosine.acos()))


def stability(
    first: Float[Tensor, "k f"],
    second: Float[Tensor, "m f"],
    names: tuple[str, str] = ("first", "second"),
    signed: bool = True,
) -> tuple[Stability, Matching]:
    """Compare two dictionaries in the same space; `signed` as for `matching`."""
    pairs = matching(first, second, signed)
    (one, r), (two, s) = leading_subspace(first), leading_subspace(second)
    dimensions = min(max(r, s), len(one), len(two))
    angles = subspace_angles(one[:dimensions], two[:dimensions])
    n = max(len(pairs.cosine), 1)
    report = Stability(
        *names,
        n_atoms=(len(first), len(second)),
        mcc=float(pairs.cosine.mean()),
        close=int((pairs.cosine > CLOSE).sum()) / n,
        same=int((pairs.cosine > SAME).sum()) / n,
        dimensions=dimensions,
        mean_angle=float(angles.mean()),
        largest_angle=float(angles.max()),
    )
    return report, pairs
