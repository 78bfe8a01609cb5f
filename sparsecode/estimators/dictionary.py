"""`SparseDictionary`: a learned dictionary and codes in it as a transformer."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch

from sparsecode.estimators.base import Array, FitTask, with_callbacks, zero_missing
from sparsecode.estimators.coder import DictionaryTransformer
from sparsecode.estimators.scaling import scaler_named
from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.rng import generator
from sparsecode.penalties import Proximal
from sparsecode.solvers.checks import whole
from sparsecode.solvers.dictionary import DictionaryFit, learn_dictionary

__all__ = ["SparseDictionary"]

CERTIFIED = 2048  # training samples whose codes are solved for at the end of a fit


class SparseDictionary(DictionaryTransformer):
    """A learned dictionary and sparse codes in it: `learn_dictionary` and `sparse_encode` as a transformer.

    min over D and z_i of the mean of 1/2 |x_i - z_i D|^2 + alpha |z_i|_1, atoms of norm 1, of scaled samples x_i: with the default
    `scaler` each feature has mean 0 and standard deviation 1, so that tables of mixed units can be given as they are.

    Parameters
    ----------
    n_components: number of atoms. None: the number of features.
    alpha: penalty weight > 0, in the units of the scaled samples.
    n_nonzero: None, or `transform` by orthogonal matching pursuit with this many atoms; learning uses `alpha` all the same.
    scaler: "features" (a mean and a standard deviation for each feature), "centre" (means, one scale for all), "global" (one mean
        and one scale for all) or "none".
    positive: codes are >= 0. penalty: another shape than |z|_1, from `sparsecode.penalties`.
    batch_size: samples per step. epochs: passes over the samples. None: 10, and at least 300 steps.
    tol, max_steps: of `transform`: a code stops at this duality gap relative to 1/2 |x|^2, or after this many steps (None: 10 000).
    missing: "nan": NaN entries are missing: scaling, atoms and codes are those of the others. None: they are refused.
    sparse_output: codes as `scipy.sparse.csr_array`. random_state: of the order of samples and of the first atoms.

    Attributes
    ----------
    components_ [n_components, n_features]: atoms, for scaled samples. mean_, scale_ [n_features]: of the scaling.
    history_ [n_iter_]: mean objective of each batch before its step. n_iter_: steps.
    gap_, objective_: largest relative duality gap and mean objective of the codes of the training samples (of the first 2048).

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sparsecode import SparseDictionary
    >>> x = load_wine().data  # 13 features in different units
    >>> codes = SparseDictionary(20, alpha=0.5, random_state=0).fit_transform(x)
    >>> codes.shape
    (178, 20)
    """

    history_: Array
    n_iter_: int
    gap_: float
    objective_: float

    def __init__(
        self,
        n_components: int | None = None,
        *,
        alpha: float = 1.0,
        n_nonzero: int | None = None,
        scaler: str = "features",
        positive: bool = False,
        penalty: Proximal | None = None,
        batch_size: int = 256,
        epochs: float | None = None,
        tol: float = 1e-4,
        max_steps: int | None = None,
        missing: str | None = None,
        sparse_output: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.alpha = alpha
        self.n_nonzero = n_nonzero
        self.scaler = scaler
        self.positive = positive
        self.penalty = penalty
        self.batch_size = batch_size
        self.epochs = epochs
        self.tol = tol
        self.max_steps = max_steps
        self.missing = missing
        self.sparse_output = sparse_output
        self.random_state = random_state

    @with_callbacks
    def fit(self, X: Array, y: Any = None) -> Self:
        """Learn a dictionary of samples X [n_samples, n_features], at least 2. `y` is ignored."""
        x = self._checked(X, least=2)
        self._set_scaler(x)
        x = self._scaled(x)
        size, seed = min(whole("batch_size", self.batch_size), len(x)), self._seed()
        per_epoch = len(x) // size
        task = FitTask(self, None if self.epochs is None else math.ceil(self.epochs))
        task.begin(X=X, y=y)

        def after_step(result: DictionaryFit[Any]) -> bool:
            task.begin_epoch()
            if result.steps % per_epoch:
                return False
            return task.end_epoch(lambda: self._fitted(result))

        first = self._first_atoms(x, seed)
        result = learn_dictionary(
            x, **self._problem(first), batch_size=size, epochs=self.epochs, seed=seed, callback=after_step
        )
        task.end_epoch(lambda: self._fitted(result))
        self._finish(result, x[:CERTIFIED])
        self._follow(X)
        task.end()
        return self

    def partial_fit(self, X: Array, y: Any = None) -> Self:
        """One step on the batch X. The first batch sets the scaling and the first atoms. `y` is ignored."""
        begun = hasattr(self, "_state")
        x = self._checked(X, "partial_fit") if begun else self._checked(X, least=2)
        if not begun:
            self._set_scaler(x)
        x = self._scaled(x)
        first = None if begun else self._first_atoms(x, self._seed())
        resume = getattr(self, "_state", None)
        self._finish(learn_dictionary([x], **self._problem(first), resume=resume), x[:CERTIFIED])
        self._follow(X)
        return self

    def _problem(self, first: Array | None) -> dict[str, Any]:
        n_code = self._n_features_out if first is None else len(first)
        init = {} if first is None else {"init": first}
        return {
            "n_code": n_code,
            "alpha": self.alpha,
            "positive": self.positive,
            "penalty": self.penalty,
            "missing": self.missing,
            **init,
        }

    def _set_scaler(self, x: Array) -> None:
        rows = torch.tensor(x) if isinstance(x, np.ndarray) else x  # a copy: frames lend read-only arrays
        scaler = scaler_named(self.scaler).build((rows.shape[1],)).to(rows)
        if self.missing is None:
            scaler.initialise_(rows)
            self.mean_, self.scale_ = self._like(scaler.shift, x), self._like(scaler.scale, x)
            return
        seen = ~rows.isnan()
        count = seen.sum(dim=0)
        if not bool(count.all()):
            raise ValueError(
                f"feature {int(count.argmin())} has no observed value in the {len(rows)} samples; expected one at least: leave it out, or "
                "begin with samples that have it"
            )
        full = torch.where(seen, rows, zero_missing(rows).sum(dim=0) / count)
        scaler.initialise_(full)
        # Means in place of missing entries leave the mean as it is and lower the variance.
        share = seen.sum(dim=0) / len(rows) if self.scaler == "features" else seen.to(rows).mean()
        varies = (full.amax(dim=0) > full.amin(dim=0)) & (self.scaler != "none")
        self.mean_ = self._like(scaler.shift, x)
        self.scale_ = self._like(
            torch.where(varies, scaler.scale / share.clamp(min=1 / len(rows)).sqrt(), scaler.scale), x
        )

    def _first_atoms(self, x: Array, seed: int) -> Array:
        """Samples in a random order; random directions where these are too few."""
        n_code = x.shape[1] if self.n_components is None else whole("n_components", self.n_components)
        rows, rng = torch.as_tensor(zero_missing(x)), generator(seed, "atoms")  # 0 is the mean of scaled samples
        rows = rows[torch.randperm(len(rows), generator=rng).to(rows.device)]
        rows = rows[rows.square().sum(dim=1) > torch.finfo(rows.dtype).eps][:n_code]
        more = torch.randn(n_code - len(rows), x.shape[1], generator=rng, dtype=torch.float64).to(rows)
        return self._like(torch.cat([rows, more]), x)

    def _fitted(self, result: DictionaryFit[Any]) -> dict[str, Any]:
        """The fitted attributes after the steps so far."""
        return {
            "components_": result.atoms * 1,  # a copy: learning goes on in place
            "mean_": self.mean_,
            "scale_": self.scale_,
            "n_iter_": result.steps,
            "history_": result.objective,
            "n_features_in_": self.n_features_in_,
        }

    def _finish(self, result: DictionaryFit[Any], x: Array) -> None:
        for name, value in self._fitted(result).items():
            setattr(self, name, value)
        self._state = result
        solution = self._solved(x)
        self.gap_, self.objective_ = float(solution.gap.max()), float(solution.objective.mean())

    def _adopt(self, model: AbstractSparseModel) -> None:
        super()._adopt(model)
        self.n_components = self._n_features_out
        self.__dict__.pop("_state", None)
