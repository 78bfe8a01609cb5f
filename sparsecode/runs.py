"""Runs: the config in memory, and the folder on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from sparsecode.data import ClassTasks, Data, Splits
from sparsecode.evaluate.evaluation import Evaluate, Evaluation
from sparsecode.evaluate.reconstruction.calibration import Calibration
from sparsecode.files import printable, write_atomic
from sparsecode.hub import hub_place, local_path
from sparsecode.init_from import InitFrom
from sparsecode.leaves import tag_of
from sparsecode.losses import TargetL0
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import takes_activation
from sparsecode.models.compiled_step import compile_obstacle
from sparsecode.models.storage import CONFIG, WEIGHTS, ModelSpec, load_model, save_model
from sparsecode.run_files import RunFiles
from sparsecode.schedules import Cosine, Exponential, Linear, Piecewise
from sparsecode.specs import Positive, Spec, converted, from_json, name_of, parsed, plain, to_json
from sparsecode.train.fit_state import FitState
from sparsecode.train.observers import MetricsFile, Observer, Record, read_metrics
from sparsecode.train.optim import Optim
from sparsecode.train.plan import Train

__all__ = [
    "FIGURES",
    "Evaluate",
    "Evaluation",
    "Extension",
    "InitFrom",
    "Provenance",
    "Run",
    "RunFolder",
    "Store",
    "labelled",
]


FIGURES = (
    "curves",
    "usage",
    "means",
    "atoms",
    "reconstructions",
    "restored",
    "denoising",
    "encoding",
    "prior",
    "manifold",
)
MOVING = (Linear, Cosine, Exponential, Piecewise)


class Extension(Spec, tag="extension"):
    """Record of extending a finished run: the epochs `planned` before, and those `reached` by then."""

    planned: Positive
    reached: Positive


class Run(Spec, tag="run"):
    """One experiment, whole: the same config means the same experiment on any device."""

    data: Data
    model: ModelSpec
    optim: Optim
    train: Train
    evaluate: Evaluate = Evaluate()
    seed: Annotated[int, Meta(description="decides initial weights and the order of samples")] = 0
    init_from: Annotated[InitFrom | None, Meta(description="weights of another model to start from")] = None
    extensions: Annotated[tuple[Extension, ...], Meta(description="written when a finished run is extended")] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = {"model": self.model} | {f"model.terms.{name_of(t)}": t for t in getattr(self.model, "terms", ())}
        moving = [
            f"{path}.{name}"
            for path, part in parts.items()
            for name in getattr(part, "__struct_fields__", ())
            if isinstance(getattr(part, name), (*MOVING, TargetL0))
        ]
        if moving and self.train.select.endswith("objective"):
            raise ValueError(
                f"Run: train.select is {self.train.select!r} while {moving[0]} moves, so that objectives of different "
                "steps cannot be compared; choose another value, or `last` for the latest model"
            )

        if self.train.in_bf16 and not takes_activation(self.model):
            raise ValueError(
                f"Run: train.precision is {self.train.precision!r} for a model of type {tag_of(self.model)!r}, which needs the digits of float32; expected "
                "float32 or float64, or an amortised model"
            )
        if self.train.compile and (obstacle := compile_obstacle(self.model)):
            raise ValueError(f"Run: train.compile is set, and {obstacle}, or train.compile false")

    @property
    def unextended(self) -> Run:
        """The config that the run began with."""
        if not self.extensions:
            return self
        train = msgspec.structs.replace(self.train, epochs=self.extensions[0].planned)
        return msgspec.structs.replace(self, train=train, extensions=())


class Provenance(msgspec.Struct, frozen=True):
    """Training data of a model: the fingerprint of the samples, their least and largest value; and the model's calibration."""

    data: str
    data_range: tuple[float, float]
    calibration: Calibration | None = None


class Store(Protocol):
    """Storage of a run: a `RunFolder`, or memory."""

    @property
    def resume(self) -> Path | None: ...
    def state(self) -> FitState | None: ...
    def write_config(self, run: Run) -> None: ...
    @property
    def observer(self) -> Observer: ...
    def keep(self, model: AbstractSparseModel, provenance: dict[str, Any]) -> None: ...
    def best_model(self) -> AbstractSparseModel: ...
    def calibration(self) -> Calibration | None: ...
    def write_evaluation(self, evaluation: Evaluation) -> None: ...


class RunFolder:
    """runs/<name>: config.json, model/, resume/, metrics.jsonl, eval.json, figures/.

    `leaves` are the classes of parts of its config that are not this library's: code is never imported because a file names it.
    A run on the hub, `hf://org/repo/sub`, is read from its cache; its figures are drawn in `figures/` here. Errors as `local_path`.
    """

    def __init__(self, path: str | Path, leaves: Sequence[type] = ()) -> None:
        place = hub_place(path)
        self.path, self.leaves = local_path(path), tuple(leaves)
        self.name = self.path.resolve().name if place is None else place.name
        self._files = RunFiles.of(self.path)
        self.config_file, self.metrics_file, self.eval_file, self.model, self.resume = self._files
        self.figures = self.path / "figures" if place is None else Path("figures", place.name)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that training and evaluation write here, except figures."""
        model = (self.model / CONFIG, self.model / WEIGHTS)
        return (self.config_file, self.metrics_file, self.eval_file, *model, self._files.state)

    @property
    def exists(self) -> bool:
        return self.config_file.is_file()

    @property
    def begun(self) -> bool:
        """Whether training has written any result; before that, a config with errors may be replaced."""
        recorded = self.metrics_file.exists() and self.metrics_file.stat().st_size > 0
        return recorded or any(p.exists() for p in (self.model, self.resume, self.eval_file))

    def splits(self, moved: Path | None = None, loaded: dict[bytes, Splits] | None = None) -> Splits:
        """The samples that this run was trained on, from its data source, whose files may have `moved`.

        `loaded` holds what was loaded before, by source, and is added to. Raises FileNotFoundError that names the option for
        files that moved, ValueError if the source has no files or the samples are others.
        """
        data = self.config().data if moved is None else moved_to(self.config().data, moved)
        key, known = msgspec.json.encode(plain(data)), {} if loaded is None else loaded
        if key not in known:
            known[key] = loaded_from(data)
        self.check_data(known[key])
        return known[key]

    def check_data(self, splits: Splits) -> None:
        """Raise ValueError if the samples are not those that this run was trained on."""
        trained_on, result = self.provenance().data, splits.fingerprint()
        if trained_on != result:
            raise ValueError(
                f"{self.path}: trained on other samples than its data source gives now (fingerprint {trained_on}, now {result}); "
                "put the old data back"
            )

    def provenance(self) -> Provenance:
        """The provenance stored in the model's `cfg.json`. Raises ValueError naming the file if it does not."""
        file = self.model / "cfg.json"
        try:
            result = parsed(file.read_bytes(), "its text")["metadata"]["sparsecode"]["provenance"]
            return converted(result, Provenance, "provenance")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{file}: damaged: it does not say which data the model was trained on ({error!r}); restore it from a copy"
            ) from None

    def config(self) -> Run:
        """The stored config. Raises FileNotFoundError if this is no run, ValueError if the file is damaged."""
        if not self.exists:
            raise FileNotFoundError(f"{self.path}: not a run folder (no config.json in it)")
        return from_json(self.config_file.read_bytes(), Run, str(self.config_file), self.leaves)

    def write_config(self, run: Run) -> None:
        write_atomic(self.config_file, to_json(run))

    def state(self) -> FitState | None:
        """Where training stands, None before the first checkpoint."""
        return self._files.read_state()

    @property
    def unfinished(self) -> str:
        """The progress of unfinished training (`step 280 of 600`); empty for finished training, and for models made otherwise."""
        return self._files.unfinished

    @property
    def label(self) -> str:
        """Its label in tables and figures: its name and, for an unfinished run, its progress."""
        return labelled(self.name, self)

    def best_model(self) -> AbstractSparseModel:
        """The model with the lowest validation value, on the CPU."""
        self.config()
        if not (self.model / "cfg.json").is_file():
            state = self.state()
            if state is not None and state.finished:
                raise FileNotFoundError(f"{self.model}: the model of this finished run is gone; restore it from a copy")
            raise FileNotFoundError(f"{self.path}: no model yet; it is saved at the first validation")
        return load_model(self.model, self.leaves)

    @property
    def observer(self) -> Observer:
        """The writer of metrics."""
        return MetricsFile(self.metrics_file)

    def keep(self, model: AbstractSparseModel, provenance: dict[str, Any]) -> None:
        """Write the model as the best one so far."""
        save_model(model, self.model, provenance)

    def calibration(self) -> Calibration | None:
        """The calibration of the best model's thresholds after training; None without one."""
        return self.provenance().calibration

    def evaluation(self) -> Evaluation | None:
        if not self.eval_file.exists():
            return None
        return from_json(self.eval_file.read_bytes(), Evaluation, str(self.eval_file))

    def write_evaluation(self, evaluation: Evaluation) -> None:
        write_atomic(self.eval_file, to_json(evaluation.stored()))

    def metrics(self) -> list[Record]:
        return read_metrics(self.metrics_file)


def labelled(name: str, folder: RunFolder) -> str:
    """The name of a run, and its progress if training has not ended."""
    stands = folder.unfinished
    return f"{printable(name)} ({stands})" if stands else printable(name)


def moved_to(data: Data, path: Path) -> Data:
    """The same data source with its files at `path`. Raises ValueError if it has none that can be elsewhere."""
    for name in ("path", "images", "text"):
        if isinstance(data, Spec) and getattr(data, name, None) is not None:
            return msgspec.structs.replace(data, **{name: str(path)})
    if isinstance(data, ClassTasks):
        return msgspec.structs.replace(data, source=moved_to(data.source, path))
    raise ValueError(
        f"--data.path {path}: data of type {tag_of(data)} have no path in the config; leave the option out"
    )


def loaded_from(data: Data) -> Splits:
    """`data.load()`; errors for missing files name the option `--data.path`."""
    try:
        return data.load()
    except FileNotFoundError as problem:
        source = getattr(data, "source", data)
        if all(getattr(source, name, None) is None for name in ("path", "images", "text")):
            raise
        raise FileNotFoundError(f"{problem}; if the data have moved, say where they are with --data.path") from None
