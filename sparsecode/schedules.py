"""Schedules of hyperparameters: pure functions of the training step."""

from __future__ import annotations

import math
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    cast,
    get_args,
    runtime_checkable,
)

import msgspec
from msgspec import Meta

from sparsecode.leaves import opened
from sparsecode.specs import NonNegative, Positive, Spec

__all__ = [
    "Clock",
    "Constant",
    "Cosine",
    "Exponential",
    "Linear",
    "Piecewise",
    "Schedule",
    "ScheduleLike",
    "Unit",
    "at",
    "resolve",
]

Unit = Literal["step", "epoch", "fraction"]
T = TypeVar("T")


class Clock(NamedTuple):
    """The length of units in one run: optimiser steps per epoch and in total."""

    steps_per_epoch: int
    total_steps: int

    def steps(self, amount: float, unit: Unit) -> float:
        steps = amount * {"step": 1, "epoch": self.steps_per_epoch, "fraction": self.total_steps}[unit]
        return float(round(steps)) if abs(steps - round(steps)) < 1e-6 else steps  # 0.55 of 100 steps is step 55


@runtime_checkable
class ScheduleLike(Protocol):
    """The protocol of schedules: the value at a step, and the extremes of all values."""

    def __call__(self, step: int) -> float: ...

    def extremes(self) -> tuple[float, ...]: ...


class Constant(Spec, tag="constant"):
    """The same value at every step."""

    value: float

    def __call__(self, step: int) -> float:  # noqa: ARG002 - the step is every schedule's argument
        return self.value

    def extremes(self) -> tuple[float, ...]:
        return (self.value,)


class Linear(Spec, tag="linear"):
    """From `start` in a straight line to `stop`, over `length` units after a wait of `delay` units."""

    start: float
    stop: float
    length: Positive
    delay: NonNegative = 0.0
    unit: Unit = "step"

    def __call__(self, step: int) -> float:
        return self.start + (self.stop - self.start) * _progress(self, step)

    def extremes(self) -> tuple[float, ...]:
        return (self.start, self.stop)


class Cosine(Spec, tag="cosine"):
    """From `start` along half a cosine to `stop`, over `length` units after a wait of `delay` units."""

    start: float
    stop: float
    length: Positive
    delay: NonNegative = 0.0
    unit: Unit = "step"

    def __call__(self, step: int) -> float:
        return self.stop + (self.start - self.stop) * (1 + math.cos(math.pi * _progress(self, step))) / 2

    def extremes(self) -> tuple[float, ...]:
        return (self.start, self.stop)


class Exponential(Spec, tag="exponential"):
    """start * factor^(t / every): smooth, or in steps (t / every rounded down); constant at `stop` once that is reached."""

    start: float
    factor: Positive
    every: Positive
    stairs: bool = False
    unit: Unit = "step"
    stop: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stop is not None and (self.stop - self.start) * self.start * (self.factor - 1) < 0:
            raise ValueError(
                f"Exponential: stop is {self.stop:g}, and {self.start:g} times powers of {self.factor:g} never reaches it"
            )

    def __call__(self, step: int) -> float:
        periods = step / _in_steps(self, self.every)
        value = self.start * self.factor ** (math.floor(periods) if self.stairs else periods)
        if self.stop is None:
            return value
        return max(value, self.stop) if self.stop < self.start else min(value, self.stop)

    def extremes(self) -> tuple[float, ...]:
        """The start alone, without a stop: a factor > 0 keeps its sign."""
        return (self.start,) if self.stop is None else (self.start, self.stop)


class Piecewise(Spec, tag="piecewise"):
    """values[i] from boundaries[i-1] (inclusive) to boundaries[i]: one value more than boundaries."""

    values: tuple[float, ...]
    boundaries: tuple[NonNegative, ...]
    unit: Unit = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.values) != len(self.boundaries) + 1 or list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError(
                f"Piecewise: got {len(self.values)} values and boundaries {self.boundaries}; "
                "expected strictly rising boundaries, one fewer than values"
            )

    def __call__(self, step: int) -> float:
        return self.values[sum(step >= _in_steps(self, b) for b in self.boundaries)]

    def extremes(self) -> tuple[float, ...]:
        return self.values


Known = Constant | Linear | Cosine | Exponential | Piecewise
if TYPE_CHECKING:
    Schedule = Known | ScheduleLike
else:
    Schedule = opened(Known, ScheduleLike)


def _in_steps(schedule: Linear | Cosine | Exponential | Piecewise, amount: float) -> float:
    if schedule.unit != "step":
        raise ValueError(f"{type(schedule).__name__} counts in {schedule.unit}s: resolve it with a Clock before use")
    return amount


def _progress(schedule: Linear | Cosine, step: int) -> float:
    return min(max(step - _in_steps(schedule, schedule.delay), 0) / schedule.length, 1.0)


def at(value: float | Schedule, step: int) -> float:
    """The value of a number or schedule at `step` (0 is the first optimiser step)."""
    return value if isinstance(value, int | float) else value(step)


# Which fields of a spec with a `unit` are times, so that `resolve` can convert them.
_TIMES = ("length", "delay", "every", "boundaries", "arrival")


def resolve(spec: T, clock: Clock) -> T:
    """A copy in which every schedule, and whatever else has times and their `unit`, however deep, counts in optimiser steps."""
    if isinstance(spec, dict):
        return cast(T, {key: resolve(item, clock) for key, item in cast(dict[str, Any], spec).items()})
    if isinstance(spec, tuple):
        return cast(T, tuple(resolve(item, clock) for item in cast(tuple[Any, ...], spec)))
    if not isinstance(spec, Spec):
        return spec
    fields: dict[str, Any] = {name: resolve(getattr(spec, name), clock) for name in spec.__struct_fields__}
    unit: Unit | None = fields.get("unit")
    if unit is not None and unit in get_args(Unit):
        for name in set(fields) & set(_TIMES):
            given = fields[name]
            fields[name] = (
                tuple(clock.steps(b, unit) for b in given) if isinstance(given, tuple) else clock.steps(given, unit)
            )
        fields["unit"] = "step"
    return msgspec.structs.replace(spec, **fields)


# Field types for configs: a number in range, or a schedule.
PositiveSchedule = Annotated[float, Meta(gt=0)] | Schedule
