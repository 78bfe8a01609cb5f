"""Training, evaluation and figures of a run."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import torch

from sparsecode.data import InMemory, Splits
from sparsecode.evaluate.evaluation import Evaluation, evaluate_model, higher_is_better, selectable, validation
from sparsecode.evaluate.reconstruction.calibration import calibrated_
from sparsecode.extending import conflicts, extendable, extended, reached
from sparsecode.files import LOCK, TEMPORARY, locked, require_own
from sparsecode.hub import refuse_hub
from sparsecode.leaves import foreign_types
from sparsecode.losses.end_to_end import NO_HOST
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.storage import build_model
from sparsecode.ops.collective import any_rank
from sparsecode.runs import FIGURES, Run, RunFolder, Store, loaded_from, moved_to
from sparsecode.schedules import resolve
from sparsecode.specs import name_of
from sparsecode.train.checkpoint import FitState
from sparsecode.train.observers import Observer, Shows
from sparsecode.train.plan import clock
from sparsecode.version import __version__

if TYPE_CHECKING:
    from sparsecode.reports.document import Document
    from sparsecode.train.fit import Devices
    from sparsecode.train.session import TrainingSession

__all__ = [
    "Prepared",
    "RunConflictError",
    "RunResult",
    "Trained",
    "enter",
    "finished",
    "prepare",
    "refuse_what_is_there",
    "run",
    "train_one",
]

CALIBRATED = 10_000  # validation samples behind thresholds


class RunConflictError(FileExistsError):
    """The folder holds something that this run must not touch."""


class RunResult(NamedTuple):
    """The result of a run. `evaluation` and `figures` are set once training has finished."""

    folder: RunFolder
    state: FitState
    evaluation: Evaluation | None
    figures: list[Path]

    def report(self, out: str | Path | None = None, *, n_codes: int = 512, n_samples: int = 10_000) -> Document:
        """The run's report: training, up to `n_codes` codes by importance, samples, measures; with `out` also written as one page
        (`.html`) or as data (`.json`). Numbers of codes are of up to `n_samples` samples.
        """
        from sparsecode.reports.builders.source import source_of_run
        from sparsecode.reports.builders.whole import report_of

        return report_of(source_of_run(self.folder, self.folder.label, self.folder.splits()), out, n_codes, n_samples)


class Trained(NamedTuple):
    """What training has come to, wherever that is kept; `evaluation` is there once it has finished.

    `model` is the best one then, and as it stands if training was stopped; None if nothing was left to do.
    """

    state: FitState
    evaluation: Evaluation | None = None
    figures: Sequence[Path] = ()
    model: AbstractSparseModel | None = None


def refuse_what_is_there(config: Run, folder: RunFolder) -> None:
    """Before anything is written: the folder must be empty, or hold this run, or one that never began, and no other files in their places."""
    if not folder.exists:
        there = folder.path.iterdir() if folder.path.is_dir() else []
        if strangers := [p.name for p in there if p.name != LOCK and not p.name.endswith(TEMPORARY)]:
            stack = ", ".join(sorted(strangers)[:5])
            raise RunConflictError(f"{folder.path} is not empty and not a run (it holds {stack})")
        return
    try:
        require_own(*folder.files, *(folder.figures / f"{name}.png" for name in FIGURES))
    except FileExistsError as problem:
        raise RunConflictError(str(problem)) from None
    if folder.begun and (changes := conflicts(folder.config(), config)):
        raise RunConflictError(
            f"{folder.path} holds a run with another config (there -> asked for):\n  " + "\n  ".join(changes)
        )


def run(
    config: Run,
    out: str | Path,
    *,
    observers: Sequence[Observer] = (),
    accelerator: str = "auto",
    devices: int = 1,
    moved: Path | None = None,
    figures: bool = True,
    extend: float | None = None,
) -> RunResult:
    """Train, evaluate on the test split and draw `figures` in folder `out`; a run that was begun there goes on.

    A run that has finished is left as it is, or trained for `extend` epochs more: by schedules planned anew for all its epochs,
    from the step reached; its config then says so. A training that an observer or a signal has stopped (`RunResult.state.stopped_by`)
    is saved, and the same call goes on with it. `moved` says where the files of its data source are now: the config stays as it
    is, and samples other than those of the last checkpoint are refused. Raises RunConflictError if `out` holds another run, BlockingIOError if
    another process trains in it, NonFiniteLossError if training diverges, ValueError for configs that cannot be run.

    >>> import tempfile
    >>> import msgspec
    >>> import sparsecode as sc
    >>> config = sc.recipes.RECIPES["digits-topk"]()
    >>> config = msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, epochs=0.5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = sc.run(config, folder, accelerator="cpu", figures=False)
    >>> sorted(result.evaluation.scores)
    ['encode']
    """
    refuse_hub(out)
    folder = RunFolder(out, foreign_types(config))
    if extend is not None:
        config = extendable(config, folder, extend)

    trained = train_one(
        config,
        folder,
        lambda: loaded_from(config.data if moved is None else moved_to(config.data, moved)),
        observers=observers,
        accelerator=accelerator,
        devices=devices,
        figures=figures,
        extend=extend,
    )
    return RunResult(folder, trained.state, trained.evaluation, [*trained.figures])


def train_one(
    config: Run,
    store: Store,
    load: Callable[[], Splits],
    *,
    observers: Sequence[Observer],
    accelerator: str,
    devices: int = 1,
    figures: bool = True,
    extend: float | None = None,
) -> Trained:
    """`run` with its samples and the storage of its results, a folder or memory."""
    from sparsecode.train.fit import launch, train_alone  # here, because Fabric is slow to import

    fabric = launch(config.train.precision, accelerator, devices)
    threads = torch.get_num_threads()
    with ExitStack() as stack:
        if isinstance(store, RunFolder):
            enter(config, store, stack, fabric)
            if extend is None and (done := finished(store)):
                return done
        splits = load()
        if extend is not None and isinstance(store, RunFolder):
            config = extended(config, store, extend, splits.training.n, fabric)
        data = config.data.fingerprint if isinstance(config.data, InMemory) else splits.fingerprint()
        prepared = prepare(config, store, splits, data, fabric.world_size, fabric.is_global_zero)
        try:
            state = train_alone(prepared.session(fabric, observers))
        finally:
            torch.set_num_threads(threads)
        if state.stopped_by or not fabric.is_global_zero:
            return Trained(state, model=prepared.model)
        best, evaluation = prepared.scored()
        return Trained(state, evaluation, prepared.conclude(best, evaluation, figures=figures), best)


def enter(config: Run, folder: RunFolder, stack: ExitStack, fabric: Devices) -> None:
    """Check the folder for conflicts and lock it until `stack` is closed, in the first process; if that fails, all processes raise."""
    problem: Exception | None = None
    if fabric.is_global_zero:
        try:
            refuse_what_is_there(config, folder)
            stack.enter_context(locked(folder.path))
        except (RunConflictError, OSError, ValueError) as error:
            problem = error
    if any_rank(problem is not None, fabric.device):  # all processes leave together, or the others would wait forever
        raise problem or RunConflictError(f"{folder.path}: refused by the first process")


def finished(folder: RunFolder) -> Trained | None:
    """The result of a finished run; None for others."""
    state, evaluation = folder.state(), folder.evaluation()
    if state is None or not state.finished or evaluation is None:
        return None
    return Trained(state, evaluation, sorted(folder.figures.glob("*.png")))


class Prepared(NamedTuple):
    """A run about to be trained; `planned` is its config with schedules in steps."""

    config: Run
    planned: Run
    folder: Store
    model: AbstractSparseModel
    splits: Splits
    provenance: dict[str, Any]

    def session(self, fabric: Devices, observers: Sequence[Observer] = ()) -> TrainingSession:
        """Its training, on the devices of `fabric`, from where the folder says that it stands."""
        from sparsecode.train.fit import open_session

        valid = self.splits.valid.to(fabric.device, self.dtype)
        watching = [self.folder.observer, *observers]
        if showing := [observer for observer in observers if isinstance(observer, Shows)]:
            from sparsecode.reports.snapshots import Snapshots  # matplotlib is slow to import

            watching.append(Snapshots(self.model, self.splits, self.config.evaluate.theta, self.config.seed, showing))
        return open_session(
            self.model,
            self.splits,
            self.planned.optim,
            self.config.train,
            self.config.seed,
            fabric=fabric,
            observers=watching,
            evaluate=lambda model: validation(model, valid, self.splits.data_range, self.config.evaluate),
            on_best=self.keep,
            higher_is_better=higher_is_better(self.config.train.select),
            resume=self.folder.resume,
            data=self.provenance["data"],
            start=None if self.config.init_from is None else self.config.init_from.apply_,
            frozen=self.frozen,
            extended_at=reached(self.config, self.splits.training.n, fabric.world_size),
        )

    @property
    def frozen(self) -> tuple[str, ...]:
        """The names of the parameters that are not trained."""
        return () if self.config.init_from is None else self.config.init_from.frozen_in(self.model)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.config.train.precision.startswith("64") else torch.float32

    def keep(self, model: AbstractSparseModel) -> None:
        """Write it to the folder as the best one so far."""
        self.folder.keep(model, self.provenance)

    def scored(self) -> tuple[AbstractSparseModel, Evaluation]:
        """After training: the best model, calibrated, and its scores on the test split."""
        weights = next(self.model.parameters())
        best = self.folder.best_model().to(weights.device)
        # of a run that was stopped after it: the values before are not lost
        known = self.folder.calibration()
        samples = self.splits.valid.take(slice(CALIBRATED)).to(weights.device, weights.dtype)
        start = self.config.init_from
        calibration = None if start is not None and start.freezes_thresholds else calibrated_(best, samples)
        if calibration is not None:
            calibration = known or calibration
            made = {**self.provenance, "calibration": msgspec.to_builtins(calibration)}
            self.folder.keep(best, made)
        split = "valid" if self.splits.test is self.splits.valid else "test"
        settings = self.config.evaluate
        return best, evaluate_model(best, self.splits, settings, self.config.seed, split, calibration)

    def conclude(self, best: AbstractSparseModel, evaluation: Evaluation, *, figures: bool = True) -> Sequence[Path]:
        """After a training that has ended: draw figures in a folder and, last of all, write the scores down."""
        paths: Sequence[Path] = ()
        if figures and isinstance(self.folder, RunFolder):
            from sparsecode.reports.run_figures import draw  # matplotlib is slow to import

            paths = draw(self.folder, best, self.splits, self.config)
        self.folder.write_evaluation(evaluation)
        return paths


def prepare(
    config: Run, folder: Store, splits: Splits, fingerprint: str, world: int = 1, first: bool = True
) -> Prepared:
    """Build the model of a run and, in the `first` process, write its config. Raises ValueError for configs that cannot be run."""
    # Schedules count in steps from here on, so that what is saved says what was done.
    planned = resolve(config, clock(config.train, splits.training.n, world))
    for term in getattr(planned.model, "terms", ()):
        if getattr(term, "needs_host", False) and not getattr(splits.stream, "gives_host", False):
            raise ValueError(f"model.terms.{name_of(term)} {NO_HOST}")
    model = build_model(planned.model, splits.shape, config.seed, splits.target_shape)
    if config.init_from is not None and folder.state() is None:
        config.init_from.apply_(model)  # here, too, so that what does not fit is refused before anything is written
    for name in () if config.init_from is None else config.init_from.frozen_in(model):
        model.get_parameter(name).requires_grad_(False)
    choices = selectable(model, splits.valid, splits.data_range, config.evaluate, config.train.select)
    if config.train.select not in (*choices, "last"):
        raise ValueError(
            f"train.select is {config.train.select!r}; expected last or one of {', '.join(choices)}: other values need their "
            "measure in evaluate.validation"
        )
    if first:
        folder.write_config(config)
    provenance = {
        "sparsecode": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "data": fingerprint,
        "data_range": list(splits.span()),
    }
    return Prepared(config, planned, folder, model, splits, provenance)
