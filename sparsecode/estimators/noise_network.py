"""`NoiseSparseNetwork`: a network that noise makes sparse, as a transformer."""

from __future__ import annotations

from typing import Any

from sparsecode.estimators.networks import EXPANSION, NetworkTransformer, atoms_of
from sparsecode.estimators.scaling import scaler_named
from sparsecode.models.amortised import Amortised
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_activation
from sparsecode.nn.activations import Activation, ReLU
from sparsecode.nn.affine import Affine, BiasedDictionary
from sparsecode.nn.constraints import Free
from sparsecode.nn.noises import GaussianNoise
from sparsecode.solvers.checks import above_zero

__all__ = ["NoiseSparseNetwork"]


class NoiseSparseNetwork(NetworkTransformer):
    """A network of one hidden layer that becomes sparse because its input is noisy, as a transformer.

    Trained to reconstruct scaled samples x from x + sigma e, e standard normal: x_hat = W2 relu(W1 (x + sigma e) + b1) + b2. The larger
    sigma, the fewer units are active. Codes are those of the clean sample.
    Source: Bricken, Schaeffer, Olshausen & Kreiman, ICML 2023.

    Parameters
    ----------
    n_components: number of hidden units. None: four times the number of features.
    sigma: standard deviation of the noise, in units of the scaled samples; 0 for none.
    activation: None for ReLU, or an activation of `sparsecode.nn`.
    scaler, epochs, batch_size, learning_rate, patience, device, verbose, sparse_output, random_state: as in `SparseAutoencoder`.

    Attributes
    ----------
    model_: the trained `sparsecode.models.AmortisedModel`. components_ [n_components, n_features]: rows of W2, for scaled samples.
    history_: records of training and validation. n_iter_: steps. n_features_in_, feature_names_in_: as in all estimators.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sparsecode import NoiseSparseNetwork
    >>> x = load_wine().data
    >>> NoiseSparseNetwork(32, sigma=0.8, epochs=5, random_state=0).fit_transform(x).shape
    (178, 32)
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        sigma: float = 0.8,
        activation: Activation | None = None,
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
        self.sigma = sigma
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
        noise = GaussianNoise(sigma=above_zero("sigma", self.sigma)) if self.sigma else None
        return Amortised(
            n_code=self._n_code(EXPANSION * n_features),
            activation=self.activation or ReLU(),
            corruption=noise,
            normaliser=scaler_named(self.scaler),
            encoder=Affine(centred=False, start="uniform"),
            decoder=BiasedDictionary(constraint=Free(), bias="zero", start="uniform"),
        )

    @property
    def components_(self) -> Any:
        """Rows of W2 [n_components, n_features], for scaled samples."""
        return atoms_of(self.model_)

    def _adopt(self, model: AbstractSparseModel) -> None:
        if not has_activation(model):
            raise ValueError(
                f"a model of kind {type(model).__name__}; expected a network with an encoder and a decoder"
            )
        super()._adopt(model)
        self.activation = model.spec.activation
