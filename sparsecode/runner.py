"""Training, evaluation and figures of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from sparsecode.data import InMemory, Splits
from sparsecode.errors import RunConflictError
from sparsecode.evaluate.evaluation import Evaluation
from sparsecode.extending import conflicts, extendable, extended
from sparsecode.files import LOCK, TEMPORARY, held, require_own
from sparsecode.hub import refuse_hub
from sparsecode.leaves import foreign_types
from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.collective import any_rank
from sparsecode.preparing import Prepared, prepare
from sparsecode.runs import FIGURES, Run, RunFolder, Store, loaded_from, moved_to
from sparsecode.specs import check_seed
from sparsecode.train.fit_state import FitState
from sparsecode.train.observers import Observer

if TYPE_CHECKING:
    from sparsecode.reports.document import Document
    from sparsecode.train.fit import Devices

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
        from sparsecode.reports.builders.source import source_of_folder
        from sparsecode.reports.builders.whole import report_of

        return report_of(source_of_folder(self.folder, self.folder.label), out, n_codes, n_samples)


class Trained(NamedTuple):
    """What training has come to, wherever that is kept; `evaluation` is there once it has finished.

    `model` is the best one then, and as it stands if training was stopped; None if nothing was left to do.
    """

    state: FitState
    evaluation: Evaluation | None = None
    figures: Sequence[Path] = ()
    model: AbstractSparseModel | None = None


def refuse_what_is_there(config: Run, folder: RunFolder) -> None:
    """Before anything is written: the folder must be empty, or hold this run, or one that never began, and no other files in their places.

    The seed of a new run must be in the range of seeds; earlier versions took any.
    """
    if not folder.exists:
        check_seed(config.seed)
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
    """Check the folder for conflicts and lock it until `stack` is closed, in the first process; if that fails, all processes raise.

    If an error closes `stack` before training has begun, nothing is left of a new run.
    """
    problem: Exception | None = None
    if fabric.is_global_zero:
        try:
            refuse_what_is_there(config, folder)
            stack.enter_context(held(folder.path, folder.metrics_file, folder.config_file))
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
