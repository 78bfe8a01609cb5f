"""Distributions p(x | z) of features, independent given the code: `nll(out, x)` in nats and `mean(out)`, from the output of a decoder.

Bernoulli ones take features in [0, 1] and say so (`unit_interval`).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.ops.rng import Stream, drawn_rows
from sparsecode.specs import Positive, Spec

__all__ = ["Bernoulli", "ContinuousBernoulli", "Likelihood", "LikelihoodModule", "Normal"]

TAYLOR = 0.03  # below this logit, the series of the continuous Bernoulli is more exact than its closed form


class _BernoulliNLL(torch.autograd.Function):
    """sum_i softplus(a_i) - x_i a_i: its derivative sigmoid(a) - x takes two passes over memory instead of eight."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        return (torch.nn.functional.softplus(logits) - x * logits).sum(dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        logits, x = ctx.saved_tensors
        return torch.sigmoid(logits).sub_(x).mul_(grad[:, None]), None


class Bernoulli(Spec, tag="bernoulli"):
    """p(x | z) = prod_i Bern(x_i; sigmoid(a_i)), -log p = sum_i softplus(a_i) - x_i a_i.

    Grey levels in (0, 1) are no samples of it: the value is then the mean over binary images with these probabilities, and
    its minimum is above 0. `binarise` draws binary images for each batch, as input of the encoder and as target.
    """

    binarise: Annotated[bool, Meta(description="train on pixels drawn with their grey levels as chances")] = False

    def build(self, shape: tuple[int, ...]) -> LikelihoodModule:  # noqa: ARG002 - the contract
        return BernoulliModule(self)


class ContinuousBernoulli(Spec, tag="continuous_bernoulli"):
    """A density on [0, 1]: log p(x | z) = sum_i x_i a_i - softplus(a_i) + log C(a_i), C(a) = a / tanh(a / 2).

    Source: Loaiza-Ganem & Cunningham, NeurIPS 2019.
    """

    def build(self, shape: tuple[int, ...]) -> LikelihoodModule:  # noqa: ARG002 - the contract
        return ContinuousBernoulliModule()


class Normal(Spec, tag="normal"):
    """p(x | z) = N(x; f(a), diag(s^2)), f the identity or the sigmoid; s is `sigma`, or starts there and is learned.

    s^2 = floor^2 + exp(2 r) with r learned, one for all features or one for each: without a floor, an almost constant
    feature would have an infinite density.
    """

    sigma: Annotated[Positive, Meta(description="standard deviation, in model space")] = 1.0
    learned: Literal["no", "one", "each"] = "no"
    floor: Annotated[Positive, Meta(description="least standard deviation, where it is learned")] = 0.01
    output: Literal["linear", "sigmoid"] = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learned != "no" and self.sigma <= self.floor:
            raise ValueError(f"Normal.sigma: got {self.sigma}; expected above floor, {self.floor}, where it is learned")

    def build(self, shape: tuple[int, ...]) -> LikelihoodModule:
        return NormalModule(self, math.prod(shape))


Likelihood = Bernoulli | ContinuousBernoulli | Normal


class LikelihoodModule(nn.Module):
    """The base class of likelihoods."""

    unit_interval = True

    def nll(self, out: Float[Tensor, "b f"], x: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
        """-log p(x | z) in nats per sample."""
        raise NotImplementedError

    def mean(self, out: Float[Tensor, "b f"]) -> Float[Tensor, "b f"]:
        """The mean of p(x | z)."""
        raise NotImplementedError

    def observed(self, x: Float[Tensor, "b f"], rng: Stream) -> Float[Tensor, "b f"]:  # noqa: ARG002 - the contract
        """x as training sees it."""
        return x

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {}


class BernoulliModule(LikelihoodModule):
    """The module of `Bernoulli`."""

    def __init__(self, spec: Bernoulli) -> None:
        super().__init__()
        self.spec = spec

    def nll(self, out: Float[Tensor, "b f"], x: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
        result: Any = _BernoulliNLL.apply(out, x)
        return result

    def mean(self, out: Float[Tensor, "b f"]) -> Float[Tensor, "b f"]:
        return torch.sigmoid(out)

    def observed(self, x: Float[Tensor, "b f"], rng: Stream) -> Float[Tensor, "b f"]:
        if not self.spec.binarise:
            return x
        return (drawn_rows(x, x.shape[1:], rng("binarise"), "uniform") < x).to(x.dtype)


class ContinuousBernoulliModule(LikelihoodModule):
    """The module of `ContinuousBernoulli`."""

    def nll(self, out: Float[Tensor, "b f"], x: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
        small = out.abs() < TAYLOR
        safe = torch.where(small, 1.0, out)  # where() differentiates both sides, and 0 / 0 would spoil the sum
        square = out.square()
        series = math.log(2) + square / 12 - 7 * square.square() / 1440
        normaliser = torch.where(small, series, (safe / torch.tanh(safe / 2)).log())
        return (torch.nn.functional.softplus(out) - x * out - normaliser).sum(dim=1)

    def mean(self, out: Float[Tensor, "b f"]) -> Float[Tensor, "b f"]:
        """1 / (1 - exp(-a)) - 1 / a, 1/2 at a = 0."""
        small = out.abs() < TAYLOR
        safe = torch.where(small, 1.0, out)
        return torch.where(small, 0.5 + out / 12 - out.pow(3) / 720, -1 / torch.expm1(-safe) - 1 / safe)


class NormalModule(LikelihoodModule):
    """The module of `Normal`, with the parameter `raw` r where the standard deviation is learned."""

    unit_interval = False

    def __init__(self, spec: Normal, n_features: int) -> None:
        super().__init__()
        self.spec = spec
        self.raw: Tensor | None = None
        if spec.learned != "no":
            start = 0.5 * math.log(spec.sigma**2 - spec.floor**2)
            self.raw = nn.Parameter(torch.full((n_features if spec.learned == "each" else 1,), start))

    def variance(self, like: Tensor) -> Tensor:
        """The variance s^2 of each feature, or of all."""
        if self.raw is None:
            return torch.full((1,), self.spec.sigma**2).to(like)
        return self.spec.floor**2 + torch.exp(2 * self.raw)

    def nll(self, out: Float[Tensor, "b f"], x: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
        variance = self.variance(out)
        return 0.5 * ((x - self.mean(out)).square() / variance + torch.log(2 * math.pi * variance)).sum(dim=1)

    def mean(self, out: Float[Tensor, "b f"]) -> Float[Tensor, "b f"]:
        return torch.sigmoid(out) if self.spec.output == "sigmoid" else out

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {} if not isinstance(self.raw, nn.Parameter) else {"sigma": [self.raw]}
