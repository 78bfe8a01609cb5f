"""A quantity along an axis of a sweep."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Any

import msgspec

from sparsecode.evaluate.base import WHOLE
from sparsecode.sweeps.results import SweepResult

__all__ = ["SEED", "curves_of", "named", "resolved"]

SEED = "seed"


def curves_of(results: Sequence[SweepResult], x: str, y: str) -> dict[str, dict[Any, list[float]]]:
    """The values of `y`, a dotted place in a result (`measure.coder.quantity`), over seeds, by value of the axis `x`; a line per recipe and further override.

    A step of `y` may name alternatives, of which the first that a result has counts: `elbo.hard|exact.elbo`.

    Raises ValueError naming the run without such an axis, or such a number.
    """
    lines: dict[str, dict[Any, list[float]]] = {}
    for result in results:
        if x not in result.overrides:
            raise ValueError(f"{result.run}: {x} did not vary; it did: {', '.join(result.overrides) or 'nothing'}")
        further = [named(path, v, result.overrides) for path, v in result.overrides.items() if path not in (x, SEED)]
        at = result.overrides[x]
        at = at if isinstance(at, int | float | str) else msgspec.json.encode(at).decode()
        line = lines.setdefault(", ".join([result.recipe, *further]), {})
        line.setdefault(at, []).append(_number(result, y))
    return {
        name: dict(sorted(line.items(), key=lambda item: item[0] if isinstance(item[0], int | float) else math.inf))
        for name, line in lines.items()
    }


def named(path: str, value: Any, overrides: Container[str]) -> str:
    """A short label of an override: the type of a variant, and its fields that no other override sets."""
    if not isinstance(value, dict):
        return f"{path.rpartition('.')[2]}={value}"
    chosen = [f"{name}={v}" for name, v in value.items() if name != "type" and f"{path}.{name}" not in overrides]
    return " ".join([str(value.get("type", path.rpartition(".")[2])), *chosen])


def resolved(result: SweepResult, place: str) -> list[str]:
    """The steps of a dotted place, of alternatives the first that the result has. Raises ValueError for a step that is not there."""
    return _followed(result, place)[0]


def _followed(result: SweepResult, place: str) -> tuple[list[str], Any]:
    """The steps of the resolved path, and the value there."""
    values: Any = msgspec.to_builtins(result.measures)
    steps: list[str] = []
    for given in place.split("."):
        if isinstance(values, dict) and given not in values and [*values] == [WHOLE]:
            values = values[WHOLE]
        step = next((name for name in given.split("|") if isinstance(values, dict) and name in values), given)
        if not isinstance(values, dict) or step not in values:
            known = f"; choose from {', '.join(values)}" if isinstance(values, dict) else ""
            raise ValueError(f"{result.run}: no {step!r} of {place!r} in its results{known}")
        steps.append(step)
        values = values[step]
    return steps, values


def _number(result: SweepResult, place: str) -> float:
    values = _followed(result, place)[1]
    if isinstance(values, bool) or not isinstance(values, int | float):
        raise ValueError(f"{result.run}: {place} is {values!r}; expected a number")
    return float(values)
