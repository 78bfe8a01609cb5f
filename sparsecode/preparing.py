"""A run about to be trained: its model, its training session, its scores."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import torch

from sparsecode.data import Splits
from sparsecode.evaluate.evaluation import Evaluation, evaluate_model, higher_is_better, selectable, validation
from sparsecode.evaluate.reconstruction.calibration import calibrated_
from sparsecode.extending import reached
from sparsecode.losses.end_to_end import NO_HOST
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.storage import build_model
from sparsecode.runs import Run, RunFolder, Store
from sparsecode.schedules import resolve
from sparsecode.specs import name_of
from sparsecode.train.observers import Observer, Shows
from sparsecode.train.plan import clock
from sparsecode.version import __version__

if TYPE_CHECKING:
    from sparsecode.train.fit import Devices
    from sparsecode.train.session import TrainingSession

__all__ = ["Prepared", "prepare"]

CALIBRATED = 10_000  # validation samples behind thresholds


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
