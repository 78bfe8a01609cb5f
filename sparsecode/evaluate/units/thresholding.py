"""Reconstructions from some of the codes: those above a threshold, or the k largest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import CHUNK, in_parts, rows_together
from sparsecode.evaluate.metrics import mean_squared_error
from sparsecode.evaluate.reconstruction.restoration import corrupted
from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.rng import generator
from sparsecode.specs import Spec

__all__ = [
    "KeptCodes",
    "Thresholding",
    "above",
    "default_counts",
    "default_levels",
    "filled",
    "largest",
    "thresholding",
]

Keep = Callable[[Tensor], Tensor]
LEVELS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class KeptCodes(Spec, tag="kept_codes"):
    """Codes kept by one rule: those with |z_j| > `at`, or the `at` largest magnitudes; `l0` is the mean count of those other than 0.

    `mse`: mean squared error per feature against the clean sample in data space, dropped codes 0; `mse_filled`: in the
    place of each stands the mean of the values that the rule drops of it on training samples.
    """

    at: float
    l0: float
    mse: float
    mse_filled: float


class Thresholding(Spec, tag="thresholding"):
    """A coder's reconstructions of `n` samples from codes above each threshold, and from the k largest.

    Samples are corrupted if those of training are (`corrupted`), errors are against the clean ones. `greatest` is the greatest magnitude of a code.
    """

    n: int
    n_code: int
    coder: str
    corrupted: bool
    greatest: float
    by_threshold: tuple[KeptCodes, ...]
    by_count: tuple[KeptCodes, ...]


def above(z: Float[Tensor, "b k"], threshold: float) -> Float[Tensor, "b k"]:
    """1 where |z_j| > threshold, else 0."""
    return (z.abs() > threshold).to(z)


def largest(z: Float[Tensor, "b k"], count: int) -> Float[Tensor, "b k"]:
    """1 for the `count` codes of largest magnitude of each sample, else 0."""
    return torch.zeros_like(z).scatter_(1, z.abs().topk(count, dim=1).indices, 1.0)


def filled(
    z: Float[Tensor, "b k"], keep: Float[Tensor, "b k"], train: Float[Tensor, "n k"], dropped: Float[Tensor, "n k"]
) -> Float[Tensor, "b k"]:
    """The kept codes and, in the place of every other one, its mean over the training codes `train` that the rule drops (`dropped` is 1)."""
    mean = (train * dropped).sum(dim=0) / dropped.sum(dim=0).clamp(min=1)
    return z * keep + mean * (1 - keep)


def default_levels(greatest: float) -> tuple[float, ...]:
    """Thresholds from 0 to 0.9 for codes in [0, 1], else to 0.9 of the greatest magnitude."""
    return tuple(level * (1.0 if greatest <= 1 else greatest) for level in LEVELS)


def default_counts(n_code: int) -> tuple[int, ...]:
    """1, 2, 4, ... and all codes."""
    return (*(1 << power for power in range(n_code.bit_length()) if 1 << power < n_code), n_code)


@torch.no_grad()
def codes_of(
    model: AbstractSparseModel, coder: Callable[[Tensor], Tensor], x: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """Samples [n, *F] as in training, corrupted or not, and their codes [n, k]; a function of the seed."""
    seen: list[Tensor] = []
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        made = corrupted(model, part, generator(seed, "restore", start))
        seen.append(part if made is None else made[0])
    noisy = torch.cat(seen)
    return noisy, in_parts(coder, noisy, model.n_code)


@torch.no_grad()
def thresholding(
    model: AbstractSparseModel,
    split: Split,
    train: Split,
    thresholds: Sequence[float] | None = None,
    counts: Sequence[int] | None = None,
    seed: int = 0,
) -> Thresholding:
    """`Thresholding` of a model's first coder on all samples of a split; `train` gives the means of what is dropped.

    Raises ValueError for models that do not reconstruct their samples, and for counts out of range.
    """
    if not model.reconstructs:
        raise ValueError("the model does not reconstruct its samples; choose one that is no classifier or transcoder")
    wrong = [k for k in counts or () if not 1 <= k <= model.n_code]
    if wrong:
        raise ValueError(f"k is {wrong[0]}; expected 1 to {model.n_code}, the number of codes")
    coder, encode = next(iter(model.coders().items()))
    seen, z = codes_of(model, encode, split.x, seed)
    known = codes_of(model, encode, train.x, seed)[1]
    greatest = float(z.abs().max())

    def kept(at: float, keep: Keep) -> KeptCodes:
        error = [0.0, 0.0]
        active, dropped = 0.0, 1 - keep(known)
        size = rows_together(model.n_code)
        for x, part in zip(split.x.split(size), z.split(size), strict=True):
            chosen = keep(part)
            active += float((part * chosen != 0).sum())
            for i, codes in enumerate((part * chosen, filled(part, chosen, known, dropped))):
                error[i] += float(mean_squared_error(x, model.denormalise(model.decode(codes))).double().sum())
        return KeptCodes(at, active / split.n, error[0] / split.n, error[1] / split.n)

    levels = default_levels(greatest) if thresholds is None else tuple(thresholds)
    return Thresholding(
        n=split.n,
        n_code=model.n_code,
        coder=coder,
        corrupted=seen is not split.x and bool((seen != split.x).any()),
        greatest=greatest,
        by_threshold=tuple(kept(t, lambda part, t=t: above(part, t)) for t in levels),
        by_count=tuple(
            kept(k, lambda part, k=k: largest(part, k))
            for k in (default_counts(model.n_code) if counts is None else counts)
        ),
    )
