"""Library-independent record of a sparse autoencoder with an affine encoder.

Weights stand in rows, as everywhere here: W_enc [m, d] and the atoms W_dec [m, p], for m codes, d inputs and p outputs
(p = d unless it is a transcoder). Codes are in the units in which the file's own library gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "Activation",
    "AffineSAE",
    "CannotExpressError",
    "GatedCodes",
    "JumpReLUCodes",
    "LayerNorm",
    "PlainRows",
    "ReLUCodes",
    "RowNorm",
    "TopKCodes",
]


class CannotExpressError(ValueError):
    """A format or a model cannot express what the autoencoder computes."""


@dataclass(frozen=True, eq=False)
class ReLUCodes:
    """z = max(pre, 0)."""

    name: ClassVar[str] = "ReLU"

    def __call__(self, pre: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
        return pre.relu()


@dataclass(frozen=True, eq=False)
class TopKCodes:
    """The k largest of max(pre, 0) in each row; the rest 0.

    `threshold` is what dictionary_learning keeps beside k for another way to encode; `encode` does not use it.
    """

    name: ClassVar[str] = "TopK"

    k: int
    threshold: float | None = None

    def __call__(self, pre: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
        best = pre.relu().topk(self.k, dim=1, sorted=False)
        return torch.zeros_like(pre).scatter(1, best.indices, best.values)


@dataclass(frozen=True, eq=False)
class JumpReLUCodes:
    """z_j = max(pre_j, 0) where pre_j > threshold_j, strictly; else 0.

    `k`, the mean number of active codes that BatchTopK trained it for, and the sizes of Matryoshka `groups` are kept
    for formats that store them.
    """

    name: ClassVar[str] = "JumpReLU"

    threshold: Tensor
    k: float | None = None
    groups: tuple[int, ...] = ()

    def __call__(self, pre: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
        return pre.relu() * (pre > self.threshold)


@dataclass(frozen=True, eq=False)
class GatedCodes:
    """z_j = max(exp(r_mag_j) pre_j + mag_bias_j, 0) where pre_j + gate_bias_j > 0; else 0."""

    name: ClassVar[str] = "Gated"

    gate_bias: Tensor
    mag_bias: Tensor
    r_mag: Tensor

    def __call__(self, pre: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
        return (self.r_mag.exp() * pre + self.mag_bias).relu() * (pre + self.gate_bias > 0)


Activation = ReLUCodes | TopKCodes | JumpReLUCodes | GatedCodes


@dataclass(frozen=True)
class PlainRows:
    """The encoder sees x as it is. (Constant scales and whitening are affine: they are folded into the weights.)"""


@dataclass(frozen=True)
class LayerNorm:
    """The encoder sees (x - mean) / (std + eps) of each row, std over d - 1; outputs are undone by x std + mean."""

    eps: float = 1e-5


@dataclass(frozen=True)
class RowNorm:
    """The encoder sees rows scaled to norm sqrt(d); outputs are scaled back."""


RowNormaliser = PlainRows | LayerNorm | RowNorm


@dataclass(frozen=True, eq=False)
class AffineSAE:
    """x -> z = activation((n(x) - c) W_enc^T + b_enc), z -> n^-1(z W_dec + b_dec) + x W_skip^T.

    c is b_dec if `centred`, else 0; n is the identity or a normalisation of each row. A `transcoder` predicts something
    other than its input. `metadata` is the origin recorded in the file (plain JSON). Raises ValueError if shapes do not fit or a number is not finite.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    activation: Activation
    centred: bool
    normaliser: RowNormaliser = PlainRows()
    W_skip: Tensor | None = None
    transcoder: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        m, d = self.W_enc.shape if self.W_enc.ndim == 2 else (-1, -1)
        p = self.b_dec.numel()
        expected = {"W_enc": (m, d), "b_enc": (m,), "W_dec": (m, p), "b_dec": (p,), "W_skip": (p, d)}
        expected |= dict.fromkeys(("threshold", "gate_bias", "mag_bias", "r_mag"), (m,))
        tensors = self.tensors()
        for name, value in tensors.items():
            if tuple(value.shape) != expected[name]:
                raise ValueError(
                    f"{name} is {list(value.shape)} beside W_enc {list(self.W_enc.shape)} and b_dec {list(self.b_dec.shape)} "
                    f"(weights in rows, one per code); expected {list(expected[name])}"
                )
            if not bool(value.isfinite().all()):
                raise ValueError(f"{name} has NaN or infinity in it; restore the file from a copy")
        if p != d and (self.centred or not isinstance(self.normaliser, PlainRows)):
            raise ValueError(f"{d} inputs and {p} outputs: the decoder's bias and row norms cannot be shared by both")
        if p != d and not self.transcoder:
            raise ValueError(
                f"{d} inputs and {p} outputs: an autoencoder has as many of both; only a transcoder may differ"
            )
        if isinstance(self.activation, TopKCodes) and not 1 <= self.activation.k <= m:
            raise ValueError(f"k is {self.activation.k}; expected 1 to the number of codes, {m}")

    @property
    def n_code(self) -> int:
        return self.W_enc.shape[0]

    @property
    def d_in(self) -> int:
        return self.W_enc.shape[1]

    @property
    def d_out(self) -> int:
        return self.b_dec.numel()

    @property
    def reconstructs(self) -> bool:
        """Whether outputs are reconstructions of inputs, and made of codes alone."""
        return not self.transcoder and self.W_skip is None

    @property
    def dtype(self) -> torch.dtype:
        return self.W_enc.dtype

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, those of the activation too."""
        weights = {name: getattr(self, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec", "W_skip")}
        return {
            name: value for name, value in {**weights, **vars(self.activation)}.items() if isinstance(value, Tensor)
        }

    def normalise(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The encoder's input, before the centre is subtracted."""
        shift, scale = self._row_statistics(x)
        eps = self.normaliser.eps if isinstance(self.normaliser, LayerNorm) else 0.0
        return (x - shift) / (scale + eps)

    def pre(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b m"]:
        """The pre-activations, the activation's input."""
        rows = self.normalise(x)
        return (rows - self.b_dec if self.centred else rows) @ self.W_enc.T + self.b_enc

    def encode(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b m"]:
        """Codes of x."""
        return self.activation(self.pre(x))

    def decode(self, z: Float[Tensor, "b m"], x: Float[Tensor, "b d"] | None = None) -> Float[Tensor, "b p"]:
        """Outputs for codes z; x, whose codes they are, is needed where rows are normalised or skip to the output.

        Raises ValueError if x is needed and not given.
        """
        out = z @ self.W_dec + self.b_dec
        if x is None:
            if self.W_skip is not None or not isinstance(self.normaliser, PlainRows):
                raise ValueError(
                    "decode: this autoencoder's output depends on x beside its codes (a skip connection, or rows that are "
                    "normalised and restored); give x as well"
                )
            return out
        shift, scale = self._row_statistics(x)
        out = out * scale + shift
        return out if self.W_skip is None else out + x @ self.W_skip.T

    def reconstruct(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """decode(encode(x))."""
        return self.decode(self.encode(x), x)

    def _row_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and scale of each row [b, 1]."""
        zero = x.new_zeros(len(x), 1)
        match self.normaliser:
            case PlainRows():
                return zero, zero + 1
            case LayerNorm():
                return x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True)
            case RowNorm():
                return zero, torch.linalg.vector_norm(x, dim=1, keepdim=True) / math.sqrt(x.shape[1])
