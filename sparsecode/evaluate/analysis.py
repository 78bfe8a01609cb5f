"""Analysis of a trained model without training another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecode.data.splits import Split, Splits
from sparsecode.data.synthetic import KnowsTruth, Part
from sparsecode.evaluate.dictionary.dictionary_recovery import Recovery, matching, recovery
from sparsecode.evaluate.dictionary.geometry import Cosines, Dictionary, cosines, dictionary_of, nearest_cosines
from sparsecode.evaluate.metrics import CodeUse
from sparsecode.evaluate.reconstruction.amortisation import AmortisationGap, model_gaps
from sparsecode.evaluate.reconstruction.references import ReferencePoint, reference_scores, references
from sparsecode.evaluate.reconstruction.score import Score, score
from sparsecode.models.base import AbstractSparseModel
from sparsecode.specs import Spec

__all__ = ["OWN", "Analysed", "Analysis", "analyse"]

OWN = "the coder itself"


class Analysis(Spec, tag="analysis"):
    """A run's scores on a split beside references and bounds.

    `density`: per coder, the share of samples on which each code is active. `references`: per coder, the scores of reference methods at its
    mean L0, and those of the coder itself, on at most `samples` samples, as are `gaps`. `notes` say what could not be measured.
    """

    run: str
    split: Part
    samples: int
    scores: dict[str, Score]
    density: dict[str, tuple[float, ...]]
    cosines: Cosines | None
    references: dict[str, dict[str, ReferencePoint]]
    gaps: dict[str, AmortisationGap]
    recovery: dict[str, Recovery]
    notes: tuple[str, ...] = ()


class Analysed(NamedTuple):
    """An `Analysis`, and what pictures and comparisons of runs need besides.

    `dictionary` and `nearest` (cosines of atoms to their nearest ones) are None without a linear decoder; `matched` are the
    cosines of true atoms to learned ones, where the truth is known. `signed`: whether codes of either sign were seen.
    """

    report: Analysis
    dictionary: Dictionary | None
    nearest: Tensor | None
    matched: Tensor | None
    signed: bool


@torch.no_grad()
def analyse(
    model: AbstractSparseModel,
    splits: Splits,
    part: Part = "test",
    *,
    name: str = "",
    theta: float = 0.0,
    samples: int = 2000,
    seed: int = 0,
    source: object = None,
) -> Analysed:
    """Score every coder of a model, and measure the geometry of its dictionary, references and amortisation gaps at equal L0.

    Codes are active above `theta`. References and gaps are measured on `samples` samples spread evenly over the split, or all;
    random dictionaries are drawn by `seed`. A data `source` that knows the truth is compared with it. Raises ValueError for models
    that classify or predict a target.
    """
    if not model.reconstructs:
        does = "predicts a target" if model.n_classes is None else "classifies"
        raise ValueError(
            f"analyse compares reconstructions, and this model {does}; see its scores with sparsecode eval"
        )
    weights = next(model.parameters())
    whole: Split = getattr(splits, part).to(weights.device, weights.dtype)
    few = whole if whole.n <= samples else whole.take(torch.linspace(0, whole.n - 1, samples).long())
    notes: list[str] = []
    truth = source.truth(part) if isinstance(source, KnowsTruth) else None
    watched = {n: _Watched(coder, theta, truth is not None) for n, coder in model.coders().items()}
    scores = {n: score(model, coder, whole, splits.data_range, theta) for n, coder in watched.items()}
    usable: dict[str, Score] = {}
    for n, coder in model.coders().items():
        result = scores[n] if few is whole else score(model, coder, few, splits.data_range, theta)
        if 0 < result.l0 < result.n_code:
            usable[n] = result
        else:
            which = "all codes are" if result.l0 else "no code is"
            notes.append(
                f"{n}: {which} active (|z| > {theta:g}), so that no reference has an equal L0; "
                "state a theta that tells active codes from others"
            )
    dictionary = local = None
    try:
        dictionary, local = dictionary_of(model, data_space=True), dictionary_of(model)
    except ValueError as problem:
        notes.append(f"no cosines, amortisation gap or recovery: {problem}")
    signed = any(coder.negative for coder in watched.values())
    recovered: dict[str, Recovery] = {}
    matched = None
    if dictionary is not None and truth is not None:
        pairs = matching(truth.atoms, dictionary.atoms, signed)
        recovered = {n: recovery(pairs, truth.codes, torch.cat(c.kept), theta) for n, c in watched.items()}
        matched = pairs.cosine
    several = local is not None and len(local.atoms) > 1
    report = Analysis(
        run=name,
        split=part,
        samples=few.n,
        scores=scores,
        density={n: tuple(coder.frequency()) for n, coder in watched.items()},
        cosines=cosines(local.atoms) if local is not None and several else None,
        references={n: _references(coder_score, splits, few, seed) for n, coder_score in usable.items()},
        gaps={} if local is None else model_gaps(model, few.x, theta, local, tuple(usable)),
        recovery=recovered,
        notes=tuple(notes),
    )
    nearest = nearest_cosines(local.atoms)[0] if local is not None and several else None
    return Analysed(report, dictionary, nearest, matched, signed)


class _Watched:
    """A coder, and what its codes were: solving them once is enough."""

    def __init__(self, coder: Callable[[Tensor], Tensor], theta: float, keep: bool) -> None:
        self.coder, self.theta, self.keep = coder, theta, keep
        self.use: CodeUse | None = None
        self.negative = False
        self.kept: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        z = self.coder(x)
        self.use = CodeUse(z.shape[1], self.theta) if self.use is None else self.use
        self.use.update(z)
        self.negative |= bool((z < 0).any())
        if self.keep:
            self.kept.append(z.cpu())
        return z

    def frequency(self) -> list[float]:
        return [] if self.use is None else self.use.result().frequency.tolist()


def _references(coder_score: Score, splits: Splits, few: Split, seed: int) -> dict[str, ReferencePoint]:
    assert coder_score.psnr is not None  # only models that classify have none
    points = {
        OWN: ReferencePoint(
            coder_score.l0, coder_score.psnr, coder_score.normalised_mse, coder_score.explained_variance
        )
    }
    for name, approximate in references(splits.train.x.to(few.x), coder_score.n_code, seed).items():
        points[name] = reference_scores(approximate, few, splits.data_range, [coder_score.l0])[0]
    return points
