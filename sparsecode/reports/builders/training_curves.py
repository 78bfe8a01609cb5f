"""The training of a run as series and phases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from sparsecode.coders import in_words
from sparsecode.evaluate.evaluation import higher_is_better
from sparsecode.reports.builders.quantities import QUANTITIES, Quantity, key_of, quantity_of
from sparsecode.reports.builders.source import ReportSource
from sparsecode.reports.document import Phase, Series, Training, packed
from sparsecode.reports.run_figures import counts_apart
from sparsecode.runs import Run
from sparsecode.schedules import Clock, Cosine, Exponential, Linear, Piecewise, resolve
from sparsecode.specs import Spec, name_of
from sparsecode.train.plan import clock

__all__ = ["phases_of", "training_of"]

FIRST = (
    "loss",
    "objective",
    "explained_variance",
    "psnr",
    "accuracy",
    "elbo",
    "l0",
    "dead",
)  # shown first, in this order
SECONDS = Quantity("seconds since the start", "s")
ON, OFF = "_noisy", "_clean"


def training_of(source: ReportSource) -> Training | None:
    """The training of a run; None if nothing was logged."""
    config, state = source.config, source.state
    if config is None or not source.records:
        return None
    time = _clock(source, config)
    records = counts_apart(list(source.records), source.model, config.evaluate.theta)
    step = state.step if state is not None else int(source.records[-1]["step"])
    total = state.total_steps if state is not None else time.total_steps
    return Training(
        step=step,
        total=total,
        steps_per_epoch=float(time.steps_per_epoch),
        selected_by=config.train.select,
        selected_step=None if state is None or state.best is None else state.best.step,
        series=tuple(sorted(_series(records), key=_rank)),
        phases=(*phases_of(config, Clock(time.steps_per_epoch, total)), *_ends(source, time.steps_per_epoch)),
    )


def _clock(source: ReportSource, config: Run) -> Clock:
    """Steps per epoch and in all; without samples from where the training stands."""
    if not source.absent:
        return clock(config.train, source.splits.training.n)
    total = source.records[-1]["step"] if source.state is None else source.state.total_steps
    return Clock(max(1, round(total / config.train.epochs)), total)


def _series(records: list[dict[str, Any]]) -> Iterator[Series]:
    points: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
    for record in records:
        for name, value in record.items():
            if name in ("kind", "step"):
                continue
            steps, values = points.setdefault((record["kind"], name), ([], []))
            steps.append(record["step"])
            values.append(math.nan if value is None else float(value))
    words = in_words({name.rpartition("/")[0] for kind, name in points if kind == "evaluate"})
    names = {name for kind, name in points if kind == "evaluate"}
    for (kind, name), (steps, values) in points.items():
        place, _, last = name.rpartition("/")
        known = _quantity(last, place.partition("/")[0])
        line = "training" if kind == "train" else f"validation, {words.get(place, place)}" if place else "validation"
        stem = last.removesuffix(ON).removesuffix(OFF)
        group = stem if {name.replace(last, stem + ON), name.replace(last, stem + OFF)} <= names else last
        if group != last:
            line = f"{line}, noise {'on' if last.endswith(ON) else 'off'}"
        finite = [v for v in values if math.isfinite(v)]
        better = known.better or ("higher" if higher_is_better(name) else "")
        yield Series(
            key=name,
            kind="train" if kind == "train" else "validation",
            label=known.label.rpartition(", noise ")[0] if group != last else known.label,
            group="l0" if last.startswith("L0 in ") else group,
            line=line.replace("_", " "),
            unit=known.unit,
            definition=key_of(known),
            positive=bool(finite) and min(finite) > 0,
            better=better,
            steps=packed(steps, "i4"),
            values=packed(values),
        )


def _quantity(last: str, measure: str) -> Quantity:
    if last == "seconds":
        return SECONDS
    return QUANTITIES["l0"]._replace(label=last) if last.startswith("L0 in ") else quantity_of(last, measure)


def _rank(series: Series) -> tuple[int, str]:
    first = FIRST.index(series.group) if series.group in FIRST else len(FIRST) + (series.group == "seconds")
    return first, "" if first < len(FIRST) else series.group


def phases_of(config: Run, time: Clock) -> list[Phase]:
    """The schedules of a config as stretches of steps."""
    phases: list[Phase] = []
    for path, schedule in _schedules(resolve(config, time), ""):
        phases += _stretches(path, schedule, time.total_steps)
    return phases


def _schedules(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Linear | Cosine | Exponential | Piecewise):
        yield path, value
    elif isinstance(value, Spec):
        for name in value.__struct_fields__:
            yield from _schedules(getattr(value, name), f"{path}.{name}".lstrip("."))
    elif isinstance(value, tuple):
        for item in value:
            if isinstance(item, Spec):
                yield from _schedules(item, f"{path}.{name_of(item)}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _schedules(item, f"{path}.{key}")


def _stretches(path: str, schedule: Linear | Cosine | Exponential | Piecewise, total: int) -> Iterator[Phase]:
    if isinstance(schedule, Piecewise):
        edges = (0.0, *schedule.boundaries, float(total))
        for value, first, last in zip(schedule.values, edges[:-1], edges[1:], strict=True):
            if first < total:
                yield Phase("schedule", path, f"{path} is {value:g}", first, min(last, float(total)), value, value)
        return
    if isinstance(schedule, Exponential):
        first, last = 0.0, float(total)
        if schedule.stop is not None and schedule.start and schedule.factor != 1:
            last = schedule.every * math.log(schedule.stop / schedule.start) / math.log(schedule.factor)
        words = f"{path} falls" if schedule.factor < 1 else f"{path} rises"
    else:
        first, last = schedule.delay, schedule.delay + schedule.length
        words = f"{path} moves along {'a line' if isinstance(schedule, Linear) else 'half a cosine'}"
    last = min(last, float(total))
    start, stop = schedule(math.ceil(first)), schedule(math.floor(last))
    if first < total:
        yield Phase("schedule", path, f"{words} from {start:.4g} to {stop:.4g}", first, last, start, stop)


def _ends(source: ReportSource, per_epoch: float) -> Iterator[Phase]:
    config, state = source.config, source.state
    for extension in () if config is None else config.extensions:
        first = extension.reached * per_epoch
        text = f"extended after {extension.reached:g} epochs ({extension.planned:g} were planned)"
        yield Phase(
            "extension", "train.epochs", text, first, max(first, config.train.epochs * per_epoch if config else first)
        )
    if state is not None and state.ended:
        yield Phase("stop", "train.patience", state.ended, float(state.step), float(state.step))
