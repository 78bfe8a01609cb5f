"""What a run is: its config in memory, its folder on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from sparsecode.data import Data
from sparsecode.evaluate.denoise import Denoised, NoiseUnit
from sparsecode.evaluate.score import Score
from sparsecode.files import write_atomic
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.portable import ModelSpec, load_model
from sparsecode.specs import NonNegative, Positive, Spec, from_json, to_json
from sparsecode.train.checkpoint import FitState, read_state
from sparsecode.train.observers import read_metrics
from sparsecode.train.optim import Optim
from sparsecode.train.plan import STATE_FILE, Train

__all__ = ["Evaluate", "Evaluation", "Run", "RunFolder", "Summary", "list_runs"]


class Evaluate(Spec, tag="evaluate"):
    """How a run is scored."""

    sigmas: Annotated[tuple[Positive, ...], Meta(description="noise levels for denoising")] = (0.5, 1.0)
    unit: Annotated[
        NoiseUnit, Meta(description="sigma in the model's normalised input space, or in fractions of the data range")
    ] = "input"
    theta: Annotated[NonNegative, Meta(description="a code is active above this magnitude")] = 0.0


class Run(Spec, tag="run"):
    """One experiment, whole: the same config means the same experiment on any device."""

    data: Data
    model: ModelSpec
    optim: Optim
    train: Train
    evaluate: Evaluate = Evaluate()
    seed: int = 0


class Evaluation(Spec, tag="evaluation"):
    """Scores of a trained model on one split: per coder, and per coder and noise level."""

    split: str
    scores: dict[str, Score]
    denoising: dict[str, tuple[Denoised, ...]]


class RunFolder:
    """runs/<name>: config.json, model/, resume/, metrics.jsonl, eval.json, figures/."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.eval_file = self.path / "eval.json"
        self.model = self.path / "model"
        self.resume = self.path / "resume"
        self.figures = self.path / "figures"

    @property
    def exists(self) -> bool:
        return self.config_file.is_file()

    def config(self) -> Run:
        """The stored config. Raises FileNotFoundError if this is no run, ValueError if the file is damaged."""
        if not self.exists:
            raise FileNotFoundError(f"{self.path}: not a run folder (no config.json in it)")
        return from_json(self.config_file.read_bytes(), Run, str(self.config_file))

    def write_config(self, run: Run) -> None:
        write_atomic(self.config_file, to_json(run))

    def state(self) -> FitState | None:
        """Where training stands, None before the first checkpoint."""
        file = self.resume / STATE_FILE
        return read_state(file) if file.exists() else None

    def best_model(self) -> AbstractSparseModel:
        """The model with the lowest validation value, on the CPU."""
        self.config()
        if not (self.model / "cfg.json").is_file():
            raise FileNotFoundError(f"{self.path}: no model yet; it is saved at the first validation")
        return load_model(self.model)

    def evaluation(self) -> Evaluation | None:
        if not self.eval_file.exists():
            return None
        return from_json(self.eval_file.read_bytes(), Evaluation, str(self.eval_file))

    def write_evaluation(self, evaluation: Evaluation) -> None:
        write_atomic(self.eval_file, to_json(evaluation))

    def metrics(self) -> list[dict[str, float | str]]:
        return read_metrics(self.metrics_file)


class Summary(NamedTuple):
    """A run in one line."""

    name: str
    data: str
    model: str
    step: int
    total_steps: int
    evaluation: Evaluation | None


def list_runs(root: Path) -> list[Summary]:
    """Every run folder directly in `root`, by name."""
    summaries: list[Summary] = []
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        folder = RunFolder(path)
        if not folder.exists:
            continue
        config, state = folder.config(), folder.state()
        data, model = (msgspec.to_builtins(part)["type"] for part in (config.data, config.model))
        step, total = (state.step, state.total_steps) if state else (0, 0)
        summaries.append(Summary(path.name, data, model, step, total, folder.evaluation()))
    return summaries
