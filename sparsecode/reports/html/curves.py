"""Training curves of one or several runs: which series share a chart, with which colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsecode.reports.document import Document, Phase, RunReport, Series
from sparsecode.reports.html.charts import STYLES, Line, LineChart, Mark, line_chart
from sparsecode.reports.html.geometry import number

__all__ = ["Curve", "Key", "constants", "curves", "durations", "keys", "phase_text", "repeated"]


class Key(NamedTuple):
    """A line of the legend, which serves all charts."""

    label: str
    style: int
    train: bool


class Curve(NamedTuple):
    """One chart of the training section, and the series behind its lines, in the same order."""

    title: str
    unit: str
    definition: str
    chart: LineChart
    series: list[Series]

    def arrays(self) -> dict[str, Any]:
        """What the page's script needs to say values under the pointer, at every logged point."""
        return {
            "lines": [
                {"label": line.label, "steps": series.steps, "values": series.values}
                for line, series in zip(self.chart.lines, self.series, strict=True)
            ],
            "axis": self.chart.x,
        }


def curves(document: Document) -> list[Curve]:
    """The charts, in the order of the series of the first run that has them; what is constant, or logged once, has none.

    With one run, each `line` has a colour; with several, each run has one, and series of different keys are in
    different charts. Training is dashed.
    """
    runs = [run for run in document.runs if run.training is not None]
    several = len(runs) > 1
    groups = [members for members in _groups(runs).values() if any(_known(s).size > 1 for _, s in members)]
    result: list[Curve] = []
    styles = _styles(runs, several)
    for members in groups:
        drawn = [run for run in runs if any(member is run for member, _ in members)]
        marks = [mark for run in drawn for mark in _marks(run, several)]
        lines = [
            Line(
                _label(run, series, several),
                series.steps.values().astype(np.float64),
                series.values.values().astype(np.float64),
                styles[_style_key(run, series, several)],
                series.kind == "train",
            )
            for run, series in members
        ]
        shown = next((s for _, s in members if s.kind == "validation"), members[0][1])
        definition = next((s.definition for _, s in members if s.definition), "")
        result.append(
            Curve(
                _title(runs, shown, several), shown.unit, definition, line_chart(lines, marks), [s for _, s in members]
            )
        )
    return result


def keys(charts: Sequence[Curve]) -> list[Key]:
    """The legend: each kind of line that occurs, once."""
    lines = (line for curve in charts for line in curve.chart.lines)
    return list(dict.fromkeys(Key(line.label, line.style, line.train) for line in lines))


def constants(document: Document) -> list[tuple[str, str, float | None]]:
    """Run, label and value of each series that has one value alone and no chart."""
    runs = [run for run in document.runs if run.training is not None]
    once = [m for members in _groups(runs).values() if all(_known(s).size <= 1 for _, s in members) for m in members]
    same = [(run, s) for run in runs if run.training is not None for s in run.training.series if _constant(s)]
    return [(run.name, f"{series.label} ({series.line})", _last(series)) for run, series in (*same, *once)]


def repeated(document: Document) -> list[tuple[str, str, str]]:
    """Run, label of each series that is drawn by another one because all its values are the same, and label of that one."""
    return [
        (run.name, series.label, other.label)
        for run in document.runs
        if run.training is not None
        for series in run.training.series
        if (other := _repeated(series, run)) is not None
    ]


def durations(document: Document) -> list[tuple[str, str]]:
    """Run, and how long it was trained, in words."""
    result: list[tuple[str, str]] = []
    for run in document.runs:
        if (training := run.training) is None:
            continue
        passes = number(training.step / training.steps_per_epoch) if training.steps_per_epoch else ""
        epochs = passes and f" ({passes} {'epoch' if passes == '1' else 'epochs'})"
        seconds = next((_known(series) for series in training.series if series.group == "seconds"), np.empty(0))
        time = f", {number(_all_sessions(seconds))} s to the last logged step" if seconds.size else ""
        result.append((run.name, f"{training.step:,} of {training.total:,} steps{epochs}{time}"))
    return result


def _all_sessions(seconds: NDArray[Any]) -> float:
    """The sum over the sessions of a training that was resumed or extended: in each, the clock starts at 0."""
    ends = np.append(seconds[1:] < seconds[:-1], True)
    return float(seconds[ends].sum())


def _groups(runs: Sequence[RunReport]) -> dict[str, list[tuple[RunReport, Series]]]:
    """Series that share a chart; what says nothing is in none."""
    groups: dict[str, list[tuple[RunReport, Series]]] = {}
    for run in runs:
        for series in run.training.series if run.training is not None else ():
            if series.group != "seconds" and not _constant(series) and not _repeated(series, run):
                groups.setdefault(_group(series, run, len(runs) > 1), []).append((run, series))
    return groups


def _repeated(series: Series, run: RunReport) -> Series | None:
    """The loss, if this series is the error in training and equals it everywhere: there is no other term."""
    if series.kind != "train" or series.group != "fidelity" or run.training is None:
        return None
    loss = next((other for other in run.training.series if other.kind == "train" and other.group == "loss"), None)
    if loss is None or _constant(series):
        return None
    pairs = ((series.steps, loss.steps), (series.values, loss.values))
    return loss if all(np.array_equal(a.values(), b.values(), equal_nan=True) for a, b in pairs) else None


def _constant(series: Series) -> bool:
    known = _known(series)
    return not known.size or (known.size > 1 and bool((known == known[0]).all()))


def _known(series: Series) -> NDArray[Any]:
    values = series.values.values()
    return values[np.isfinite(values)]


def _last(series: Series) -> float | None:
    known = _known(series)
    return float(known[-1]) if known.size else None


def _group(series: Series, run: RunReport, several: bool) -> str:
    if not several or series.kind == "validation":
        return series.key if several else series.group
    assert run.training is not None  # a training series joins the first validation series of its group
    beside = (s.key for s in run.training.series if s.kind == "validation" and s.group == series.group)
    return next(beside, f"train: {series.key}")


def _style_key(run: RunReport, series: Series, several: bool) -> str:
    return run.name if several else series.line


def _styles(runs: Sequence[RunReport], several: bool) -> dict[str, int]:
    names = dict.fromkeys(
        _style_key(run, series, several) for run in runs if run.training is not None for series in run.training.series
    )
    return {name: i % STYLES for i, name in enumerate(names)}


def _label(run: RunReport, series: Series, several: bool) -> str:
    """The line; of several runs, the coder is in the title of the chart."""
    return f"{run.name}, {'training' if series.kind == 'train' else 'validation'}" if several else series.line


def _title(runs: Sequence[RunReport], shown: Series, several: bool) -> str:
    """The quantity; with several runs also the line, if there is a chart for each of several."""
    beside = {
        series.line
        for run in runs
        if run.training is not None
        for series in run.training.series
        if series.group == shown.group and series.kind == shown.kind
    }
    return f"{shown.label}, {shown.line}" if several and len(beside) > 1 else shown.label


def _marks(run: RunReport, several: bool) -> list[Mark]:
    assert run.training is not None
    name = f"{run.name}: " if several else ""
    marks = [Mark(phase.first, name + phase_text(phase), phase.last) for phase in run.training.phases]
    if run.training.selected_step is not None and run.training.selected_by != "last":
        marks.append(
            Mark(run.training.selected_step, f"{name}model chosen here, by {run.training.selected_by}"),
        )
    return marks


def phase_text(phase: Phase) -> str:
    """A phase in words, with its steps."""
    return f"{phase.text} (steps {number(phase.first)} to {number(phase.last)})"
