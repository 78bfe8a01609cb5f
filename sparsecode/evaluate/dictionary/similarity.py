"""Similarity of two dictionaries: of their atoms, or of how their codes act on the same rows."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from msgspec import Meta
from torch import Tensor

from sparsecode.evaluate.dictionary.dictionary_recovery import Matching, assignment
from sparsecode.evaluate.dictionary.geometry import CHUNK, unit_rows
from sparsecode.specs import Spec

__all__ = [
    "DictionarySimilarity",
    "NearestAtoms",
    "activation_correlations",
    "atom_similarity",
    "code_similarity",
    "nearest_between",
]

MOST = 10_000  # atoms of which a one-to-one pairing takes minutes


class DictionarySimilarity(Spec, tag="dictionary_similarity"):
    """Similarity s of the atoms of two dictionaries: cosines, or correlations of their codes on `n` rows.

    `mean_max`: the mean over atoms of the first of their largest s with any of the second, and the other way round. `share`: of the atoms of the first
    (second) for which it is above `threshold`. One to one, by the pairing with the largest sum of s: `matched`, the mean s of the pairs, and `matched_share`, how many of them are above the threshold, of the smaller
    dictionary's atoms; None where a dictionary has more than 10 000 atoms.
    """

    first: str
    second: str
    by: Literal["cosine", "activations"]
    n_atoms: tuple[int, int]
    threshold: Annotated[float, Meta(ge=-1, le=1)]
    mean_max: tuple[float, float]
    share: tuple[float, float]
    matched: float | None = None
    matched_share: float | None = None
    n: int | None = None


class NearestAtoms(NamedTuple):
    """For each atom of one dictionary the nearest of another: its similarity, and its number."""

    similarity: Float[Tensor, " k"]
    number: Int[Tensor, " k"]


@torch.no_grad()
def nearest_between(first: Float[Tensor, "k f"], second: Float[Tensor, "m f"], signed: bool = True) -> NearestAtoms:
    """The atom of the second dictionary with the largest cosine to each of the first; with `signed` codes |cosine|. A block of atoms at a time.

    Norms do not matter; atoms of norm 0 have cosine 0.
    """
    units, others = unit_rows(first.cpu()), unit_rows(second.cpu())
    parts: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(units), CHUNK):
        size = units[start : start + CHUNK] @ others.T
        near = (size.abs() if signed else size).max(dim=1)
        parts.append((near.values, near.indices))
    similarity, number = (torch.cat(part) for part in zip(*parts, strict=True))
    return NearestAtoms(similarity.clamp(max=1.0), number)


@torch.no_grad()
def atom_similarity(
    first: Float[Tensor, "k f"],
    second: Float[Tensor, "m g"],
    *,
    signed: bool = True,
    threshold: float = 0.7,
    names: tuple[str, str] = ("first", "second"),
) -> tuple[DictionarySimilarity, Matching | None]:
    """Similarity of two dictionaries of one space by the cosines of their atoms, and the one-to-one pairing.

    Source of the mean maximum: Sharkey, Braun & Millidge, "Taking features out of superposition with sparse autoencoders", 2022.
    Raises ValueError for atoms of different sizes.

    >>> import torch
    >>> atoms = torch.eye(3)
    >>> result, pairs = atom_similarity(atoms, atoms[[2, 0, 1]])
    >>> result.mean_max, result.matched_share, pairs.second.tolist()
    ((1.0, 1.0), 1.0, [1, 2, 0])
    """
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"atoms have {first.shape[1]} and {second.shape[1]} features; expected the same space: compare codes on the same rows instead"
        )
    near = nearest_between(first, second, signed).similarity, nearest_between(second, first, signed).similarity
    pairs = None
    if max(len(first), len(second)) <= MOST:
        size = unit_rows(first.cpu()) @ unit_rows(second.cpu()).T
        pairs = assignment(size.abs() if signed else size)
    return _summary("cosine", near, pairs, threshold, names), pairs


def code_similarity(
    first: Any,
    second: Any,
    *,
    signed: bool = False,
    threshold: float = 0.7,
    names: tuple[str, str] = ("first", "second"),
) -> tuple[DictionarySimilarity, Matching | None]:
    """Similarity of two dictionaries of any spaces by the correlations of their codes on the same rows, and the one-to-one pairing.

    Codes [n, k] and [n, m] are dense or SciPy sparse arrays; with `signed` codes |correlation| counts. Raises ValueError for different numbers of rows.
    """
    if first.shape[0] != second.shape[0]:
        raise ValueError(f"codes are of {first.shape[0]} and {second.shape[0]} rows; expected the same rows")
    k, m, second = first.shape[1], second.shape[1], _wide(second)
    whole = torch.empty(k, m) if max(k, m) <= MOST else None
    rows, columns = torch.empty(k), torch.full((m,), -1.0)
    for start in range(0, k, CHUNK):
        part = activation_correlations(first[:, start : start + CHUNK], second)
        part = part.abs() if signed else part
        rows[start : start + CHUNK] = part.amax(dim=1)
        columns = torch.maximum(columns, part.amax(dim=0))
        if whole is not None:
            whole[start : start + CHUNK] = part
    pairs = None if whole is None else assignment(whole)
    result = _summary("activations", (rows, columns), pairs, threshold, names, n=first.shape[0])
    return result, pairs


def activation_correlations(first: Any, second: Any) -> Float[Tensor, "k m"]:
    """Pearson correlations of the codes [n, k] and [n, m] of the same rows, float32; 0 for codes that do not vary.

    >>> import numpy as np
    >>> activation_correlations(np.eye(2), np.eye(2)).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    n, (first, second) = first.shape[0], map(_wide, (first, second))
    product = first.T @ second
    both = np.asarray(product.toarray() if hasattr(product, "toarray") else product, dtype=np.float64)
    means, deviations = zip(*(_moments(codes) for codes in (first, second)), strict=True)
    covariance = both / n - np.outer(*means)
    scale = np.outer(*deviations)
    return torch.from_numpy(np.where(scale > 0, covariance / np.where(scale > 0, scale, 1.0), 0.0)).float().clamp(-1, 1)


def _wide(codes: Any) -> Any:
    """Codes in float64: the covariance is a difference of sums, and SciPy adds one row after another."""
    return codes.astype(np.float64, copy=False)


def _moments(codes: Any) -> tuple[Any, Any]:
    """Means and standard deviations [k] of codes [n, k]."""
    n = codes.shape[0]
    squares = codes.multiply(codes) if hasattr(codes, "multiply") else np.square(codes)
    mean = np.asarray(codes.sum(axis=0)).reshape(-1) / n
    square = np.asarray(squares.sum(axis=0)).reshape(-1) / n
    variance = square - mean**2
    return mean, np.sqrt(np.where(variance > 1e-12 * square, variance, 0.0))


def _summary(
    by: Literal["cosine", "activations"],
    near: tuple[Tensor, Tensor],
    pairs: Matching | None,
    threshold: float,
    names: tuple[str, str],
    n: int | None = None,
) -> DictionarySimilarity:
    first, second = near
    return DictionarySimilarity(
        *names,
        by=by,
        n_atoms=(len(first), len(second)),
        threshold=threshold,
        mean_max=(float(first.mean()), float(second.mean())),
        share=(float((first > threshold).double().mean()), float((second > threshold).double().mean())),
        matched=None if pairs is None else float(pairs.cosine.mean()),
        matched_share=None if pairs is None else float((pairs.cosine > threshold).double().mean()),
        n=n,
    )
