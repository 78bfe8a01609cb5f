"""Observers of a training: progress on the terminal, `metrics.jsonl`; what trackers are given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sparsecode.coders import coders_today
from sparsecode.files import write_atomic
from sparsecode.records import Event
from sparsecode.specs import converted, parsed

__all__ = ["MetricsFile", "Observer", "ProgressBar", "Shows", "Snapshot", "read_metrics"]


class Observer(Protocol):
    """A callable that receives every event, in order, on the first process only.

    The reason to stop, returned as text or raised as `StopTraining`, stops training after the present step: its state is
    saved, and the same call goes on from there.
    """

    def __call__(self, event: Event, /) -> str | None: ...


class Snapshot(NamedTuple):
    """The model at a validation, by names of its figures: `pictures` [h, w, 3] of 8 bits, and values for `histograms`."""

    step: int
    pictures: Mapping[str, NDArray[np.uint8]]
    histograms: Mapping[str, NDArray[np.floating[Any]]]


@runtime_checkable
class Shows(Protocol):
    """An observer that also takes pictures of the model: after every event "evaluate". Without one, none are drawn."""

    def __call__(self, event: Event, /) -> str | None: ...

    def show(self, snapshot: Snapshot, /) -> None: ...


Record = dict[str, Any]  # kind, step and numbers by name
REMEDY = "mend or delete that line"


def read_metrics(path: Path) -> list[Record]:
    """The records of a `metrics.jsonl`; a last line that a crash cut off is left out, NaN is None.

    Raises ValueError naming the line if another one is damaged.
    """
    return [record for record, _ in _lines(path)]


class _Head(msgspec.Struct):
    kind: str
    step: Annotated[int, Meta(ge=0)]


def _record(raw: Any, where: str) -> Record:
    head = converted(raw, _Head, where)
    raw |= {"kind": None, "step": None}
    record: Record = converted(raw, dict[str, float | None], where) | {"kind": head.kind, "step": head.step}
    return _with_coders_of_today(record) if head.kind == "evaluate" else record


def _with_coders_of_today(record: Record) -> Record:
    """A validation whose values have the names that coders have now, `coder/quantity`, whichever version wrote it."""
    names = coders_today(name.partition("/")[0] for name in record if "/" in name)
    parts = ((name, *name.partition("/")) for name in record)
    return {f"{names[coder]}/{rest}" if slash else name: record[name] for name, coder, slash, rest in parts}


def _lines(path: Path) -> list[tuple[Record, bytes]]:
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    parsed_lines: list[tuple[Record, bytes]] = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            parsed_lines.append((_record(parsed(line, where, REMEDY), where), line))
        except ValueError:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise
    return parsed_lines


class MetricsFile:
    """A line of JSON per event: kind, step and the event's values."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, event: Event) -> None:
        if event.kind == "start":
            # Lines after the resumed step belong to steps that will be repeated.
            kept = b"".join(line for record, line in _lines(self.path) if record["step"] <= event.step)
            if not self.path.exists() or kept != self.path.read_bytes():
                write_atomic(self.path, kept)
        elif event.kind in ("train", "evaluate"):
            record = {"kind": event.kind, "step": event.step, **event.values}
            try:
                with self.path.open("ab") as file:
                    file.write(msgspec.json.encode(record) + b"\n")
            except OSError as error:
                raise OSError(
                    error.errno, f"cannot write {self.path}: {error.strerror}; free some space, then go on with the run"
                ) from error


WATCHED = (
    "objective",
    "psnr",
    "accuracy",
    "l0",
    "active_noisy",
    "active_clean",
)  # validation values shown on the terminal


class ProgressBar:
    """A rich progress bar with the latest loss, and a line per validation: its quantities with a name in `shown`."""

    def __init__(self, console: Console, shown: tuple[str, ...] = WATCHED) -> None:
        self.console, self.shown = console, shown
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task: TaskID | None = None

    def __call__(self, event: Event) -> None:
        if event.kind == "start":
            self.task = self.bar.add_task("", total=event.total_steps, completed=event.step)
            self.bar.start()
        elif self.task is not None and event.kind == "train":
            text = " ".join(f"{name} {event.values[name]:.4g}" for name in ("loss", "l0") if name in event.values)
            self.bar.update(self.task, completed=event.step, description=text)
        elif event.kind == "evaluate":
            values = "  ".join(f"{k} {v:.4g}" for k, v in event.values.items() if k.rpartition("/")[2] in self.shown)
            self.console.print(f"step {event.step}  {values}", highlight=False, soft_wrap=True)
        elif event.kind == "end":
            self.bar.stop()
