"""What a report is made from: a run on disk, a training in memory, or a model with samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sparsecode.data.catalogue import remedy_of
from sparsecode.data.splits import Split, Splits
from sparsecode.evaluate.evaluation import Evaluate, Evaluation, evaluate_model
from sparsecode.evaluate.reconstruction.calibration import Calibration
from sparsecode.evaluate.reconstruction.score import Score
from sparsecode.evaluate.units.features import NO_TEXTS, Features
from sparsecode.models.base import AbstractSparseModel
from sparsecode.reports.run_features import stored_features
from sparsecode.runs import Run, RunFolder
from sparsecode.train.fit_state import FitState
from sparsecode.train.observers import Record

__all__ = [
    "ReportSource",
    "data_words",
    "source_of_folder",
    "source_of_model",
    "source_of_run",
    "source_of_training",
    "split_called",
]

SPLITS = ("train", "valid", "test")


class ReportSource(NamedTuple):
    """A model and what is known of it.

    `split` is the name of the samples that are shown and scored: that of `evaluation`. `evaluation` is the stored one where
    `stored`, else it was measured for the report. `config`, `records` and `state` are None or empty for models that were not
    trained here; `origin` then says what it is. `command` repeats the run. `features` are names of the data's features, `tokenizer` the
    folder of the tokenizer that knows the texts of token ids. `collected` are stored features of this split, `texts` stored texts of token ids.
    `fingerprint` is that of the samples, "" if it is not known yet.

    Where `absent` says why the samples cannot be had, and `remedy` what to do, `splits` are empty, `collected` are stored features of any
    split, and `evaluation` is None if no scores are stored.
    """

    name: str
    model: AbstractSparseModel
    splits: Splits
    split: str
    evaluation: Evaluation | None
    stored: bool = True
    config: Run | None = None
    records: Sequence[Record] = ()
    state: FitState | None = None
    unfinished: str = ""
    command: str = ""
    command_note: str = ""
    origin: str = ""
    features: tuple[str, ...] = ()
    tokenizer: Path | None = None
    collected: Features | None = None
    texts: Mapping[int, str] = NO_TEXTS
    fingerprint: str = ""
    absent: str = ""
    remedy: str = ""

    @property
    def samples(self) -> Split:
        """The samples that are shown, in the model's precision."""
        weights = next(self.model.parameters())
        return split_called(self.splits, self.split).to(weights.device, weights.dtype)

    @property
    def settings(self) -> Evaluate:
        """The settings of the evaluation."""
        return Evaluate() if self.config is None else self.config.evaluate

    @property
    def seed(self) -> int:
        return 0 if self.config is None else self.config.seed

    @property
    def theta(self) -> float:
        """The level above which a code is active."""
        return next((score.theta for score in self.scores.values()), self.settings.theta)

    @property
    def scores(self) -> dict[str, Score]:
        """The scores of every coder; none without an evaluation."""
        return {} if self.evaluation is None else self.evaluation.scores


def split_called(splits: Splits, name: str) -> Split:
    """The split of this name. Raises ValueError for other names."""
    if name not in SPLITS:
        raise ValueError(f"split is {name!r}; expected train, valid or test")
    return getattr(splits, name)


def source_of_run(
    folder: RunFolder, name: str, splits: Splits, command: str = "", command_note: str = ""
) -> ReportSource:
    """The source for a run on disk, whose samples are `splits`. A run without scores (unfinished, or converted) is scored now.

    Raises FileNotFoundError if there is no run or no model yet, ValueError if a file is damaged.
    """
    model, unfinished = folder.best_model(), folder.unfinished
    # scores of a training before it was extended are not this model's
    evaluation = None if unfinished else folder.evaluation()
    calibration = folder.provenance().calibration if evaluation is None else None
    source = source_of_training(
        name,
        model,
        splits,
        folder.config(),
        folder.metrics() if folder.metrics_file.exists() else [],
        folder.state(),
        evaluation,
        unfinished,
        calibration,
    )
    stored = stored_features(folder, model, source.split, source.theta)
    return source._replace(
        command=command,
        command_note=command_note,
        collected=stored.features,
        texts=stored.texts,
        fingerprint=folder.provenance().data,
    )


def source_of_folder(
    folder: RunFolder,
    name: str,
    moved: Path | None = None,
    loaded: dict[bytes, Splits] | None = None,
    command: str = "",
    command_note: str = "",
) -> ReportSource:
    """The source for a run on disk with its samples, `moved` and `loaded` as in `RunFolder.splits`; without them if they cannot be had.

    Raises FileNotFoundError and ValueError as `source_of_run`, and those of `RunFolder.splits` where the place of the samples is given.
    """
    config, provenance, model = folder.config(), folder.provenance(), folder.best_model()
    try:
        splits = folder.splits(moved, loaded)
    except (OSError, ValueError, ImportError) as problem:
        if moved is not None:
            raise
        absent, remedy = str(problem), remedy_of(config.data)
    else:
        return source_of_run(folder, name, splits, command, command_note)
    evaluation = None if folder.unfinished else folder.evaluation()
    theta = config.evaluate.theta if evaluation is None else next(iter(evaluation.scores.values())).theta
    none = Split(torch.empty(0, *model.shape))
    stored = stored_features(folder, model, None, theta)
    return ReportSource(
        name=name,
        model=model,
        splits=Splits(none, none, none, *provenance.data_range),
        split=stored.part or ("test" if evaluation is None else evaluation.split),
        evaluation=evaluation,
        config=config,
        records=folder.metrics() if folder.metrics_file.exists() else [],
        state=folder.state(),
        unfinished=folder.unfinished,
        command=command,
        command_note=command_note,
        collected=stored.features,
        texts=stored.texts,
        fingerprint=provenance.data,
        absent=absent,
        remedy=remedy,
    )


def source_of_training(
    name: str,
    model: AbstractSparseModel,
    splits: Splits,
    config: Run,
    records: Sequence[Record],
    state: FitState | None,
    evaluation: Evaluation | None,
    unfinished: str = "",
    calibration: Calibration | None = None,
) -> ReportSource:
    """The source for a training in memory; one without an evaluation is scored now, and `calibration` reported."""
    stored = evaluation is not None
    if evaluation is None:
        split = "valid" if splits.test is splits.valid else "test"
        evaluation = evaluate_model(model.eval(), splits, config.evaluate, config.seed, split, calibration)
    return ReportSource(
        name=name,
        model=model,
        splits=splits,
        split=evaluation.split,
        evaluation=evaluation,
        stored=stored,
        config=config,
        records=records,
        state=state,
        unfinished=unfinished,
        command_note="trained from Python: call fit again with the same samples and this config",
    )


def source_of_model(
    model: AbstractSparseModel, splits: Splits, name: str, origin: str, split: str = "test"
) -> ReportSource:
    """The source for a model that was not trained here (another library's), with samples of a data source."""
    evaluation = evaluate_model(model, splits, Evaluate(), 0, split)
    return ReportSource(name, model, splits, split, evaluation, stored=False, origin=origin)


def _sizes(splits: Splits) -> tuple[int, int, int]:
    return splits.training.n, splits.valid.n, splits.test.n


def data_words(source: ReportSource) -> str:
    """The data in a sentence or two; the sizes of the splits are not repeated."""
    splits = source.splits
    sizes = (
        "Samples"
        if source.absent
        else f"{splits.training.n:,} training, {splits.valid.n:,} validation and {splits.test.n:,} test samples"
    )
    shape = " x ".join(map(str, splits.shape))
    about = ""
    if source.config is not None and (text := type(source.config.data).__doc__):
        about = " ".join(text.strip().split("\n\n")[0].split()).replace("`", "")
        about = re.sub(r"(?<=\d) (?=\d{3}\b)", ",", about)  # thousands as in all other numbers of the page
        if not source.absent and all(
            re.search(rf"\b{n:,} {name}", about) for n, name in zip(_sizes(splits), SPLITS, strict=True)
        ):
            sizes = "Samples"
    here = ", which are not at hand" if source.absent else ""
    return f"{about} {sizes} of shape {shape}, values from {splits.low:.4g} to {splits.high:.4g}{here}.".strip()
