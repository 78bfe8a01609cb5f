"""Geometry of charts: positions of values along axes, ticks, and paths of few points that look like those of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MINUS", "TIMES", "UNDEFINED", "ChartAxis", "Numbers", "Tick", "axis_over", "number", "path_of"]

Array = NDArray[np.float64]
Numbers = NDArray[Any] | Sequence[float | int]
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
HUGE = 1e250  # values beyond it, or closer to 0 than its inverse, have no place
FLAT = 1e-12  # relative range below which values are one value
MINUS, TIMES, UNDEFINED = "\u2212", "\u00d7", "\u2013"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Tick(NamedTuple):
    """A mark of an axis: its place in pixels and its label."""

    at: float
    label: str


class ChartAxis(NamedTuple):
    """Places of the values from `low` to `high` on a line from `start` to `end` in pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, values: Numbers) -> Array:
        """Places in pixels of values [n]; NaN for those without a place: not finite, or not positive on a logarithmic axis."""
        v, low, high = np.asarray(values, np.float64), self.low, self.high
        if self.log:
            v = np.where(v > 0, v, np.nan)
            v, low, high = np.log10(v), math.log10(low), math.log10(high)
        share = (v - low) / (high - low)
        return np.where(np.isfinite(share), self.start + share * (self.end - self.start), np.nan)

    def place(self, value: float) -> float:
        """The place in pixels of one value, rounded."""
        return round(float(self.at([value])[0]), 2)

    def ticks(self, most: int = 5, whole: bool = False) -> list[Tick]:
        """At most about `most` ticks at round values within the axis, of whole numbers alone if `whole`."""
        values = _decades(self.low, self.high, most) if self.log else []
        if len(values) < 2:
            values = _rounded(self.low, self.high, most)
        values = [value for value in values if value.is_integer()] if whole else values
        places = self.at(values)
        return [Tick(round(float(at), 1), number(value, 3)) for at, value in zip(places, values, strict=True)]


def axis_over(values: Numbers, start: float, end: float, log: bool = False, zero: bool = False) -> ChartAxis:
    """The axis that holds all finite values, those that are positive if it is logarithmic, with a margin; from 0 with `zero`.

    A logarithmic axis without a positive value spans 0.1 to 1.
    """
    v = np.asarray(values, np.float64).ravel()
    v = np.clip(v[np.isfinite(v)], -HUGE, HUGE)
    if log:
        v = v[v > 1 / HUGE]
        low, high = (float(v.min()), float(v.max())) if v.size else (0.1, 1.0)
        ratio = max(math.exp(0.04 * (math.log(high) - math.log(low))), 1.02)
        return ChartAxis(low / ratio, high * ratio, start, end, log)
    low, high = (float(v.min()), float(v.max())) if v.size else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= FLAT * max(abs(low), abs(high)):
        room = 0.5 * abs(high) or 0.5
        low, high = low - room, high + room
    margin = 0.04 * (high - low)
    return ChartAxis(
        low if zero and low == 0 else low - margin, high if zero and high == 0 else high + margin, start, end
    )


def path_of(x: Numbers, y: Numbers) -> str:
    """The `d` of an SVG path through the points [n]; a NaN interrupts it.

    Of more than four points within one pixel in x, the first, lowest, highest and last stand for all: the line looks the same.
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    words: list[str] = []
    drawn = False
    for i in _telling(xs, ys):
        if math.isnan(xs[i]) or math.isnan(ys[i]):
            drawn = False
            continue
        words.append(f"{'L' if drawn else 'M'}{xs[i]:.1f} {ys[i]:.1f}")
        drawn = True
    return "".join(words)


def number(value: float | None, digits: int = 4) -> str:
    """A number with `digits` significant digits, powers of ten as in 3.2 x 10^-5, and a dash where it is undefined."""
    if value is None or math.isnan(value):
        return UNDEFINED
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    text = f"{value:.{digits}g}"
    if abs(value) < 1e7 and float(value).is_integer():
        text = f"{value:.0f}"
    mantissa, _, power = text.partition("e")
    if power:
        factor = "" if float(mantissa) == 1 else f"{mantissa} {TIMES} "
        text = f"{factor}10{str(int(power)).translate(SUPERSCRIPTS)}"
    return text.replace("-", MINUS)


def _telling(x: Array, y: Array) -> Sequence[int]:
    if len(x) <= 400:
        return range(len(x))
    columns = np.where(np.isnan(x), -1, np.nan_to_num(x)).astype(np.int64)
    cuts = np.flatnonzero(np.diff(columns)) + 1
    result: list[int] = []
    for first, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(x)], strict=True):
        here = y[first:end]
        kept = {first, end - 1}
        kept.update((first + np.flatnonzero(np.isnan(here))[:1]).tolist())
        if np.isfinite(here).any():
            kept.update((first + int(np.nanargmin(here)), first + int(np.nanargmax(here))))
        result += sorted(kept)
    return result


def _rounded(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in STEPS if s * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 2 else (1,)
    apart = max(1, -(-(last - first + 1) // most))
    values = [s * 10.0**p for p in range(first, last + 1, apart) for s in steps]
    return [v for v in values if low <= v <= high]
