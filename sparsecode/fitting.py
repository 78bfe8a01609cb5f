"""`fit(spec, x)`: a model trained on samples in memory or on disk, with a run folder or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

import msgspec
from rich.console import Console

from sparsecode.data import Data, InMemory, Splits
from sparsecode.data.in_memory import splits_from
from sparsecode.evaluate.evaluation import Evaluate, Evaluation
from sparsecode.evaluate.measures import AnyMeasure
from sparsecode.evaluate.reconstruction.calibration import Calibration
from sparsecode.hub import refuse_hub
from sparsecode.init_from import InitFrom
from sparsecode.leaves import foreign_types, tag_of
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.storage import ModelSpec, build_model
from sparsecode.records import Event
from sparsecode.runner import train_one
from sparsecode.runs import Run, RunFolder, loaded_from
from sparsecode.schedules import Cosine
from sparsecode.specs import check_seed
from sparsecode.train.fit_state import FitState
from sparsecode.train.observers import Observer, ProgressBar, Record
from sparsecode.train.optim import Adam, Clip, Group, Optim
from sparsecode.train.plan import Train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sparsecode.reports.document import Document

__all__ = ["Fitted", "batch_size_for", "default_optim", "fit"]

VALID, EPOCHS = 0.1, 20.0
DEVICES = ("auto", "cpu", "cuda")
BATCH, LEAST, STEPS = 256, 16, 20  # samples of a batch, if that leaves about 20 steps per epoch
ADAM = Adam(lr=1e-3)
# By the type of a model: optimisers by the first part of a group's name, clipping, and whether the lowest objective is selected.
OPTIMISERS: dict[str, dict[str, Group]] = {
    "iterative": {"decoder": Adam(lr=Cosine(start=2e-2, stop=2e-4, length=1.0, unit="fraction"))},
}
CLIPPED = {"amortised": Clip(norm=1.0)}
SELECTED = ("iterative",)


class Fitted(NamedTuple):
    """What `fit` returns.

    `model` is the best model by `config.train.select`, in evaluation mode; `history` the records of training and validation as in
    `metrics.jsonl`: kind, step and numbers by name; `scores` an `Evaluation` on the test samples, None for a training that was
    stopped; `state` where training stands; `config` the whole experiment; `folder` the run folder, if there is one.
    """

    model: AbstractSparseModel
    history: list[Record]
    scores: Evaluation | None
    state: FitState
    config: Run
    folder: RunFolder | None
    splits: Splits

    def figures(self) -> dict[str, Figure]:
        """Training curves, use of the codes and, for images, atoms and reconstructions: matplotlib figures by name."""
        from sparsecode.reports.run_figures import figures_of  # matplotlib is slow to import

        name = "fit" if self.folder is None else self.folder.label
        return figures_of(name, self.history, self.model, self.splits, self.config)

    def report(self, out: str | Path | None = None, *, n_codes: int = 512, n_samples: int = 10_000) -> Document:
        """The training's report: curves, up to `n_codes` codes by importance, samples, measures; with `out` also written as one page
        (`.html`) or as data (`.json`). Numbers of codes are of up to `n_samples` samples.
        """
        from sparsecode.reports.builders.source import source_of_training
        from sparsecode.reports.builders.whole import report_of

        name, unfinished = "fit" if self.folder is None else self.folder.label, ""
        if not self.state.finished:
            unfinished = f"step {self.state.step} of {self.state.total_steps}"
        source = source_of_training(
            name, self.model, self.splits, self.config, self.history, self.state, self.scores, unfinished
        )
        return report_of(source, out, n_codes, n_samples)

    def __repr__(self) -> str:
        where = "" if self.folder is None else f", folder={str(self.folder.path)!r}"
        return f"Fitted(model={self.model!r}, step={self.state.step} of {self.state.total_steps}{where})"


class _Memory:
    """What a run folder keeps, in memory."""

    resume = None

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._rebuild: Callable[[], AbstractSparseModel] | None = None

    def state(self) -> FitState | None:
        return None

    def write_config(self, run: Run) -> None:
        """It is in the result."""

    @property
    def observer(self) -> Observer:
        def watch(event: Event, /) -> None:
            if event.kind in ("train", "evaluate"):
                self.records.append({"kind": event.kind, "step": event.step, **event.values})

        return watch

    def keep(self, model: AbstractSparseModel, provenance: dict[str, Any]) -> None:
        del provenance  # which samples: the caller's
        tensors = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        spec, shape, target = cast("ModelSpec", model.spec), model.shape, model.target_shape

        def rebuild() -> AbstractSparseModel:
            rebuilt = build_model(spec, shape, 0, target)
            rebuilt.load_state_dict({name: value.clone() for name, value in tensors.items()}, assign=True)
            return rebuilt.eval()

        self._rebuild = rebuild

    def best_model(self) -> AbstractSparseModel:
        if self._rebuild is None:
            raise ValueError("no model yet; it is kept at the first validation")
        return self._rebuild()

    def calibration(self) -> Calibration | None:
        return None  # of an earlier call

    def write_evaluation(self, evaluation: Evaluation) -> None:
        """It is in the result."""


def fit(
    spec: ModelSpec,
    x: Any,
    *,
    target: Any = None,
    labels: Any = None,
    valid: Any = VALID,
    test: Any = None,
    epochs: float = EPOCHS,
    batch_size: int | None = None,
    optim: Optim | None = None,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    progress: bool = True,
    figures: bool = True,
    select: str | None = None,
    patience: int | None = None,
    train: Train | None = None,
    evaluate: Evaluate | None = None,
    measures: Sequence[AnyMeasure] | None = None,
    init_from: InitFrom | None = None,
    observers: Sequence[Observer] = (),
) -> Fitted:
    """Train a model of this `spec` on samples x: the same training, to the bit, as `run` of the same config on the same samples.

    x: [N, *F] as a NumPy array, torch tensor or data frame of floating-point numbers, which become float32; a memory map, of which
    batches alone are read; a PyTorch DataLoader, read once, without shuffling; a data spec such as `sparsecode.data.MNIST()`;
    or `sparsecode.data.Splits`. `target` [N, *G]: what is to be predicted, in place of x. `labels` [N]: classes, whole numbers.
    `valid` and `test`: shares of x that are split off at random, the same for all seeds, or samples of their own (an array, or
    `sparsecode.data.Split`). By default a tenth of x validates, and scores are those of the validation samples.
    `epochs`: passes over the training samples. `batch_size`: by default 256, or fewer if that would leave fewer than 20 steps per
    epoch. `optim`: by default Adam with a learning rate of 0.001; for dictionaries of solved codes 0.02, falling to 0.0002.
    `device`: auto (CUDA where there is one), cpu or cuda. `select`, `patience`: as in `Train`; `train` replaces it whole.
    `evaluate`: how it is scored; `measures`: what is measured after training, in its place. With a folder `out` it is a run, with `figures`, that the same call resumes; without, nothing is written.

    Raises TypeError or ValueError naming the argument, RunConflictError if `out` holds something else, NonFiniteLossError if training
    diverges.

    >>> import sparsecode as sc
    >>> from sparsecode.models import Amortised
    >>> from sparsecode.nn import TopK
    >>> import torch
    >>> x = torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
    >>> fitted = sc.fit(Amortised(n_code=32, activation=TopK(k=4)), x, epochs=2, progress=False, device="cpu")
    >>> (fitted.model.encode(x[:10]) != 0).sum(dim=1).max()
    tensor(4)
    """
    if device not in DEVICES:
        raise ValueError(f"device is {device!r}; choose from {', '.join(DEVICES)}")
    check_seed(seed)
    if not isinstance(spec, get_args(ModelSpec)):
        raise TypeError(
            f"spec is a {type(spec).__name__}; expected a model such as sparsecode.models.Amortised(n_code=512, ...)"
        )
    data, splits = _given(x, target, labels, valid, test)
    given = {"epochs": epochs, "batch_size": batch_size, "select": select, "patience": patience}
    model = None
    if optim is None or (train is None and select is None):
        model = build_model(spec, splits.shape, seed, splits.target_shape)
    if optim is None and model is not None:
        optim = default_optim(spec, model)
    if train is None:
        size = batch_size or batch_size_for(splits.training.n)
        train = Train(epochs=epochs, batch_size=size, select=select or "last", patience=patience)
    elif changed := [name for name, value in given.items() if value not in (None, EPOCHS)]:
        raise ValueError(f"train and {changed[0]} are both given; expected one of the two")
    assert optim is not None
    settings = evaluate or Evaluate()
    settings = settings if measures is None else msgspec.structs.replace(settings, measures=tuple(measures))
    config = Run(
        data=data, model=spec, optim=optim, train=train, evaluate=settings, seed=int(seed), init_from=init_from
    )
    if model is not None and select is None and train.select == "last" and tag_of(spec) in SELECTED:
        config = _selecting(config, f"{next(iter(model.coders()))}/objective")
    if out is not None:
        refuse_hub(out)
    store = _Memory() if out is None else RunFolder(out, foreign_types(config))
    watching = [ProgressBar(Console()), *observers] if progress else observers
    trained = train_one(config, store, lambda: splits, observers=watching, accelerator=device, figures=figures)
    history = store.records if isinstance(store, _Memory) else store.metrics()
    folder = store if isinstance(store, RunFolder) else None
    return Fitted(
        trained.model or store.best_model(), history, trained.evaluation, trained.state, config, folder, splits
    )


def batch_size_for(n: int) -> int:
    """The default batch size for n training samples."""
    return max(1, min(BATCH, max(LEAST, n // STEPS), n))


def _given(x: Any, target: Any, labels: Any, valid: Any, test: Any) -> tuple[Data, Splits]:
    """What the config says of the samples, and these."""
    is_default = isinstance(valid, float) and valid == VALID
    others = {"target": target, "labels": labels, "valid": None if is_default else valid, "test": test}
    if isinstance(x, (Splits, *get_args(Data))):
        if named := [name for name, value in others.items() if value is not None]:
            raise ValueError(
                f"{named[0]} is given, and x is {type(x).__name__}, which has its own; leave {named[0]} out"
            )
        if not isinstance(x, Splits):
            return x, loaded_from(x)
        splits = x
    else:
        splits = splits_from(x, target, labels, valid, test)
    sizes = (splits.training.n, splits.valid.n, splits.test.n)
    return InMemory(splits.fingerprint(), splits.shape, sizes), splits


def default_optim(spec: ModelSpec, model: AbstractSparseModel, adam: Adam = ADAM) -> Optim:
    """The default optimisers of the groups that the model has; `adam` is that of most."""
    kinds = OPTIMISERS.get(tag_of(spec), {})
    parts = dict.fromkeys(name.partition(".")[0] for name in model.param_groups())
    if not any(part in kinds for part in parts):
        return Optim({"*": adam} if parts else {}, CLIPPED.get(tag_of(spec)))
    return Optim({part: kinds.get(part, adam) for part in parts}, CLIPPED.get(tag_of(spec)))


def _selecting(config: Run, select: str) -> Run:
    """The config with another validation value to select by, if its values can be compared between steps."""
    try:
        return msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, select=select))
    except ValueError:
        return config
