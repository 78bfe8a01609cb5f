"""Measures of a model: on the validation split during training, and on a whole split afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
import torch
from msgspec import Meta

from sparsecode.choices import NoiseUnit
from sparsecode.data import Splits
from sparsecode.data.splits import Split
from sparsecode.evaluate.base import WHOLE, Measure, MeasureSettings, OtherResult, Result
from sparsecode.evaluate.measures import DURING_TRAINING, STANDARD, AnyMeasure, result_kinds
from sparsecode.evaluate.reconstruction.calibration import Calibration
from sparsecode.evaluate.reconstruction.host_measure import LossRecovered
from sparsecode.evaluate.reconstruction.score import HIGHER_IS_BETTER, Score, validated
from sparsecode.models.base import AbstractSparseModel
from sparsecode.specs import NonNegative, Positive, Spec, converted

__all__ = [
    "Evaluate",
    "Evaluation",
    "Measured",
    "evaluate_model",
    "higher_is_better",
    "records_of",
    "selectable",
    "validation",
]

R = TypeVar("R", bound=Result)

SCORES = "scores"  # the measure by which coders are known: its numbers go by the coder's name alone
TRIED = 8  # samples behind the names of validation values
COUNTED = 2000  # samples behind all other measures during training
WARNED = 2000  # samples behind a model's warnings
DEAD = 0.05  # a larger share of dead codes is worth a warning
DOMINANT = 0.2  # a larger share of the variance in large features is worth a warning


class Evaluate(Spec, tag="evaluate"):
    """Settings of the evaluation of a run: measures, noise levels and the activity threshold."""

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
    measures: Annotated[
        tuple[AnyMeasure, ...], Meta(description="measures computed after training, where they apply to the model")
    ] = STANDARD
    validation: Annotated[
        tuple[AnyMeasure, ...], Meta(description="measures computed at every validation, where they apply to the model")
    ] = DURING_TRAINING

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("measures", "validation"):
            names = [measure.name for measure in getattr(self, field)]
            if SCORES not in names or len({*names}) < len(names):
                raise ValueError(
                    f"Evaluate.{field} is {', '.join(names) or 'empty'}; expected scores, by which models are compared, "
                    "and each measure once"
                )

    def settings(self, data_range: float) -> MeasureSettings:
        """The settings passed to every measure, for data of this range."""
        return MeasureSettings(data_range, self.theta, self.sigmas, self.unit, self.noise_weight)


class Measured(Spec):
    """Results by measure and, of each, by coder (or kind of gate; `model` for what is not of one coder)."""

    measures: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, parts in self.measures.items():
            parts.update({part: _record(result, f"measures.{name}.{part}") for part, result in parts.items()})
            kinds = dict.fromkeys(str(result.__struct_config__.tag) for result in parts.values())
            if len(kinds) > 1:
                raise ValueError(
                    f"measures.{name} has results of types {', '.join(kinds)}; expected one type for all coders"
                )

    def of(self, kind: type[R]) -> dict[str, R]:
        """The results of one kind, by coder; none if nothing of it was measured."""
        return records_of(self.measures, kind)

    @property
    def scores(self) -> dict[str, Score]:
        """The scores of every coder."""
        return self.of(Score)


class Evaluation(Measured, tag="evaluation"):
    """Results of a trained model on one split; `calibration` reports the threshold shift of models calibrated after training."""

    split: str
    warnings: tuple[str, ...] = ()
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scores:
            raise ValueError(
                f"Evaluation.measures has {', '.join(self.measures) or 'nothing'}; expected scores of a coder"
            )

    def stored(self) -> Evaluation:
        """As it is written: results of measures that are not this library's as their fields, which every process can read."""
        known = tuple(result_kinds().values())
        plain = {
            name: {
                part: r if isinstance(r, (*known, OtherResult)) else OtherResult(_fields(r))
                for part, r in parts.items()
            }
            for name, parts in self.measures.items()
        }
        return msgspec.structs.replace(self, measures=plain)


def _fields(result: Any) -> dict[str, Any]:
    return msgspec.to_builtins({n: getattr(result, n) for n in result.__struct_fields__})


def records_of(measures: Mapping[str, Mapping[str, Any]], kind: type[R]) -> dict[str, R]:
    """The results of one kind in results by measure and coder, by coder."""
    return {part: r for parts in measures.values() for part, r in parts.items() if isinstance(r, kind)}


def _record(raw: Any, name: str) -> Result:
    """A stored result as an instance of its class, or as `OtherResult` if this process does not know its measure."""
    if isinstance(raw, Result):
        return raw
    if not isinstance(raw, dict):
        raise ValueError(f"{name} is {raw!r:.40}; expected a result with its fields")
    tag = raw.get("type")
    if tag == "other_result":
        return OtherResult(raw.get("fields", {}))
    return converted(raw, result_kinds()[tag], "result") if tag in result_kinds() else OtherResult(raw)


def _measured(
    measures: Sequence[Measure],
    model: AbstractSparseModel,
    samples: Callable[[Measure], Split],
    settings: MeasureSettings,
    seed: int,
) -> Iterator[tuple[str, dict[str, Result]]]:
    """Results by measure, of those that apply to the model and give any."""
    for measure in measures:
        if not measure.applies(model):
            continue
        with torch.no_grad():
            result = measure.measure(model, samples(measure), settings, seed)
        if result:
            yield measure.name, dict(result)


def validation(
    model: AbstractSparseModel, valid: Split, data_range: float, settings: Evaluate, measures: Sequence[Measure] = ()
) -> dict[str, float]:
    """The means of the measures that are named for validation: of scores as `coder/quantity`, of others as
    `measure/quantity` or, where there are several results, `measure/part/quantity`.

    Scores are of all samples of the split, all else of its first 2000. `measures` are further ones.
    """
    some = valid.take(slice(COUNTED))
    values: dict[str, float] = {}
    chosen = _measured(
        (*settings.validation, *measures),
        model,
        lambda m: valid if m.name == SCORES else some,
        settings.settings(data_range),
        0,
    )
    for name, parts in chosen:
        for part, result in parts.items():
            prefix = part if name == SCORES else name if part == WHOLE else f"{name}/{part}"
            values |= {f"{prefix}/{quantity}": value for quantity, value in result.means().items()}
    return values


def selectable(
    model: AbstractSparseModel, valid: Split, data_range: float, settings: Evaluate, wanted: str
) -> list[str]:
    """The names of validation values, those of scores first; of other measures only if `wanted` is none of scores, as they are
    computed from a few samples to see which values a measure gives for this model.
    """
    names = [f"{name}/{quantity}" for name in model.coders() for quantity in validated(model)]
    if wanted in (*names, "last"):
        return names
    weights, training = next(model.parameters()), model.training
    some = valid.take(slice(TRIED)).to(weights.device, weights.dtype)
    values = validation(model.eval(), some, data_range, settings)
    model.train(training)
    return list(dict.fromkeys((*names, *values)))


def higher_is_better(name: str) -> bool:
    """Whether larger values of a validation value are better: `psnr`, `accuracy` and others, also of one noise level, site or class."""
    quantity, _, number = name.rpartition("/")[2].rpartition("_")
    numbered = number.replace(".", "", 1).replace("e-", "", 1).isdigit()
    return (quantity if numbered else name).endswith(HIGHER_IS_BETTER)


def evaluate_model(
    model: AbstractSparseModel,
    splits: Splits,
    settings: Evaluate,
    seed: int,
    split: str = "test",
    calibration: Calibration | None = None,
    measures: Sequence[Measure] = (),
) -> Evaluation:
    """The measures in `settings.measures`, and further `measures`, of every coder of a model on one split; `calibration` reports how
    its thresholds were calibrated.
    """
    weights = next(model.parameters())
    samples: Split = getattr(splits, split).to(weights.device, weights.dtype)
    shared = settings.settings(splits.data_range)._replace(train=splits.train, host=splits.host)
    measures = (*settings.measures, *measures)
    if splits.host is not None and not any(isinstance(measure, LossRecovered) for measure in measures):
        measures = (*measures, LossRecovered())
    results = dict(_measured(measures, model, lambda _: samples, shared, seed))
    scores = records_of(results, Score)
    warnings = (
        *(() if calibration is None else calibration.warnings()),
        *model.warnings(samples.x[:WARNED]),
        *_deaths(scores),
        *(_dominated(scores) if scores else ()),
    )
    return Evaluation(results, split, warnings, calibration)


def _deaths(scores: Mapping[str, Score]) -> list[str]:
    return [
        f"{s.dead} of {s.n_code} codes are dead: active on none of {s.n} samples (coder: {name})"
        for name, s in scores.items()
        if s.dead > DEAD * s.n_code
    ]


def _dominated(scores: Mapping[str, Score]) -> list[str]:
    """A warning if a few features of large variance dominate the explained variance."""
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
