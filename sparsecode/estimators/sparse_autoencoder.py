"""`SparseAutoencoder`: a sparse autoencoder as a transformer."""

from __future__ import annotations

from typing import Any

from sparsecode.estimators.networks import EXPANSION, NetworkTransformer, atoms_of
from sparsecode.estimators.scaling import scaler_named
from sparsecode.losses import AuxK, Sparsity, TargetL0, Term
from sparsecode.models.amortised import Amortised
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_activation
from sparsecode.nn.activations import Activation, BatchTopK, JumpReLU, ReLU, TopK
from sparsecode.nn.affine import BiasedDictionary
from sparsecode.penalties import L0, L1
from sparsecode.solvers.checks import whole

__all__ = ["SparseAutoencoder"]


class SparseAutoencoder(NetworkTransformer):
    """A sparse autoencoder as a transformer: z = activation(W (x - b) + c), x_hat = z D + b, of scaled samples x.

    Parameters
    ----------
    n_components: number of codes. None: four times the number of features.
    k: active codes per sample. None: an eighth of the codes, at most 32. Exact for "topk", a mean over samples for the others.
    activation: "topk", "batch_topk", "jumprelu" or "relu" (with L1, its weight adapted to k active codes), or an activation of
        `sparsecode.nn`, with which `k` is unused.
    scaler: "features" (a mean and a standard deviation for each feature), "centre" (means, one scale for all), "global" (one mean
        and one scale for all) or "none".
    epochs: passes over the samples. None: 20, and at least 1000 steps. batch_size: None: 256, or fewer for few samples.
    learning_rate: of Adam. patience: None, or end after so many epochs in which the explained variance of a held-out tenth has not risen.
    device: "auto" (CUDA where there is one), "cpu" or "cuda". verbose: show a progress bar.
    sparse_output: codes as `scipy.sparse.csr_array`. random_state: of weights, order and splits.

    Attributes
    ----------
    model_: the trained `sparsecode.models.AmortisedModel`. components_ [n_components, n_features]: atoms, for scaled samples.
    history_: records of training and validation. n_iter_: steps. n_features_in_, feature_names_in_: as in all estimators.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sparsecode import SparseAutoencoder
    >>> codes = SparseAutoencoder(32, k=4, epochs=5, random_state=0).fit_transform(load_wine().data)
    >>> int((codes != 0).sum(1).max())
    4
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        k: int | None = None,
        activation: str | Activation = "topk",
        scaler: str = "features",
        epochs: float | None = None,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        patience: int | None = None,
        device: str = "auto",
        verbose: bool = False,
        sparse_output: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.k = k
        self.activation = activation
        self.scaler = scaler
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.device = device
        self.verbose = verbose
        self.sparse_output = sparse_output
        self.random_state = random_state

    def _spec(self, n_features: int) -> Amortised:
        n_code = self._n_code(EXPANSION * n_features)
        activation, terms = self._activation(n_code)
        return Amortised(
            n_code=n_code,
            activation=activation,
            terms=terms,
            normaliser=scaler_named(self.scaler),
            decoder=BiasedDictionary(bias="zero"),
        )

    def _activation(self, n_code: int) -> tuple[Activation, tuple[Term, ...]]:
        if not isinstance(self.activation, str):
            return self.activation, ()
        k = max(1, min(32, n_code // 8)) if self.k is None else whole("k", self.k)
        if k > n_code:
            raise ValueError(f"k is {k}; expected at most n_components = {n_code}")
        adapted = TargetL0(l0=float(k))
        known: dict[str, tuple[Activation, tuple[Term, ...]]] = {
            "topk": (TopK(k=k), (AuxK(),)),
            "batch_topk": (BatchTopK(k=k), (AuxK(),)),
            "jumprelu": (JumpReLU(threshold=0.5, bandwidth=0.5), (Sparsity(L0(), weight=0.5, target_l0=adapted),)),
            "relu": (ReLU(), (Sparsity(L1(positive=True), target_l0=adapted),)),
        }
        if self.activation not in known:
            raise ValueError(
                f"activation is {self.activation!r}; choose from {', '.join(known)}, or an activation of sparsecode.nn"
            )
        return known[self.activation]

    @property
    def components_(self) -> Any:
        """Atoms [n_components, n_features], for scaled samples."""
        return atoms_of(self.model_)

    def _adopt(self, model: AbstractSparseModel) -> None:
        if not has_activation(model):
            raise ValueError(f"a model of kind {type(model).__name__}; expected an autoencoder")
        super()._adopt(model)
        self.activation = model.spec.activation
