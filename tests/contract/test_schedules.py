"""What every schedule promises: a pure function of the step, in whatever unit it was written."""

import math
from typing import Any

import msgspec
import pytest

from sparsecode.models import Iterative
from sparsecode.recipes import RECIPES
from sparsecode.schedules import Clock, Constant, Cosine, Exponential, Linear, Piecewise, Schedule, at, resolve

SCHEDULES: list[Schedule] = [
    Constant(value=0.3),
    Linear(start=0.0, stop=1.0, length=2.0, delay=1.0),
    Cosine(start=1.0, stop=0.0, length=2.0, delay=0.5),
    Exponential(start=1.0, factor=0.5, every=2.0),
    Exponential(start=1.0, factor=0.5, every=2.0, stairs=True),
    Piecewise(values=(1.0, 2.0, 3.0), boundaries=(1.0, 2.5)),
]
MOVING: list[Any] = [schedule for schedule in SCHEDULES if not isinstance(schedule, Constant)]

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
every_moving = pytest.mark.parametrize("schedule", MOVING, ids=lambda s: type(s).__name__)

CLOCK = Clock(steps_per_epoch=10, total_steps=40)


@every_schedule
def test_value_depends_on_the_step_alone(schedule: Schedule) -> None:
    forward = [schedule(step) for step in range(8)]
    assert [schedule(step) for step in reversed(range(8))] == forward[::-1]
    assert all(math.isfinite(value) for value in forward)


@every_moving
@pytest.mark.parametrize(("unit", "steps"), [("epoch", 10), ("fraction", 40)])
def test_units_stretch_time(schedule: Any, unit: str, steps: int) -> None:
    resolved = resolve(msgspec.structs.replace(schedule, unit=unit), CLOCK)
    assert resolved.unit == "step"
    assert [resolved(steps * i) for i in range(6)] == [schedule(i) for i in range(6)]
    assert resolved(steps + steps // 2) != resolved(4 * steps)


@every_schedule
def test_values_stay_within_the_extremes(schedule: Schedule) -> None:
    """Or, where there is no end, keep the sign of the start."""
    low, high = min(schedule.extremes()), max(schedule.extremes())
    values = [schedule(step) for step in range(12)]
    if isinstance(schedule, Exponential):
        assert all(value * schedule.start > 0 for value in values)
    else:
        assert (min(values), max(values)) == (low, high)


@every_schedule
def test_resolving_twice_changes_nothing_more(schedule: Schedule) -> None:
    assert resolve(schedule, CLOCK) == schedule


@every_moving
def test_unresolved_units_are_refused(schedule: Any) -> None:
    with pytest.raises(ValueError, match=rf"{type(schedule).__name__} counts in epochs: resolve it with a Clock"):
        msgspec.structs.replace(schedule, unit="epoch")(0)


def test_schedules_are_resolved_wherever_they_stand() -> None:
    run = RECIPES["photos-sdl"]()
    weight = Linear(start=0.1, stop=1.0, length=2.0, unit="epoch")
    train = msgspec.structs.replace(run.train, select="last")
    run = msgspec.structs.replace(run, model=msgspec.structs.replace(run.model, weight=weight), train=train)
    resolved = resolve(run, CLOCK)
    rate = resolved.optim.groups["decoder"].lr
    assert isinstance(rate, Cosine)
    assert (rate.length, rate.unit) == (40.0, "step")
    assert isinstance(resolved.model, Iterative)
    assert resolved.model.weight == Linear(start=0.1, stop=1.0, length=20.0)
    assert (resolved.data, resolved.train) == (run.data, run.train)


@pytest.mark.parametrize(("share", "step"), [(0.55, 55), (0.07, 7), (0.551, 55.1), (1 / 3, 100 / 3)])
def test_shares_of_a_run_fall_on_whole_steps_where_they_mean_to(share: float, step: float) -> None:
    resolved = resolve(Piecewise(values=(1.0, 2.0), boundaries=(share,), unit="fraction"), Clock(10, 100))
    assert resolved.boundaries == pytest.approx((step,), rel=1e-12)
    assert resolved(55) == (1.0 if step > 55 else 2.0)


def test_linear_by_hand() -> None:
    schedule = Linear(start=1.0, stop=3.0, length=4.0, delay=2.0)
    assert [schedule(step) for step in range(9)] == [1, 1, 1, 1.5, 2, 2.5, 3, 3, 3]


def test_cosine_by_hand() -> None:
    schedule = Cosine(start=2.0, stop=0.0, length=6.0, delay=1.0)
    assert [schedule(step) for step in (0, 1, 3, 4, 5, 7, 100)] == pytest.approx([2, 2, 1.5, 1, 0.5, 0, 0])


def test_exponential_by_hand() -> None:
    smooth = Exponential(start=8.0, factor=0.25, every=2.0)
    stairs = Exponential(start=8.0, factor=0.25, every=2.0, stairs=True)
    assert [smooth(step) for step in range(5)] == pytest.approx([8, 4, 2, 1, 0.5])
    assert [stairs(step) for step in range(5)] == [8, 8, 2, 2, 0.5]


def test_piecewise_includes_its_left_boundary() -> None:
    schedule = Piecewise(values=(1.0, 2.0, 3.0), boundaries=(2.0, 4.0))
    assert [schedule(step) for step in range(6)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("boundaries", [(), (1.0, 2.0), (2.0, 1.0, 3.0), (1.0, 1.0, 2.0)])
def test_piecewise_refuses_boundaries_that_do_not_rise(boundaries: tuple[float, ...]) -> None:
    values = (1.0, 2.0, 3.0, 4.0) if len(boundaries) == 3 else (1.0, 2.0)
    with pytest.raises(ValueError, match="expected strictly rising boundaries, one fewer than values"):
        Piecewise(values=values, boundaries=boundaries)


@pytest.mark.parametrize(("value", "expected"), [(0.5, 0.5), (Linear(start=0.0, stop=1.0, length=4.0), 0.75)])
def test_at_reads_numbers_and_schedules(value: float | Schedule, expected: float) -> None:
    assert at(value, 3) == expected
