"""The two affine maps of an autoencoder: from data to pre-activations, and from codes back to data."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.nn.constraints import Constraint, UnitNorm
from sparsecode.nn.init import uniform_fan_in
from sparsecode.ops.geometric_median import geometric_median
from sparsecode.ops.norms import remove_parallel_
from sparsecode.ops.sparse_codes import decode_codes
from sparsecode.specs import Spec

__all__ = ["Affine", "AffineModule", "BiasedDictionary", "BiasedDictionaryModule", "centred_linear"]


class _CentredLinear(torch.autograd.Function):
    """Gradients of (x - c) W^T + b; that of c is -(sum_b g) W, a vector-matrix product, where autograd computes a matrix product.

    Under autocast products are of its numbers, forwards and backwards; results, biases and sums are in the dtype of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor) -> Tensor:
        centred = x - centre
        if torch.is_autocast_enabled(x.device.type):
            low = torch.get_autocast_dtype(x.device.type)
            centred, weight = centred.to(low), weight.to(low)
            ctx.save_for_backward(centred, weight)
            return torch.nn.functional.linear(centred, weight).to(x) + bias
        ctx.save_for_backward(centred, weight)
        return torch.nn.functional.linear(centred, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        centred, weight = ctx.saved_tensors
        (grad,), needs = grads, ctx.needs_input_grad
        total, low = grad.sum(dim=0), grad.to(weight)
        return (
            (low @ weight).to(grad) if needs[0] else None,
            (low.T @ centred).to(grad) if needs[1] else None,
            total if needs[2] else None,
            -(total @ weight.to(total)) if needs[3] else None,
        )


def centred_linear(
    x: Float[Tensor, "b f"], weight: Float[Tensor, "k f"], bias: Float[Tensor, " k"], centre: Float[Tensor, " f"]
) -> Float[Tensor, "b k"]:
    """(x - centre) weight^T + bias, differentiable in all four."""
    return _CentredLinear.apply(x, weight, bias, centre)  # pyright: ignore[reportReturnType] - apply is untyped


class BiasedDictionary(Spec, tag="biased_dictionary"):
    """x = f(z D + b), atoms in the rows of D [n_code, n_features], f the identity, tanh or the logistic function.

    The atoms start in random directions with norm 1 (`start` "uniform": PyTorch's default for linear layers; "samples":
    training samples), the bias at the training samples' mean or geometric median, or at 0. Under `UnitNorm` the part of the gradient along each
    atom is removed before the optimiser step, and Adam's moments do not act against the constraint.
    """

    constraint: Constraint = UnitNorm()
    output: Annotated[
        Literal["linear", "tanh", "sigmoid"], Meta(description="its range must hold the data, in model space")
    ] = "linear"
    bias: Annotated[
        Literal["zero", "mean", "geometric_median"], Meta(description="where the bias starts, from training samples")
    ] = "geometric_median"
    start: Annotated[Literal["directions", "uniform", "samples"], Meta(description="the first atoms")] = "directions"
    frozen: Annotated[bool, Meta(description="atoms and bias are not trained")] = False
    sites: Annotated[
        bool, Meta(description="samples are [sites, ...]: the norm of an atom is the sum of its norms at the sites")
    ] = False

    @property
    def provides(self) -> tuple[str, ...]:
        return ("atoms", "linear", "unbounded") if self.output == "linear" else ("atoms",)

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> BiasedDictionaryModule:
        """Raises ValueError for sites where samples have none."""
        if self.sites and len(shape) < 2:
            raise ValueError(
                f"decoder has sites, and samples have shape {shape}; expected [sites, ...]: leave sites false"
            )
        return BiasedDictionaryModule(self, n_code, math.prod(shape), rng, shape[0] if self.sites else 1)


OUTPUTS = {"linear": lambda x: x, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
RANGES = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0)}


class BiasedDictionaryModule(nn.Module):
    """The module of `BiasedDictionary`: `atoms` D, `bias` b."""

    def __init__(
        self, spec: BiasedDictionary, n_code: int, n_features: int, rng: torch.Generator, n_sites: int = 1
    ) -> None:
        super().__init__()
        self.spec = spec
        self.n_sites = n_sites
        if spec.start == "uniform":
            atoms = uniform_fan_in((n_code, n_features), n_code, rng)
        else:
            atoms = nn.functional.normalize(torch.randn(n_code, n_features, generator=rng), dim=1)
        self.atoms = nn.Parameter(atoms)
        self.bias = nn.Parameter(torch.zeros(n_features))
        if spec.frozen:
            self.requires_grad_(False)
        self.constrain_()

    def mean(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b f"]:
        return self.output(decode_codes(z, self.atoms, self.bias))

    def norms(self) -> Float[Tensor, " k"]:
        """The norms of the atoms; of atoms for several sites, the sums of their norms there."""
        if self.n_sites == 1:
            return torch.linalg.vector_norm(self.atoms, dim=1)
        return torch.linalg.vector_norm(self.by_site(), dim=2).sum(dim=1)

    def by_site(self) -> Float[Tensor, "k s f"]:
        """The atoms' parts at each site."""
        return self.atoms.reshape(len(self.atoms), self.n_sites, -1)

    def output(self, linear: Float[Tensor, "*b f"]) -> Float[Tensor, "*b f"]:
        """The output f(a) for a = z D + b."""
        return OUTPUTS[self.spec.output](linear)

    @torch.no_grad()
    def initialise_(self, sample: Float[Tensor, "n f"]) -> None:
        """Start the bias, and atoms that are samples. Raises ValueError for samples that the output cannot reach, or too few."""
        low, high = RANGES.get(self.spec.output, (-torch.inf, torch.inf))
        if bool((sample.amin() < low - 1e-4) | (sample.amax() > high + 1e-4)):
            raise ValueError(
                f"decoder.output is {self.spec.output!r}, which gives {low:g} to {high:g}, and the samples span "
                f"{float(sample.amin()):g} to {float(sample.amax()):g} in model space; choose another normaliser or 'linear'"
            )
        if self.spec.start == "samples":
            if len(sample) < len(self.atoms):
                raise ValueError(
                    f"n_code is {len(self.atoms)} and decoder.start is 'samples', of which there are {len(sample)} to start "
                    "from; expected at most that many codes"
                )
            self.atoms.copy_(sample[: len(self.atoms)])
            self.constrain_()
        if self.spec.bias == "mean":
            self.bias.copy_(sample.mean(dim=0))
        elif self.spec.bias == "geometric_median":
            self.bias.copy_(geometric_median(sample))

    @torch.no_grad()
    def project_grads_(self) -> None:
        """Remove the part of each atom's gradient that only changes its norm."""
        grad = self.atoms.grad
        if grad is not None and isinstance(self.spec.constraint, UnitNorm):
            remove_parallel_(grad, self.atoms.detach())

    def constrain_(self) -> None:
        self.spec.constraint.apply_(self.atoms)

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {} if self.spec.frozen else {"weight": [self.atoms], "bias": [self.bias]}


class Affine(Spec, tag="affine"):
    """Pre-activations (x - c) W^T + b, W [n_code, n_features] in rows like the atoms; c is the decoder's bias, or 0.

    W starts as a copy of the atoms times `scale`, or as PyTorch's default for linear layers; `tied`, it is the atoms.
    `cosine`: x - c and the rows of W are normalised; pre-activations minus b are then their cosines (rows of zeros give 0). `positive`: inputs are rectified, and the weights kept non-negative. Both as in the sparse distributed
    memory of Bricken & Pehlevan, NeurIPS 2021.
    """

    centred: Annotated[bool, Meta(description="subtract the decoder's bias first")] = True
    tied: Annotated[bool, Meta(description="use the decoder's atoms as weights")] = False
    bias: bool = True
    start: Annotated[Literal["atoms", "uniform"], Meta(description="the first weights")] = "atoms"
    scale: Annotated[float, Meta(gt=0, description="of the copy of the atoms")] = 1.0
    shared_bias: Annotated[bool, Meta(description="one bias for all codes, if `bias` is set")] = False
    cosine: Annotated[bool, Meta(description="unit-norm inputs and weights")] = False
    positive: Annotated[bool, Meta(description="rectified inputs and non-negative weights")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tied and self.positive:
            raise ValueError("Affine: tied and positive are both set; choose decoder.constraint with positive instead")

    @property
    def provides(self) -> tuple[str, ...]:
        return ("rows",) if self.bias else ("rows", "no_bias")

    @property
    def needs(self) -> dict[str, str]:
        """The needs of this config, by the field that requires a dictionary of data."""
        asks = {"centred": self.centred, "tied": self.tied, "start": self.start == "atoms"}
        field = next((name for name, needed in asks.items() if needed), None)
        return {} if field is None else {"atoms": field, "reconstruction": field}

    def build(
        self,
        n_code: int,
        shape: tuple[int, ...],
        rng: torch.Generator,
        decoder: BiasedDictionaryModule | None = None,
    ) -> AffineModule:
        """Raises ValueError without a dictionary to start from, to tie to or to take c from."""
        if decoder is None and (self.centred or self.tied or self.start == "atoms"):
            raise ValueError(
                "encoder: the decoder is not a dictionary of data; expected centred false, tied false and start 'uniform'"
            )
        return AffineModule(self, decoder, n_code, math.prod(shape), rng)


class AffineModule(nn.Module):
    """The module of `Affine`: `weight` W unless tied, `bias` b if enabled."""

    def __init__(
        self,
        spec: Affine,
        decoder: BiasedDictionaryModule | None,
        n_code: int,
        n_features: int,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.spec = spec
        if decoder is None or spec.start == "uniform":
            first = uniform_fan_in((n_code, n_features), n_features, rng)
        else:
            first = spec.scale * decoder.atoms.detach()
        self.n_code = n_code
        self.weight = None if spec.tied else nn.Parameter(first.clone())
        self.bias = nn.Parameter(torch.zeros(1 if spec.shared_bias else n_code)) if spec.bias else None
        self.constrain_()

    def map(self, decoder: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Weight [k, f], bias [k] and centre [f] as they are used on prepared inputs."""
        weight = self.weight
        if weight is None:
            assert isinstance(decoder, BiasedDictionaryModule)
            weight = decoder.atoms
        if self.spec.cosine:
            weight = nn.functional.normalize(weight, dim=1)
        bias = weight.new_zeros(self.n_code) if self.bias is None else self.bias.expand(self.n_code)
        # inputs of cosines have been centred
        if self.spec.centred and not self.spec.cosine:
            assert isinstance(decoder, BiasedDictionaryModule)
            return weight, bias, decoder.bias
        return weight, bias, weight.new_zeros(weight.shape[1])

    def prepared(self, x: Float[Tensor, "b f"], decoder: nn.Module) -> Float[Tensor, "b f"]:
        """Inputs [B, f], prepared for the affine map."""
        if self.spec.positive:
            x = torch.relu(x)
        if self.spec.cosine:
            if self.spec.centred:
                assert isinstance(decoder, BiasedDictionaryModule)
                x = x - decoder.bias
            x = nn.functional.normalize(x, dim=1)
        return x

    def forward(self, x: Float[Tensor, "b f"], decoder: nn.Module) -> Float[Tensor, "b k"]:
        return centred_linear(self.prepared(x, decoder), *self.map(decoder))

    def some(self, x: Float[Tensor, "b f"], decoder: nn.Module, rows: Int[Tensor, " n"]) -> Float[Tensor, "b n"]:
        """The pre-activations [B, n] of codes `rows`."""
        weight, bias, centre = self.map(decoder)
        return centred_linear(self.prepared(x, decoder), weight[rows], bias[rows], centre)

    @torch.no_grad()
    def constrain_(self) -> None:
        """Weights non-negative and rows of norm 1, where these count for nothing else."""
        if self.weight is None:
            return
        if self.spec.positive:
            self.weight.clamp_(min=0)
        if self.spec.cosine:
            self.weight.copy_(nn.functional.normalize(self.weight, dim=1))

    @torch.no_grad()
    def renew_(self, rows: Int[Tensor, " n"], directions: Float[Tensor, "n f"], scale: float) -> None:
        """Give codes new weights along directions of norm 1, `scale` times as long as the others' are on average; no bias."""
        if self.weight is not None:
            others = torch.ones(len(self.weight), dtype=torch.bool, device=rows.device).index_fill_(0, rows, False)
            norms = torch.linalg.vector_norm(self.weight[others], dim=1)
            self.weight[rows] = scale * (float(norms.mean()) if len(norms) else 1.0) * directions
        if self.bias is not None and not self.spec.shared_bias:
            self.bias[rows] = 0.0

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        groups: dict[str, list[nn.Parameter]] = {}
        if self.weight is not None:
            groups["weight"] = [self.weight]
        if self.bias is not None:
            groups["bias"] = [self.bias]
        return groups
