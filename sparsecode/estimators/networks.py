"""Estimators whose codes a trained network computes, by `sparsecode.fit`."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sparsecode.data.splits import Split, Splits
from sparsecode.estimators.base import Array, FitTask, SparseTransformer, with_callbacks
from sparsecode.evaluate.evaluation import Evaluate
from sparsecode.evaluate.reconstruction.score import Scores
from sparsecode.fitting import batch_size_for, default_optim, fit
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_activation
from sparsecode.models.storage import ModelSpec, build_model
from sparsecode.records import Batch, Event
from sparsecode.solvers.checks import above_zero, whole
from sparsecode.train.optim import Adam, Optim
from sparsecode.train.plan import Train
from sparsecode.train.session import Options, TrainingSession
from sparsecode.train.steps import steps_for

__all__ = ["EXPANSION", "NetworkTransformer", "atoms_of"]

EXPANSION = 4  # codes per feature by default
EPOCHS, STEPS = 20.0, 1000  # passes over the samples, and steps at least, by default
VALIDATED = 2000  # training samples that validation looks at, unless some are set apart
ENDLESS = 1e12  # epochs of a training that is continued batch by batch
MEASURED = Evaluate(sigmas=(), measures=(Scores(),), validation=(Scores(),))


class NetworkTransformer(SparseTransformer):
    """Codes by a model that `sparsecode.fit` trains on scaled samples, in float32."""

    n_components: int | None
    scaler: str
    epochs: float | None
    batch_size: int | None
    learning_rate: float
    patience: int | None
    device: str
    verbose: bool
    random_state: Any
    model_: AbstractSparseModel
    history_: list[dict[str, Any]]
    n_iter_: int

    @abstractmethod
    def _spec(self, n_features: int) -> ModelSpec:
        """The config of the model."""

    def _n_code(self, default: int) -> int:
        return default if self.n_components is None else whole("n_components", self.n_components)

    @property
    def _n_features_out(self) -> int:
        return self.model_.n_code

    @property
    def _scale(self) -> Tensor:
        return self.model_.state_dict()["normaliser.scale"]

    def _codes(self, x: Array) -> Array:
        with torch.no_grad():
            return self.model_.encode(_float32(x))

    def _samples(self, z: Array) -> Array:
        with torch.no_grad():
            device = next(self.model_.parameters()).device
            decoded = self.model_.decode(torch.as_tensor(_float32(z)).to(device))
            return self._like(self.model_.denormalise(decoded), z)

    def _model(self) -> AbstractSparseModel:
        return self.model_

    def _adopt(self, model: AbstractSparseModel) -> None:
        self.model_ = model
        self.n_components = model.n_code
        self.history_ = []
        self.n_iter_ = 0
        self.__dict__.pop("_session", None)

    @with_callbacks
    def fit(self, X: Array, y: Any = None) -> Self:
        """Train on samples X [n_samples, n_features], at least 2. `y` is ignored.

        With `patience` a tenth of the samples validates; else all train, and the first 2000 of them are what is measured.
        """
        x = _held_by_float32(self._checked(X, least=2))
        spec, seed = self._spec(x.shape[1]), self._seed()
        size = batch_size_for(len(x)) if self.batch_size is None else min(whole("batch_size", self.batch_size), len(x))
        per_epoch = max(1, len(x) // size)
        epochs = max(EPOCHS, STEPS / per_epoch) if self.epochs is None else above_zero("epochs", self.epochs)
        task = FitTask(self, math.ceil(epochs))
        task.begin(X=X, y=y)

        def watch(event: Event, /) -> str | None:
            model = event.model
            if event.kind != "evaluate" or not isinstance(model, AbstractSparseModel):
                return None
            task.begin_epoch()
            stop = task.end_epoch(lambda: {"model_": _frozen(model), "n_iter_": event.step, **self._sizes})
            return "a callback" if stop else None

        result = fit(
            spec,
            x,
            valid=0.1 if self.patience is not None else x[:VALIDATED],
            train=self._plan(epochs, size),
            optim=self._optim(spec, x.shape[1]),
            seed=seed,
            device=self.device,
            progress=self.verbose,
            evaluate=MEASURED,
            observers=[watch],
        )
        self.model_, self.history_, self.n_iter_ = result.model, result.history, result.state.step
        self.__dict__.pop("_session", None)
        task.end()
        return self

    def partial_fit(self, X: Array, y: Any = None) -> Self:
        """One step on the batch X, of a model that the first call makes, or of the fitted one. `y` is ignored.

        The first batch sets the scaling. A copy or a pickle continues with the weights, and with new moments of Adam.
        """
        begun = hasattr(self, "model_")
        rows = _float32(self._checked(X, "partial_fit")) if begun else _held_by_float32(self._checked(X, least=2))
        x = rows if isinstance(rows, Tensor) else torch.tensor(rows)  # a copy: frames lend read-only arrays
        session: TrainingSession | None = getattr(self, "_session", None)
        if session is None:
            spec = self._steady(self.model_.spec if begun else self._spec(x.shape[1]))
            model = build_model(spec, (x.shape[1],), self._seed())
            split = Split(x)
            splits = Splits(split, split, split, float(x.min()), float(x.max()))
            plan = Train(epochs=ENDLESS, batch_size=len(x), select="last")
            options: Options = {"start": partial(_copy_, source=self.model_)} if begun else {}
            session = TrainingSession(model, splits, self._optim(spec, x.shape[1]), plan, self._seed(), options)
            self.history_, self.n_iter_ = getattr(self, "history_", []), getattr(self, "n_iter_", 0)
        self._session = session
        session.model.train()
        session.run([Batch(x)], steps_for(session), lambda: None)
        self.model_ = session.model.eval()
        self.n_iter_ += 1
        return self

    def _steady(self, spec: Any) -> ModelSpec:
        """The config without schedules, for a training of unknown length."""
        return spec

    def _plan(self, epochs: float, size: int) -> Train:
        select = "last" if self.patience is None else "encode/explained_variance"
        patience = None if self.patience is None else whole("patience", self.patience)
        return Train(epochs=epochs, batch_size=size, select=select, patience=patience)

    def _optim(self, spec: ModelSpec, n_features: int) -> Optim:
        adam = Adam(lr=above_zero("learning_rate", self.learning_rate))
        return default_optim(spec, build_model(spec, (n_features,), 0), adam)

    @property
    def _sizes(self) -> dict[str, Any]:
        return {"n_features_in_": self.n_features_in_}

    def __getstate__(self) -> Any:
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_session"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _float32(x: Array) -> Array:
    return x.float() if isinstance(x, Tensor) else np.ascontiguousarray(x, np.float32)


def _held_by_float32(x: Array) -> Array:
    """Training samples in float32. Raises ValueError if a feature then has another standard deviation."""
    given, rounded = (
        torch.as_tensor(np.array(x) if isinstance(x, np.ndarray) else x).double(),
        torch.as_tensor(_float32(x)),
    )
    before, after = given.std(dim=0, correction=0), rounded.double().std(dim=0, correction=0)
    wrong = ~((after - before).abs() <= 1e-3 * before)
    if bool(wrong.any()):
        j = int(wrong.int().argmax())
        raise ValueError(
            f"feature {j} has mean {float(given[:, j].mean()):g} and standard deviation {float(before[j]):.3g}, which float32, in which "
            "networks are trained, cannot hold; subtract its mean and rescale it first, as by sklearn.preprocessing.StandardScaler"
        )
    return _float32(x)


def _frozen(model: AbstractSparseModel) -> AbstractSparseModel:
    """A copy of a model in evaluation mode."""
    return copy.deepcopy(model).eval()


def _copy_(model: AbstractSparseModel, source: AbstractSparseModel) -> None:
    model.load_state_dict(source.state_dict())


def atoms_of(model: AbstractSparseModel) -> Any:
    """The atoms of a decoder that is a dictionary. Raises AttributeError for others."""
    if not has_activation(model) or model.dictionary is None:
        raise AttributeError("this model's decoder is no dictionary; use inverse_transform")
    return model.dictionary.atoms.detach().cpu().numpy()
