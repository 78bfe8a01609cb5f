"""`VariationalSparseCoder`: variational sparse coding as a transformer."""

from __future__ import annotations

from typing import Any

import msgspec

from sparsecode.estimators.networks import NetworkTransformer
from sparsecode.estimators.scaling import scaler_named
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_posterior
from sparsecode.models.variational import Variational
from sparsecode.nn.likelihoods import Normal
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import Gaussian, SpikeSlab
from sparsecode.nn.priors import SpikeSlabPrior, StandardNormal
from sparsecode.schedules import Linear
from sparsecode.solvers.checks import above_zero

__all__ = ["VariationalSparseCoder"]


class VariationalSparseCoder(NetworkTransformer):
    """Variational sparse coding as a transformer: q(z | x) and p(x | z) are networks, the prior has spikes at 0.

    The code of a sample is the posterior's mode: mu_j where gamma_j > 1/2, exactly 0 elsewhere. Samples are scaled, their likelihood is
    normal. Source: Tonolini, Jensen & Murray-Smith, UAI 2019.

    Parameters
    ----------
    n_components: number of codes. None: the number of features.
    alpha: share of active codes under the prior, 0 < alpha < 1; None for a variational autoencoder, whose codes are dense.
    beta: weight of the divergence beside the negative log likelihood.
    hidden: units of each hidden layer of the encoder; the decoder is its mirror image.
    sigma: standard deviation of the likelihood, in units of the scaled samples.
    scaler, epochs, batch_size, learning_rate, patience, device, verbose, sparse_output, random_state: as in `SparseAutoencoder`.

    Attributes
    ----------
    model_: the trained `sparsecode.models.VariationalModel`. history_: records of training and validation. n_iter_: steps.
    n_features_in_, feature_names_in_: as in all estimators.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sparsecode import VariationalSparseCoder
    >>> x = load_wine().data
    >>> VariationalSparseCoder(8, epochs=5, random_state=0).fit_transform(x).shape
    (178, 8)
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        alpha: float | None = 0.2,
        beta: float = 1.0,
        hidden: tuple[int, ...] = (128,),
        sigma: float = 0.5,
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
        self.alpha = alpha
        self.beta = beta
        self.hidden = hidden
        self.sigma = sigma
        self.scaler = scaler
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.device = device
        self.verbose = verbose
        self.sparse_output = sparse_output
        self.random_state = random_state

    def _spec(self, n_features: int) -> Variational:
        beta = above_zero("beta", self.beta)
        spike = self.alpha is not None
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise ValueError(
                f"alpha is {self.alpha}; expected the share of active codes, a number above 0 and below 1, or None"
            )
        return Variational(
            n_code=self._n_code(n_features),
            posterior=SpikeSlab() if spike else Gaussian(),
            prior=StandardNormal() if self.alpha is None else SpikeSlabPrior(alpha=self.alpha),
            likelihood=Normal(sigma=above_zero("sigma", self.sigma)),
            net=Perceptron(hidden=tuple(self.hidden)),
            slab_weight=beta,
            spike_weight=Linear(start=0.0, stop=beta, length=0.5, unit="fraction") if spike else beta,
            normaliser=scaler_named(self.scaler),
        )

    def _steady(self, spec: Any) -> Variational:
        return msgspec.structs.replace(spec, slab_weight=float(self.beta), spike_weight=float(self.beta))

    def _adopt(self, model: AbstractSparseModel) -> None:
        if not has_posterior(model):
            raise ValueError(f"a model of kind {type(model).__name__}; expected a variational one")
        super()._adopt(model)
