"""`SparseCoder`: sparse codes in a fixed dictionary as a transformer; what it shares with `SparseDictionary`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from sparsecode.estimators.base import Array, SparseTransformer, like_input
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_solver
from sparsecode.models.inference import Inference
from sparsecode.models.iterative import Iterative
from sparsecode.nn.decoders import LinearDictionary
from sparsecode.nn.normalisers import StandardiseFeatures, Whiten
from sparsecode.ops.arrays import matrix, native
from sparsecode.ops.csr import CSR, scipy_csr
from sparsecode.penalties import L1, Proximal
from sparsecode.records import Solution
from sparsecode.solvers.encode import sparse_encode
from sparsecode.solvers.omp import omp_encode

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["DictionaryTransformer", "SparseCoder"]

CERTIFIED = 2048  # training samples whose codes are solved for at the end of a fit


class DictionaryTransformer(SparseTransformer):
    """Codes of (x - mean_) / scale_ in the dictionary `components_`."""

    alpha: float | Array
    n_nonzero: int | None
    positive: bool
    penalty: Proximal | None
    tol: float
    max_steps: int | None
    components_: Array
    mean_: Array
    scale_: Array

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    @property
    def _scale(self) -> Array:
        return self.scale_

    def _codes(self, x: Array, out: Any = None) -> Array:
        x = self._scaled(x)
        if self.n_nonzero is None:
            return self._solved(x, out).z
        atoms = self._like(self.components_, x)
        return omp_encode(x, atoms, self.n_nonzero, positive=self.positive, missing=self.missing, out=out)

    def _sparse_codes(self, x: Array) -> csr_array:
        codes = self._codes(x, CSR)
        return scipy_csr(codes) if isinstance(codes, Tensor) else codes

    def _solved(self, x: Array, out: Any = None) -> Solution[Any]:
        return sparse_encode(
            x,
            self._like(self.components_, x),
            self.alpha,
            positive=self.positive,
            penalty=self.penalty,
            tol=self.tol,
            max_steps=self.max_steps,
            missing=self.missing,
            out=out,
            return_solution=True,
        )

    def _scaled(self, x: Array) -> Array:
        return (x - self._like(self.mean_, x)) / self._like(self.scale_, x)

    def _samples(self, z: Array) -> Array:
        return (z @ self._like(self.components_, z)) * self._like(self.scale_, z) + self._like(self.mean_, z)

    def _follow(self, X: Array) -> None:
        """Turn fitted arrays into the kind that X is."""
        for name in ("components_", "mean_", "scale_", "history_"):
            if hasattr(self, name):
                setattr(self, name, like_input(getattr(self, name), X))

    def _model(self) -> AbstractSparseModel:
        if np.ndim(self.alpha):
            raise ValueError(
                f"alpha has shape {np.shape(self.alpha)}, and model folders hold one weight; expected a number to save the coder"
            )
        if self.n_nonzero is not None:
            raise ValueError(
                f"n_nonzero is {self.n_nonzero}, and model folders hold no orthogonal matching pursuit; expected None: "
                "pickle the estimator instead"
            )
        penalty = self.penalty or L1(positive=self.positive)
        spec = Iterative(
            n_code=self._n_features_out,
            weight=float(self.alpha),
            encoder=None,
            normaliser=StandardiseFeatures(),
            decoder=LinearDictionary(),
            penalty=penalty,
            inference=Inference(start="zero", tol=self.tol, max_steps=self.max_steps or 10_000),
        )
        tensors = {"normaliser.shift": self.mean_, "normaliser.scale": self.scale_, "decoder.atoms": self.components_}
        like = torch.zeros(0, dtype=torch.float64 if "64" in str(self.components_.dtype) else torch.float32)
        given = {name: self._like(value, like).contiguous() for name, value in tensors.items()}
        model = spec.build((self.n_features_in_,), 0).to(like)
        model.load_state_dict({**model.state_dict(), **given})
        return model.eval()

    def _adopt(self, model: AbstractSparseModel) -> None:
        if not has_solver(model) or not isinstance(model.spec.decoder, LinearDictionary):
            raise ValueError(f"a model of kind {type(model).__name__}; expected a linear dictionary with solved codes")
        if isinstance(model.spec.normaliser, Whiten):
            raise ValueError("its normaliser is 'whiten', a matrix; expected a mean and a scale per feature")
        arrays = {name: value.numpy() for name, value in model.state_dict().items()}
        self.mean_, self.scale_ = arrays["normaliser.shift"], arrays["normaliser.scale"]
        self.components_ = arrays["decoder.atoms"]
        self.alpha, self.penalty, self.positive = float(model.weight), model.spec.proximal, False
        self.tol, self.max_steps = model.spec.inference.tol, model.spec.inference.max_steps


class SparseCoder(DictionaryTransformer):
    """Sparse codes in a fixed dictionary: `sparse_encode`, or `omp_encode` with `n_nonzero`, as a transformer.

    Parameters
    ----------
    dictionary: atoms in rows [n_components, n_features]. None: an orthonormal cosine basis (DCT-II), for which codes are those of a
        soft threshold.
    alpha: penalty weight > 0, or one per atom [n_components], as in `sparse_encode`.
    n_nonzero: None, or this many atoms per sample, by orthogonal matching pursuit; `alpha` and `penalty` are then unused.
    positive: codes are >= 0. penalty: another shape than |z|_1, from `sparsecode.penalties`.
    tol, max_steps: a code stops at this duality gap relative to 1/2 |x|^2, or after this many steps (None: 10 000).
    missing: "nan": NaN entries are missing, and codes explain the others. None: they are refused.
    sparse_output: codes as `scipy.sparse.csr_array`.

    Attributes
    ----------
    components_: the dictionary. n_features_in_, feature_names_in_: as in all estimators.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsecode import SparseCoder
    >>> SparseCoder(np.eye(3), alpha=0.5).fit_transform(np.array([[2.0, -1.0, 0.25], [0.0, 0.0, 3.0]]))
    array([[ 1.5, -0.5,  0. ],
           [ 0. ,  0. ,  2.5]])
    """

    def __init__(
        self,
        dictionary: Any = None,
        *,
        alpha: float | Array = 1.0,
        n_nonzero: int | None = None,
        positive: bool = False,
        penalty: Proximal | None = None,
        tol: float = 1e-4,
        max_steps: int | None = None,
        missing: str | None = None,
        sparse_output: bool = False,
    ) -> None:
        self.dictionary = dictionary
        self.alpha = alpha
        self.n_nonzero = n_nonzero
        self.positive = positive
        self.penalty = penalty
        self.tol = tol
        self.max_steps = max_steps
        self.missing = missing
        self.sparse_output = sparse_output

    def fit(self, X: Array, y: Any = None) -> Self:
        """Check the dictionary against samples X, from which nothing is learned. `y` is ignored."""
        x = self._checked(X)
        n = x.shape[1]
        if self.dictionary is None:
            from scipy.fft import idct

            self.components_ = idct(np.eye(n), norm="ortho", axis=1)
        else:
            atoms: Any = self.dictionary
            if not isinstance(atoms, Tensor):
                atoms = np.asarray(atoms)
                atoms = atoms.astype(np.float64) if atoms.dtype.kind in "iub" else atoms
            self.components_ = native(matrix("dictionary", atoms))
        self.mean_, self.scale_ = self._like(np.zeros(n), x), self._like(np.ones(n), x)
        self._codes(x[:1])  # refuses other shapes and parameters now
        self._follow(X)
        return self

    def _adopt(self, model: AbstractSparseModel) -> None:
        super()._adopt(model)
        self.dictionary = self.components_
