"""What Gaussian input noise adds to the squared error of a rectified one-layer network, in closed form.

With codes h(x) = relu(W (x - c) + b), values D in rows, r = x - decode(h(x)), noise e ~ N(0, sigma^2) and
delta = h(x + e) - h(x):

    E |x - decode(h(x + e))|^2 = |r|^2 - 2 sum_j (r . d_j) E[delta_j] + sum_j |d_j|^2 E[delta_j^2]
                                 + sum_{i != j} (d_i . d_j) E[delta_i delta_j]

in this order residual, mean shift (asks for units clearly on or clearly off), variance (every active unit costs about
sigma^2 |w_j|^2 |d_j|^2) and covariance (units that overlap in key and value cost more). Own derivation; the three parts are
named in Bricken et al., "Emergence of sparse representations from noise", ICML 2023. With all units on the last two come to
sigma^2 |D^T W|_F^2, the contractive penalty (Poole, Sohl-Dickstein & Ganguli, 2014).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import hardshrink

from sparsecode.data.splits import Split
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import one_layer
from sparsecode.nn.activations import ReLU
from sparsecode.specs import Spec

__all__ = [
    "ORDER",
    "Network",
    "NoiseTerms",
    "SampleTerms",
    "covariance_terms",
    "moments",
    "noise_terms",
    "rectified_network",
    "sample_terms",
]

ORDER = 12  # of the series for covariances: duplicates, its worst case, keep a thousandth of theirs
ROWS = 1024  # rows of a matrix [n_code, n_code] at a time
CHUNK = 500  # samples at a time
PRODUCTS = 2.5e8  # multiplications per order; they limit the number of samples of wide models
FEWEST, MOST = 50, 2000
TINY = 1e-30  # what is below it is 0: processors are slow with numbers too small for float32


class Network(NamedTuple):
    """x -> relu(W (x - centre) + bias) D + offset: `keys` W [n_code, n_features], `values` D [n_code, n_features]."""

    keys: Float[Tensor, "k f"]
    bias: Float[Tensor, " k"]
    centre: Float[Tensor, " f"]
    values: Float[Tensor, "k f"]
    offset: Float[Tensor, " f"]


class Moments(NamedTuple):
    """E[delta_j] and E[delta_j^2], [B, n_code], of delta_j = relu(z_j + s_j g) - relu(z_j), g ~ N(0, 1)."""

    first: Tensor
    second: Tensor


class SampleTerms(NamedTuple):
    """The four terms for each sample [B], sums over features; `bound`: the largest error of the covariance's series."""

    residual: Tensor
    mean_shift: Tensor
    variance: Tensor
    covariance: Tensor
    bound: Tensor

    @property
    def total(self) -> Tensor:
        """E |x - decode(h(x + e))|^2 [B]."""
        return self.residual + self.mean_shift + self.variance + self.covariance


class NoiseTerms(Spec, tag="noise_terms"):
    """Means over `n` samples of the four terms at noise `sigma`, in model space, sums over features; `total` is their sum.

    `bound` is the most by which the series for the covariance, cut at `ORDER`, may be off.
    """

    n: int
    sigma: float
    n_features: int
    residual: float
    mean_shift: float
    variance: float
    covariance: float
    total: float
    bound: float


def _density(u: Tensor) -> Tensor:
    return torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi)


def moments(pre: Float[Tensor, "b k"], spread: Float[Tensor, " k"]) -> Moments:
    """`Moments` for pre-activations z [B, n_code] and standard deviations s [n_code] of their noise.

    With u = z / s: E[delta] = s (phi(u) - |u| Phi(-|u|)); E[delta^2] = s^2 (Phi(u) - u phi(u) + u^2 Phi(-u)) for u > 0, else
    s^2 ((1 + u^2) Phi(u) + u phi(u)). Both 0 where s is.
    """
    moving = spread > 0
    u = torch.where(moving, pre / torch.where(moving, spread, 1.0), 0.0)
    density, below, above = _density(u), torch.special.ndtr(-u), torch.special.ndtr(u)
    first = density - u.abs() * torch.special.ndtr(-u.abs())
    on = above - u * density + u.square() * below
    off = (1 + u.square()) * above + u * density
    # far from the threshold both are differences of nearly equal numbers
    return Moments(spread * first.clamp(min=0), spread.square() * torch.where(u > 0, on, off).clamp(min=0))


def covariance_terms(
    pre: Float[Tensor, "b k"],
    keys: Float[Tensor, "k f"],
    values: Float[Tensor, "k o"],
    sigma: float,
    order: int = ORDER,
    products: torch.dtype | None = None,
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """sum_{i != j} (d_i . d_j) E[delta_i delta_j] per sample, and a bound on its error.

    In Hermite polynomials delta_j = sum_m a_m(j) He_m(g_j) / sqrt(m!), so that E[delta_i delta_j] = sum_m a_m(i) a_m(j)
    rho_ij^m with rho_ij the cosine of keys i and j (Mehler's formula): a_0 = E[delta], a_1 = s Phi(u) and
    a_m = s phi(u) He_{m-2}(-u) / sqrt(m!). Each order is a product of matrices. What is left after `order` is at most
    |rho|^(order + 1) sqrt(t_i t_j), t = E[delta^2] - sum_m a_m^2. `products` is their precision, that of `pre` if None.
    """
    spread = sigma * torch.linalg.vector_norm(keys, dim=1)
    moving = spread > 0
    u = torch.where(moving, pre / torch.where(moving, spread, 1.0), 0.0)
    first, second = moments(pre, spread)
    coefficients = [first, spread * torch.special.ndtr(u)]
    before, hermite = torch.zeros_like(u), _density(u)  # phi(u) He_m(-u) / sqrt(m!) for m = -1 and 0
    for m in range(order - 1):
        coefficients.append(spread * hermite / math.sqrt((m + 1) * (m + 2)))
        before, hermite = hermite, (-u * hermite - math.sqrt(m) * before) / math.sqrt(m + 1)
    left = second.clone()
    for a in coefficients:
        left.addcmul_(a, a, value=-1)
    left = left.clamp_(min=0).sqrt_()
    coefficients, left = [hardshrink(a, TINY).to(products) for a in coefficients], left.to(products)
    units, values = torch.nn.functional.normalize(keys, dim=1).to(products), values.to(products)
    result, bound = pre.new_zeros(len(pre)), pre.new_zeros(len(pre))
    for start in range(0, len(keys), ROWS):
        rows = slice(start, start + ROWS)
        cosine, product = units[rows] @ units.T, values[rows] @ values.T
        product.diagonal(start).zero_()
        for a in coefficients:
            result += ((a[:, rows] @ product) * a).sum(dim=1)
            product = hardshrink(product.mul_(cosine), TINY)
        bound += ((left[:, rows] @ product.abs()) * left).sum(dim=1)
    return result, bound


def sample_terms(
    x: Float[Tensor, "b f"],
    network: Network,
    sigma: float,
    order: int = ORDER,
    products: torch.dtype | None = None,
) -> SampleTerms:
    """The terms of each sample x [B, n_features] in model space, in the precision of its dtype (float64 is advised).

    `products` is the precision of the covariance's products, which take most of the time.
    """
    pre = (x - network.centre) @ network.keys.T + network.bias
    residual = x - torch.relu(pre) @ network.values - network.offset
    first, second = moments(pre, sigma * torch.linalg.vector_norm(network.keys, dim=1))
    covariance, bound = covariance_terms(pre, network.keys, network.values, sigma, order, products)
    return SampleTerms(
        residual=residual.square().sum(dim=1),
        mean_shift=-2 * (first * (residual @ network.values.T)).sum(dim=1),
        variance=second @ network.values.square().sum(dim=1),
        covariance=covariance,
        bound=bound,
    )


def rectified_network(model: AbstractSparseModel) -> Network | None:
    """A model's weights in float64 if it is affine, rectified, affine and reconstructs its input; else None."""
    layer = one_layer(model)
    if layer is None:
        return None
    model, encoder = layer
    dictionary, encoder_spec = model.dictionary, encoder.spec
    if dictionary is None or dictionary.spec.output != "linear" or not isinstance(model.spec.activation, ReLU):
        return None
    if encoder_spec.cosine or encoder_spec.positive or model.projection is not None:
        return None
    keys, bias, centre = encoder.map(dictionary)
    return Network(*(w.detach().double() for w in (keys, bias, centre, dictionary.atoms, dictionary.bias)))


@torch.no_grad()
def noise_terms(model: AbstractSparseModel, split: Split, sigma: float, most: int = MOST) -> NoiseTerms | None:
    """`NoiseTerms` over at most `most` samples spread over a split; fewer of wide models, whose cost is n_code^2 a sample.

    Float64, but for float32 products in the covariance: its value is off by 1e-6 of itself or so, its mean by what samples differ.
    None for models that are no rectified one-layer network with a linear reconstruction (`rectified_network`).
    """
    network = rectified_network(model)
    if network is None:
        return None
    n_code = len(network.keys)
    n = min(split.n, most, max(FEWEST, int(PRODUCTS / n_code**2)))
    rows = torch.linspace(0, split.n - 1, n).long()
    sums = torch.zeros(5, dtype=torch.float64, device=network.keys.device)
    for part in rows.split(CHUNK):
        x = model.normalise(split.take(part).x).double()
        sums += torch.stack([term.sum() for term in sample_terms(x, network, sigma, products=torch.float32)])
    residual, mean_shift, variance, covariance, bound = (sums / n).tolist()
    return NoiseTerms(
        n=n,
        sigma=sigma,
        n_features=network.keys.shape[1],
        residual=residual,
        mean_shift=mean_shift,
        variance=variance,
        covariance=covariance,
        total=residual + mean_shift + variance + covariance,
        bound=bound,
    )
