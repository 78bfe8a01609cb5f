"""A coder's scores on a split: reconstruction, sparsity, use of the codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sparsecode.coders import in_words
from sparsecode.data.splits import Split
from sparsecode.evaluate.base import KnownMeasure, MeasureSettings, Result, Table, rows_together
from sparsecode.evaluate.code_sums import sums_of
from sparsecode.evaluate.metrics import (
    DENSE,
    CodeUse,
    ExplainedVariance,
    add_sums,
    hoyer_of,
    psnr,
    sees_structure,
    ssim,
    treves_rolls_of,
)
from sparsecode.losses.task import Classify
from sparsecode.models.base import AbstractSparseModel
from sparsecode.records import Batch

__all__ = ["HIGHER_IS_BETTER", "Score", "Scores", "score", "validated", "wanted_of"]

# What validation during training reports of each coder, and which of it is better when it is higher.
VALIDATED = ("objective", "psnr", "explained_variance", "l0", "dead")
VALIDATED_CLASSIFIERS = ("objective", "accuracy", "l0", "dead")
HIGHER_IS_BETTER = ("psnr", "ssim", "explained_variance", "accuracy", "elbo", "class")


def validated(model: AbstractSparseModel) -> tuple[str, ...]:
    """The names and values that validation reports for each coder."""
    if model.n_classes is not None:
        return VALIDATED_CLASSIFIERS
    return (*VALIDATED, "ssim") if model.reconstructs and sees_structure(model.shape) else VALIDATED


class Score(Result, tag="score"):
    """Means over the samples of a split; `theta` is the level above which a code counts as active.

    `explained_variance`, and `normalised_mse` = 1 - `explained_variance`, are None where the data do not vary. `gap_mean`
    and `gap_max` bound how far the codes' objective is from the least there is, relative to that of z = 0; None for models
    without such a bound. `dense` counts codes active on more than a tenth of the samples. The three sparsities are those of
    the codes' values, whatever theta: means over samples (Hoyer, Treves-Rolls) or codes (lifetime) that are not all 0.
    `silent` is the share of samples without an active code, which a mean L0 does not describe.
    `ssim` is None but for images of at least 11 by 11 pixels. Fields from `mse` on are None in scores that older versions wrote. Of models that classify, `accuracy` is the share of
    samples whose label has the largest logit (`class_accuracy`: of each class; 0 for one without samples) and `objective` the mean cross-entropy; what is about reconstructions is None.

    `explained_variance` is dominated by features of large variance. `feature_explained_variance` is its mean over features
    instead; `large_features` hold more than ten times the mean share of the variance, together `large_share`, and
    `explained_variance_rest` is that of all others (None if there is no large one).

    `wape` is sum |x - y| / sum |x| in data space, as a fraction; None where all values are 0.

    `objective` is the mean of the model's `energy`; `objective_of` says which: solvers minimise half the squared error, the
    loss of autoencoders has the whole one, and variational models have a bound.
    """

    n: int
    psnr: float | None
    data_range: float
    explained_variance: float | None
    objective: float
    gap_mean: float | None
    gap_max: float | None
    l0: float
    theta: float
    active_fraction: float
    dead: int
    always_on: int
    n_code: int
    mse: float | None = None
    normalised_mse: float | None = None
    dense: int | None = None
    hoyer: float | None = None
    population_sparsity: float | None = None
    lifetime_sparsity: float | None = None
    accuracy: float | None = None
    class_accuracy: tuple[float, ...] | None = None
    ssim: float | None = None
    silent: float | None = None
    feature_explained_variance: float | None = None
    large_features: tuple[int, ...] | None = None
    large_share: float | None = None
    explained_variance_rest: float | None = None
    objective_of: str | None = None
    wape: float | None = None

    def means(self) -> dict[str, float]:
        """As `validated`, and of classifiers `class_0`, ...: the accuracy on each class."""
        names = VALIDATED if self.accuracy is None else VALIDATED_CLASSIFIERS
        if self.ssim is not None:
            names = (*names, "ssim")
        values = {name: getattr(self, name) for name in names}
        values |= {f"class_{number}": share for number, share in enumerate(self.class_accuracy or ())}
        return {name: math.nan if value is None else float(value) for name, value in values.items()}

    @classmethod
    def table(cls, name: str, parts: Mapping[str, Score]) -> Table:  # noqa: ARG003 - the contract
        """A row per coder."""
        return scores_table(parts)


@torch.no_grad()
def score(
    model: AbstractSparseModel,
    coder: Callable[[Tensor], Tensor],
    split: Split,
    data_range: float,
    theta: float = 0.0,
) -> Score:
    """Score one of the model's coders (see `AbstractSparseModel.coders`) on a split, in data space.

    PSNR and SSIM are those of `Split.pixels`. Models that predict a target are scored by it.
    Raises ValueError for a split without samples, one without the labels or targets that a model needs, and for values that overflow.
    """
    variance = ExplainedVariance()
    use: CodeUse | None = None
    quality, alike, objective, count, silent = 0.0, 0.0, 0.0, 0.0, 0
    wrong, size = 0.0, 0.0
    images = model.reconstructs and model.n_sites == 1 and sees_structure(model.shape)
    hits = torch.zeros(2, model.n_classes or 1, dtype=torch.float64)  # per class: right, all
    gaps: list[Tensor] = []
    uneven: list[Tensor] = []
    for _, part in split.chunks(rows_together(model.n_code)):
        x = part.x
        z = coder(x)
        sums, k = sums_of(z, theta), z.shape[1]
        use = CodeUse(k, theta) if use is None else use
        add_sums(use, sums)
        if model.n_classes is None:
            y, wanted = model.output(x, z), wanted_of(model, part)
            variance.update(wanted, y)
            wrong += float((wanted - y.reshape(wanted.shape)).abs().sum(dtype=torch.float64))
            size += float(wanted.abs().sum(dtype=torch.float64))
            seen = part.pixels(wanted), part.pixels(y)
            quality += float(psnr(*seen, data_range).double().sum())
            alike += float(ssim(*seen, data_range).sum()) if images else 0.0
        else:
            task, out = Classify(model.n_classes), model.decode(z)
            if part.label is not None:
                right = task.hits(out, part.label).cpu().double()
                hits += torch.zeros(2, model.n_classes, dtype=torch.float64).index_add_(
                    1, part.label.cpu(), torch.stack([right, torch.ones_like(right)])
                )
        objective += float(model.objective(Batch(x, part.target, part.label), z).double().sum())
        active, total, squares = sums.by_sample
        count += float(active.double().sum())
        silent += int((active == 0).sum())
        uneven.append(
            torch.stack([hoyer_of(total, squares.sqrt(), k), treves_rolls_of(total, squares, k)], dim=1).double()
        )
        gap = model.gap(x, z)
        if gap is not None:
            gaps.append(gap.double())
    if use is None:
        raise ValueError("split holds no samples; expected at least one")
    if not math.isfinite(quality + objective):
        raise ValueError(
            f"squares of the samples, which span {data_range:.3g}, or of their reconstructions do not fit in "
            f"{str(split.x.dtype).removeprefix('torch.')}; scale the data to values of about 1"
        )
    usage, n, explained = use.result(), split.n, variance.result()
    single = None if math.isnan(explained) else variance.by_feature()
    gap = torch.cat(gaps) if gaps else None
    population = torch.cat(uneven)
    return Score(
        n=n,
        psnr=quality / n if model.n_classes is None else None,
        ssim=alike / n if images else None,
        data_range=data_range,
        explained_variance=None if math.isnan(explained) else explained,
        objective=objective / n,
        gap_mean=None if gap is None else float(gap.mean()),
        gap_max=None if gap is None else float(gap.max()),
        l0=count / n,
        silent=silent / n,
        theta=theta,
        active_fraction=count / n / len(usage.frequency),
        dead=usage.dead,
        always_on=usage.always_on,
        n_code=len(usage.frequency),
        mse=variance.mse() if model.n_classes is None else None,
        normalised_mse=None if math.isnan(explained) else variance.normalised_mse(),
        dense=usage.dense,
        hoyer=_mean(population[:, 0]),
        population_sparsity=_mean(population[:, 1]),
        lifetime_sparsity=_mean(usage.lifetime_sparsity),
        accuracy=None if model.n_classes is None else float(hits[0].sum()) / n,
        objective_of=getattr(model.spec, "objective", None),
        feature_explained_variance=single and single.mean,
        large_features=single and tuple(single.large),
        large_share=single and single.share,
        explained_variance_rest=None if single is None or math.isnan(single.rest) else single.rest,
        wape=wrong / size if size else None,
        class_accuracy=None if model.n_classes is None else tuple((hits[0] / hits[1].clamp(min=1)).tolist()),
    )


def wanted_of(model: AbstractSparseModel, part: Split) -> Tensor:
    """The values that a model predicts in data space: samples [B, *F], or targets [B, *G]. Raises ValueError for targets that do not fit."""
    if model.target_shape is None:
        return part.x
    given = None if part.target is None else tuple(part.target.shape[1:])
    if part.target is None or given != model.target_shape:
        raise ValueError(
            f"the model predicts targets of shape {model.target_shape}, and the samples have "
            f"{'none' if given is None else f'those of shape {given}'}; choose data with such targets"
        )
    return part.target


def _mean(values: Tensor) -> float | None:
    """The mean of the finite values; None if there are none."""
    sound = values[values.isfinite()]
    return float(sound.mean()) if len(sound) else None


class Scores(KnownMeasure, tag="scores"):
    """Reconstruction, sparsity and use of the codes of every coder: a `Score` each."""

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, Score]:
        return {
            name: score(model, coder, split, settings.data_range, settings.theta)
            for name, coder in model.coders().items()
        }


SILENT = 0.01  # a larger share of samples without an active code is worth a line


def scores_table(scores: Mapping[str, Score]) -> Table:
    """A row per coder; the caption says what the columns are."""
    first = next(iter(scores.values()))
    classifies = first.accuracy is not None
    quality = ("accuracy", "cross-entropy") if classifies else ("PSNR", "EV", "objective", "gap")
    rows = [
        (
            name,
            *((f"{s.accuracy:.2%}", f"{s.objective:.4g}") if s.accuracy is not None else _reconstruction(s)),
            f"{s.l0:.2f}",
            str(s.dead),
            "-" if s.dense is None else str(s.dense),
            str(s.always_on),
        )
        for name, s in scores.items()
    ]
    what = (
        "cross-entropy in nats; "
        if classifies
        else f"PSNR in dB for a data range of {first.data_range:.3g}; EV: explained variance;\ngap: the largest, relative; "
    )
    caption = (
        f"{what}L0: mean count of |z| > {first.theta:g}; of {first.n_code} codes,\n"
        f"dead: active on no sample, dense: on more than {DENSE:.0%}, on: on every one"
    )
    if first.objective_of and not classifies:
        caption += f"\nobjective: {first.objective_of}, mean over samples"
    if len(scores) > 1:
        caption += f"\ncodes by: {', '.join(in_words(scores).values())}"
    if silent := {name: s.silent for name, s in scores.items() if s.silent and s.silent >= SILENT}:
        shares = ", ".join(f"{share:.0%} by {name}" for name, share in silent.items())
        caption += f"\nsamples without an active code: {shares}"
    header = ("codes by", *quality, "L0", "dead", "dense", "on")
    return Table(f"{first.n} samples", header, rows, caption)


def _reconstruction(s: Score) -> tuple[str, ...]:
    return (
        "-" if s.psnr is None else f"{s.psnr:.2f}",
        "-" if s.explained_variance is None else f"{s.explained_variance:.4f}",
        f"{s.objective:.4g}",
        "-" if s.gap_max is None else f"{s.gap_max:.1e}".replace("e-0", "e-"),  # so that the table has 80 columns
    )
