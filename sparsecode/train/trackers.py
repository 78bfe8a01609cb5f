"""Experiment trackers as observers: TensorBoard, Weights & Biases, Trackio, SwanLab, MLflow."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sparsecode.files import write_atomic
from sparsecode.records import Event
from sparsecode.train.observers import Observer, Snapshot
from sparsecode.version import __version__

__all__ = ["TRACKERS", "Logging", "MLflow", "TensorBoard"]

PROJECT = "sparsecode"  # where no environment variable of the tracker names another one
IDENTITY = "run.json"  # holds the name by which a tracker knows the run: a resumed one continues its curves
FORBIDDEN = re.compile(r"[^\w\-. /]")  # characters in names of MLflow
LONGEST = 500  # characters of a value in MLflow


def _imported(module: str, name: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ImportError(f"{name} is not installed: pip install 'sparsecode[{extra}]'") from None


class TensorBoard:
    """Scalars, pictures and histograms for TensorBoard (extra `tensorboard`), in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer_class = _imported("torch.utils.tensorboard.writer", "TensorBoard", "tensorboard").SummaryWriter

    def __call__(self, event: Event) -> None:
        if event.kind == "start":
            self.writer = self.writer_class(str(self.folder), purge_step=event.step + 1)
        elif event.kind in ("train", "evaluate"):
            for name, value in event.values.items():
                self.writer.add_scalar(f"{event.kind}/{name}", value, event.step)
        elif event.kind == "end":
            self.writer.close()

    def show(self, snapshot: Snapshot) -> None:
        for name, picture in snapshot.pictures.items():
            self.writer.add_image(name, picture, snapshot.step, dataformats="HWC")
        for name, values in snapshot.histograms.items():
            self.writer.add_histogram(name, values, snapshot.step)


class _TrackerStart(NamedTuple):
    """What a tracker receives at the start: the run's folder, name and identity, its config, and whether it is resumed."""

    folder: Path
    name: str
    id: str
    config: dict[str, Any]
    resumed: bool


def _started(folder: Path, step: int) -> _TrackerStart:
    """The identity of the run, drawn at step 0 and read from `folder` by a run that is resumed; its config beside `folder`."""
    home, file = folder.parent, folder / IDENTITY
    resumed = step > 0 and file.is_file()
    known = msgspec.json.decode(file.read_bytes(), type=dict[str, str]) if resumed else {}
    known = {"sparsecode": __version__, "id": secrets.token_hex(8)} | known
    write_atomic(file, msgspec.json.encode(known))
    config = home / "config.json"
    stored = msgspec.json.decode(config.read_bytes()) if config.is_file() else {}
    return _TrackerStart(folder, home.name, known["id"], stored.get("spec", stored), resumed)


def _wandb(start: _TrackerStart) -> dict[str, Any]:
    return {
        "project": os.environ.get("WANDB_PROJECT", PROJECT),
        "name": start.name,
        "id": start.id,
        "dir": str(start.folder.parent),  # below which it makes a folder wandb
        "resume": "allow",
    }


def _trackio(start: _TrackerStart) -> dict[str, Any]:
    # runs are resumed by their name
    return {
        "project": os.environ.get("TRACKIO_PROJECT", PROJECT),
        "name": f"{start.name}-{start.id}",
        "resume": "allow",
        "embed": False,
    }


def _swanlab(start: _TrackerStart) -> dict[str, Any]:
    return {
        "project": os.environ.get("SWANLAB_PROJECT", PROJECT),
        "name": start.name,
        "id": start.id,
        "log_dir": str(start.folder),
        "resume": "allow",
    }


class Logging:
    """Weights & Biases, Trackio or SwanLab, which share `init`, `log` and `finish`: scalars, pictures and, where there are any, histograms.

    Accounts, servers and offline modes are those of the tracker's environment variables. A resumed run continues its
    record there.
    """

    def __init__(
        self, module: str, name: str, options: Callable[[_TrackerStart], dict[str, Any]], folder: Path
    ) -> None:
        self.tracker, self.options, self.folder = _imported(module, name, module), options, folder

    def __call__(self, event: Event) -> None:
        if event.kind == "start":
            start = _started(self.folder, event.step)
            self.tracker.init(config=start.config, **self.options(start))
        elif event.kind in ("train", "evaluate"):
            self._log({f"{event.kind}/{name}": value for name, value in event.values.items()}, event.step)
        elif event.kind == "end":
            self.tracker.finish()

    def show(self, snapshot: Snapshot) -> None:
        logged = {f"pictures/{name}": self.tracker.Image(picture) for name, picture in snapshot.pictures.items()}
        if histogram := getattr(self.tracker, "Histogram", None):
            logged |= {f"histograms/{name}": histogram(values) for name, values in snapshot.histograms.items()}
        self._log(logged, snapshot.step)

    def _log(self, values: dict[str, Any], step: int) -> None:
        self.tracker.log(values, step=step)


class MLflow:
    """MLflow: parameters, scalars and pictures, on the server or in the files that its environment variables name."""

    def __init__(self, folder: Path) -> None:
        self.mlflow, self.folder = _imported("mlflow", "MLflow", "mlflow"), folder

    def __call__(self, event: Event) -> None:
        if event.kind == "start":
            self.client, self.run = self._opened(_started(self.folder, event.step))
        elif event.kind in ("train", "evaluate"):
            now, metric = int(time.time() * 1000), self.mlflow.entities.Metric
            metrics = [metric(_name(f"{event.kind}/{n}"), v, now, event.step) for n, v in event.values.items()]
            self.client.log_batch(self.run, metrics=metrics)
        elif event.kind == "end":
            self.client.set_terminated(self.run)

    def show(self, snapshot: Snapshot) -> None:
        for name, picture in snapshot.pictures.items():
            self.client.log_image(self.run, picture, key=_name(name), step=snapshot.step)

    def _opened(self, start: _TrackerStart) -> tuple[Any, str]:
        """A client, and the run on it: the one with this identity in its tag, or a new one."""
        client = self.mlflow.MlflowClient()
        title = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        there = client.get_experiment_by_name(title)
        home = client.create_experiment(title) if there is None else there.experiment_id
        known = client.search_runs([home], f"tags.sparsecode = '{start.id}'") if start.resumed else []
        if known:
            return client, known[0].info.run_id
        run = client.create_run(home, run_name=start.name, tags={"sparsecode": start.id}).info.run_id
        for name, value in _flat(start.config).items():
            client.log_param(run, _name(name), value)
        return client, run


def _name(name: str) -> str:
    return FORBIDDEN.sub("_", name)


def _flat(config: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Values by their path, `train.epochs`, as text."""
    logged: dict[str, str] = {}
    for name, value in config.items():
        path = f"{above}{name}"
        logged |= _flat(value, f"{path}.") if isinstance(value, Mapping) else {path: str(value)[:LONGEST]}
    return logged


# Observers that `--track NAME` selects; each is given the folder NAME of the run.
TRACKERS: dict[str, Callable[[Path], Observer]] = {
    "tensorboard": TensorBoard,
    "wandb": partial(Logging, "wandb", "Weights & Biases", _wandb),
    "trackio": partial(Logging, "trackio", "Trackio", _trackio),
    "swanlab": partial(Logging, "swanlab", "SwanLab", _swanlab),
    "mlflow": MLflow,
}
