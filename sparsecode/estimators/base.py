"""What all estimators share: checks of samples, kinds of arrays, sparse output, explained variance, callbacks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from sparsecode.init_from import model_at
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.storage import provenance_of, save_model
from sparsecode.ops.csr import CSRRows
from sparsecode.specs import SEEDS
from sparsecode.version import __version__

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from sklearn.callback import CallbackSupportMixin, with_callbacks
else:
    try:  # from scikit-learn 1.9 on
        from sklearn.callback import CallbackSupportMixin, with_callbacks
    except ImportError:

        class CallbackSupportMixin:
            """No callbacks."""

        def with_callbacks(method):
            """The method as it is."""
            return method


__all__ = ["Array", "FitTask", "SparseTransformer", "like_input", "with_callbacks", "zero_missing"]

CHUNK = 2048  # rows encoded together for sparse output
Array = Any  # a NumPy array, or a torch tensor under scikit-learn's array API dispatch


class SparseTransformer(CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base class: samples [n_samples, n_features] -> codes [n_samples, n_components], and back."""

    sparse_output: bool
    n_features_in_: int
    missing: str | None = None  # "nan": NaN entries of samples are missing

    @abstractmethod
    def _codes(self, x: Array) -> Array:
        """Codes of checked samples."""

    def _sparse_codes(self, x: Array) -> csr_array:
        """Codes of checked samples; those of `CHUNK` rows at a time are dense."""
        kept = CSRRows(self._n_features_out, torch.float32)
        for start in range(0, len(x), CHUNK):
            kept.append(torch.as_tensor(self._codes(x[start : start + CHUNK])).cpu())
        return kept.result()

    @abstractmethod
    def _samples(self, z: Array) -> Array:
        """Samples of checked codes, in the units of the data."""

    @property
    @abstractmethod
    def _n_features_out(self) -> int: ...

    @property
    @abstractmethod
    def _scale(self) -> Array:
        """The standard deviation of each feature, in whose units errors are compared by `score`."""

    @abstractmethod
    def _model(self) -> AbstractSparseModel:
        """The fitted model, as `sparsecode.load_model` returns it."""

    @abstractmethod
    def _adopt(self, model: AbstractSparseModel) -> None:
        """Set the fitted attributes to those of a model. Raises ValueError for one of another kind."""

    def transform(self, X: Array) -> Array:
        """Codes [n_samples, n_components] of samples X [n_samples, n_features].

        In the floating-point type of X (float32 of networks); a tensor for a tensor under `sklearn.config_context(array_api_dispatch=True)`;
        `scipy.sparse.csr_array` with `sparse_output`.
        """
        check_is_fitted(self)
        x = self._checked(X, "transform")
        return self._sparse_codes(x) if self.sparse_output else like_input(self._codes(x), X)

    def inverse_transform(self, X: Array) -> Array:
        """Samples [n_samples, n_features] that codes X [n_samples, n_components] decode to, in the units of the data."""
        check_is_fitted(self)
        z = X.toarray() if hasattr(X, "toarray") else X
        z = z if isinstance(z, Tensor) else _as_numpy(z)
        z = z if _floating(z) else np.asarray(z, np.float64)
        if z.ndim != 2 or z.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has shape {tuple(z.shape)}; expected codes [n_samples, n_components] with n_components = {self._n_features_out}"
            )
        return like_input(self._samples(z), X)

    def score(self, X: Array, y: Any = None) -> float:
        """Explained variance of samples X: 1 - sum |x - x_hat|^2 / sum |x - mean|^2, each feature divided by its `scale_`.

        1 is a perfect reconstruction, 0 that by the mean of X. Missing entries are left out. `y` is ignored.
        """
        check_is_fitted(self)
        x = self._checked(X, "score")
        error = zero_missing(x - self._samples(self._codes(x))) / self._like(self._scale, x)
        mean = (
            x.mean(0) if self.missing is None else zero_missing(x).sum(0) / (x == x).sum(0)
        )  # NaN is not equal to itself
        centred = zero_missing(x - mean) / self._like(self._scale, x)
        total = float((centred * centred).sum())
        return 1.0 - float((error * error).sum()) / total if total else float("nan")

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model to `folder`, from which `from_folder` and `sparsecode.load_model` read it.

        `sparsecode convert` writes it for other libraries. Raises FileExistsError if the folder holds anything.
        """
        check_is_fitted(self)
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty; expected a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        provenance = {"sparsecode": __version__, "estimator": type(self).__name__, "missing": self.missing}
        save_model(self._model(), folder, provenance)
        return folder

    @classmethod
    def from_folder(cls, folder: str | Path, **params: Any) -> Self:
        """A fitted estimator of the model in `folder`: of a run, a model folder, or a file or folder of another library.

        `params` are parameters of the estimator, such as `sparse_output=True`, in place of the model's. Raises FileNotFoundError, or ValueError for a
        model of another kind.
        """
        estimator = cls(**params)
        model = model_at(Path(folder))
        if len(model.shape) != 1:
            raise ValueError(
                f"{folder}: a model of samples of shape {model.shape}; expected one of vectors: use sparsecode.load_model"
            )
        estimator._adopt(model)
        if "missing" in estimator.get_params() and provenance_of(Path(folder)).get("missing") == "nan":
            estimator.set_params(missing="nan")
        estimator.set_params(**params)
        estimator.n_features_in_ = model.shape[0]
        return estimator

    def _checked(self, X: Array, method: str = "", least: int = 1) -> Array:
        """Samples of floating-point numbers, as an array or tensor; of a fit, or for a `method` of the fitted estimator.

        Raises ValueError or TypeError by scikit-learn's rules.
        """
        if isinstance(X, np.ma.MaskedArray):
            remedy = (
                "pass X.filled(np.nan) with missing='nan'"
                if "missing" in self.get_params(deep=False)
                else "fill it first (X.filled(0))"
            )
            raise TypeError(f"X is a masked array; expected one without a mask: {remedy}")
        finite = "allow-nan" if self.missing == "nan" else True
        x: Array = validate_data(self, X, reset=not method, ensure_min_samples=least, ensure_all_finite=finite)
        if get_config()["array_api_dispatch"]:
            space = _namespace(x)
            if not method:
                self._fitted_in = space
            elif getattr(self, "_fitted_in", space) != space:
                raise ValueError(
                    f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same device as those "
                    f"passed to fit(): {space} was given, and fit() had {self._fitted_in}"
                )
        if isinstance(x, Tensor):
            return x if x.is_floating_point() else x.double()
        x = _as_numpy(x)
        return x if _floating(x) else x.astype(np.float32 if x.dtype == np.float16 else np.float64)

    @staticmethod
    def _like(values: Any, x: Array) -> Array:
        """`values` as an array of the kind, type and device of x."""
        if isinstance(x, Tensor):
            return torch.as_tensor(values if isinstance(values, Tensor) else _as_numpy(values)).to(x)
        return _as_numpy(values.detach().cpu() if isinstance(values, Tensor) else values).astype(x.dtype, copy=False)

    def _seed(self) -> int:
        given = getattr(self, "random_state", None)
        try:
            return int(check_random_state(given).randint(np.iinfo(np.int32).max))
        except ValueError:
            raise ValueError(
                f"random_state is {given!r}; expected a whole number from 0 to {SEEDS - 1}, a RandomState of NumPy, or None"
            ) from None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.array_api_support = True
        tags.input_tags.allow_nan = self.missing == "nan"
        return tags


class FitTask:
    """The tasks of a fit as scikit-learn's callbacks see them: `fit`, and one for each epoch."""

    def __init__(self, estimator: SparseTransformer, epochs: int | None) -> None:
        self.estimator = estimator
        begin = getattr(estimator, "_init_callback_context", None)
        self.root = None if begin is None else begin(max_subtasks=epochs)
        self.epoch: Any = None

    def begin(self, **values: Any) -> None:
        """The beginning of the fit."""
        if self.root is not None:
            self.root.call_on_fit_task_begin(estimator=self.estimator, **values)

    def begin_epoch(self) -> None:
        """The beginning of an epoch, if none is open."""
        if self.root is not None and self.epoch is None:
            self.epoch = self.root.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(estimator=self.estimator)

    def end_epoch(self, attributes: Callable[[], Mapping[str, Any]]) -> bool:
        """The end of an epoch; whether a callback asks for the end of the fit. `attributes` are the fitted ones as they are now."""
        if self.epoch is None:
            return False
        epoch, self.epoch = self.epoch, None
        return bool(epoch.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes=attributes))

    def end(self, **values: Any) -> None:
        """The end of the fit."""
        if self.root is not None:
            self.root.call_on_fit_task_end(estimator=self.estimator, **values)


def zero_missing(values: Array) -> Array:
    """`values` with 0 in place of NaN."""
    return torch.nan_to_num(values, nan=0.0) if isinstance(values, Tensor) else np.nan_to_num(values, nan=0.0)


def _floating(z: Array) -> bool:
    return z.is_floating_point() if isinstance(z, Tensor) else z.dtype in (np.float32, np.float64)


def _as_numpy(values: Any) -> Any:
    """An array of any library on the CPU, or a list, as a NumPy array."""
    other = hasattr(values, "__array_namespace__") and not isinstance(values, np.ndarray)
    return np.from_dlpack(values) if other else np.asarray(values)


def _namespace(x: Array) -> str:
    return type(x).__module__.partition(".")[0]


def like_input(result: Array, X: Array) -> Array:
    """A result in the kind of array that X is, under array API dispatch."""
    if not get_config()["array_api_dispatch"] or type(result) is type(X):
        return result
    if isinstance(X, Tensor):
        return torch.as_tensor(result).to(X.device)
    space = getattr(X, "__array_namespace__", None)
    return result if space is None else space().asarray(_as_numpy(result), device=X.device)
