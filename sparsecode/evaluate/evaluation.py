"""All that is measured of a model: on the validation split during training, and on a whole split afterwards."""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta

from sparsecode.choices import NoiseUnit
from sparsecode.data import Splits
from sparsecode.data.splits import Split
from sparsecode.evaluate.activity import Activity, activity
from sparsecode.evaluate.bounds import Bound, bounds
from sparsecode.evaluate.calibration import Calibration
from sparsecode.evaluate.denoise import Denoised, denoise
from sparsecode.evaluate.gates import gate_use
from sparsecode.evaluate.restore import Restored, restore
from sparsecode.evaluate.score import Score, score, validated
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.variational import VariationalModel
from sparsecode.specs import NonNegative, Positive, Spec

__all__ = ["Evaluate", "Evaluation", "evaluate_model", "validation"]

COUNTED = 2000  # samples behind the activity of the codes, and how gates are used during training
WARNED = 2000  # samples behind a model's warnings
DEAD = 0.05  # a larger share of dead codes is worth a warning
DOMINANT = 0.2  # a larger share of the variance in large features is worth a warning


class Evaluate(Spec, tag="evaluate"):
    """How a run is scored."""

    sigmas: Annotated[tuple[Positive, ...], Meta(description="noise levels for denoising")] = (0.5, 1.0)
    unit: Annotated[
        NoiseUnit, Meta(description="sigma in the model's normalised input space, or in fractions of the data range")
    ] = "input"
    theta: Annotated[NonNegative, Meta(description="a code is active above this magnitude")] = 0.0
    noise_weight: Annotated[
        NonNegative,
        Meta(
            description="penalty weight for solved codes of noisy samples, in standard deviations of the noise in the model's "
            "normalised space; 0: the weight of the training at every noise level"
        ),
    ] = 0.0


class Evaluation(Spec, tag="evaluation"):
    """Scores of a trained model on one split: per coder, per coder and noise level, and at what it was trained to restore.

    Variational models have their `bounds`, too, by kind of gate; models trained with noise the `activity` of their units;
    models whose thresholds were moved after training the `calibration`.
    """

    split: str
    scores: Annotated[dict[str, Score], Meta(min_length=1)]
    denoising: dict[str, tuple[Denoised, ...]]
    restored: Restored | None = None
    warnings: tuple[str, ...] = ()
    bounds: dict[str, Bound] | None = None
    activity: Activity | None = None
    calibration: Calibration | None = None


def validation(model: AbstractSparseModel, valid: Split, data_range: float, how: Evaluate) -> dict[str, float]:
    """What validation during training reports of every coder, as `coder/quantity`; of gates, as `gates/quantity`."""
    values: dict[str, float] = {}
    for name, coder in model.coders().items():
        scores = score(model, coder, valid, data_range, how.theta)
        for quantity in validated(model):
            value = getattr(scores, quantity)
            values[f"{name}/{quantity}"] = math.nan if value is None else float(value)
        for number, share in enumerate(scores.class_accuracy or ()):
            values[f"{name}/class_{number}"] = share
    if isinstance(model, VariationalModel):
        use = gate_use(model, valid.take(slice(COUNTED)), data_range)
        told = {
            "always_on": use.always_on,
            "active_units": use.active_units,
            "selection": sum(use.selection) / use.n_code,
            "hoyer": use.hoyer,
            "hard_gap": use.hard_gap,
        }
        values |= {f"gates/{quantity}": float(value) for quantity, value in told.items() if value is not None}
    return values


def evaluate_model(
    model: AbstractSparseModel,
    splits: Splits,
    how: Evaluate,
    seed: int,
    split: str = "test",
    calibration: Calibration | None = None,
) -> Evaluation:
    """Scores and denoising of every coder of a model on one split; `calibration` is how its thresholds were set."""
    weights = next(model.parameters())
    samples: Split = getattr(splits, split).to(weights.device, weights.dtype)
    coders = model.coders()
    scores = {name: score(model, coder, samples, splits.data_range, how.theta) for name, coder in coders.items()}
    return Evaluation(
        split=split,
        scores=scores,
        denoising={
            name: tuple(
                denoise(
                    model, name, samples, how.sigmas, how.unit, splits.data_range, how.theta, seed, how.noise_weight
                )
            )
            for name in coders
            if model.reconstructs
        },
        restored=restore(model, samples, splits.data_range, seed) if model.reconstructs else None,
        warnings=(
            *(() if calibration is None else calibration.warnings()),
            *model.warnings(samples.x[:WARNED]),
            *_deaths(scores),
            *_dominated(scores),
        ),
        calibration=calibration,
        bounds=bounds(model, samples, seed) if isinstance(model, VariationalModel) else None,
        activity=activity(model, samples.take(slice(COUNTED)), seed=seed, theta=how.theta),
    )


def _deaths(scores: dict[str, Score]) -> list[str]:
    return [
        f"{s.dead} of {s.n_code} codes by {name} are dead: active on none of {s.n} samples"
        for name, s in scores.items()
        if s.dead > DEAD * s.n_code
    ]


def _dominated(scores: dict[str, Score]) -> list[str]:
    """Whether explained variance is that of a few features, whoever made the codes."""
    first = next(iter(scores.values()))
    if first.large_share is None or first.large_share <= DOMINANT or not first.large_features:
        return []
    n, most = len(first.large_features), 5
    named = ", ".join(map(str, first.large_features[:most])) + (", ..." if n > most else "")
    without = ", ".join(
        f"{s.explained_variance:.3f} by {name} is {s.explained_variance_rest:.3f} without"
        for name, s in scores.items()
        if s.explained_variance is not None and s.explained_variance_rest is not None
    )
    return [
        f"{n} {'feature holds' if n == 1 else 'features hold'} {first.large_share:.0%} of the variance (number {named}): an "
        f"explained variance of {without or 'all others is undefined'}; normaliser 'standardise_features' makes features count alike"
    ]
