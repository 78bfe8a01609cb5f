"""Record of sparse coding with a decoder of one or two layers and, perhaps, a LISTA encoder, and models of ours as such records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from msgspec.structs import replace as replaced
from torch import Tensor

from sparsecode.interop.affine_sae import CannotExpressError
from sparsecode.models.inference import Inference
from sparsecode.models.iterative import Iterative, IterativeModel
from sparsecode.nn.constraints import Free
from sparsecode.nn.decoders import LinearDictionary, LinearDictionaryModule, OneHidden, OneHiddenModule
from sparsecode.nn.encoders import LISTA, LISTAModule
from sparsecode.nn.normalisers import Identity
from sparsecode.ops.rng import generator
from sparsecode.penalties import L1
from sparsecode.schedules import at

__all__ = ["Lista", "SparseCoderRecord", "coder_of", "model_of", "probe_rows"]

LAMBDA = 0.01  # sparsity_reg where no arguments are kept: amid those of the original's scripts, 0.005 to 0.02
ROWS, SCALES = 64, (0.1, 1.0, 10.0)


@dataclass(frozen=True, eq=False)
class Lista:
    """B = x W^T + b; z = max(B, 0); then n_iter times z = max(B + z S^T, 0)."""

    W: Tensor
    b: Tensor
    S: Tensor
    n_iter: int


@dataclass(frozen=True, eq=False)
class SparseCoderRecord:
    """decode(z) = z `out`, or max(z `hidden` + `bias`, 0) `out`; codes are solved with `weight` |z|_1 beside 1/2 |x - decode(z)|^2.

    Shapes: out [m, d], or hidden [m, h], bias [h] and out [h, d]; an encoder's W [m, d], b [m], S [m, m]. `weight` is None where
    a file does not say. x and z are in model space: of data as the original's loaders standardise them. Raises
    ValueError if shapes do not fit or a number is not finite.
    """

    out: Tensor
    hidden: Tensor | None = None
    bias: Tensor | None = None
    encoder: Lista | None = None
    weight: float | None = None
    positive: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        m, d, width = self.n_code, self.d_in, len(self.out)
        expected = {"out": (width, d), "hidden": (m, width), "bias": (width,), "W": (m, d), "b": (m,), "S": (m, m)}
        for name, value in self.tensors().items():
            if tuple(value.shape) != expected[name]:
                raise ValueError(
                    f"{name} is {list(value.shape)} beside {m} codes, {width} rows of out and {d} pixels; expected "
                    f"{list(expected[name])}: give files of one run"
                )
            if not bool(value.isfinite().all()):
                raise ValueError(f"{name} has NaN or infinity in it; restore the file from a copy")
        if self.encoder is not None and not self.positive:
            raise CannotExpressError(
                "codes of either sign beside a LISTA encoder whose codes are >= 0; expected positive_ISTA"
            )

    @property
    def n_code(self) -> int:
        return len(self.out if self.hidden is None else self.hidden)

    @property
    def d_in(self) -> int:
        return self.out.shape[1]

    d_out = d_in
    reconstructs = True

    @property
    def dtype(self) -> torch.dtype:
        return self.out.dtype

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        parts = {"out": self.out, "hidden": self.hidden, "bias": self.bias}
        parts |= {} if self.encoder is None else {name: getattr(self.encoder, name) for name in ("W", "b", "S")}
        return {name: value for name, value in parts.items() if value is not None}

    def to(self, dtype: torch.dtype) -> SparseCoderRecord:
        """The same with all tensors in `dtype`."""
        made = {name: value.to(dtype) for name, value in self.tensors().items()}
        encoder = self.encoder and replace(self.encoder, **{name: made.pop(name) for name in ("W", "b", "S")})
        return replace(self, **made, encoder=encoder)


def probe_rows(coder: SparseCoderRecord, seed: int) -> Float[Tensor, "n w"]:
    """Rows of w = d + m: inputs x [n, d] at several scales beside codes z [n, m] of which a quarter is active, in one array, float64."""
    rng, width = generator(seed, "conversion probes"), coder.d_in + coder.n_code
    rows = torch.cat([scale * torch.randn(ROWS, width, generator=rng, dtype=torch.float64) for scale in SCALES])
    codes = rows[:, coder.d_in :]
    codes *= torch.rand(codes.shape, generator=rng) < 0.25
    if coder.positive:
        codes.abs_()
    return rows


def coder_of(model: IterativeModel) -> SparseCoderRecord:
    """The record of a model of ours; its normaliser is not part of it. Raises CannotExpressError for other parts than these."""
    spec = model.spec
    if not isinstance(spec.penalty, L1) or spec.link != "identity":
        raise CannotExpressError(
            "the penalty is not l1, or codes are rectified pre-activations; expected l1 and link identity"
        )
    encoder: Lista | None = None
    if isinstance(model.encoder, LISTAModule) and model.encoder.spec.positive:
        part = model.encoder
        encoder = Lista(_kept(part.weight), _kept(part.bias), _kept(part.lateral), part.spec.n_iter)
    elif model.encoder is not None:
        raise CannotExpressError("the encoder is no LISTA with codes >= 0; expected such a one, or none")
    rest: dict[str, Any] = {"encoder": encoder, "weight": float(model.weight), "positive": spec.penalty.positive}
    decoder = model.decoder
    if isinstance(decoder, LinearDictionaryModule):
        return SparseCoderRecord(_kept(decoder.atoms), **rest)
    if isinstance(decoder, OneHiddenModule):
        return SparseCoderRecord(_kept(decoder.out), _kept(decoder.hidden), _kept(decoder.bias), **rest)
    raise CannotExpressError("the decoder is neither a linear_dictionary nor one_hidden; expected one of them")


def model_of(
    coder: SparseCoderRecord, like: Iterative | None = None, shape: tuple[int, ...] | None = None
) -> IterativeModel:
    """A model of ours with these weights, free atoms and no normaliser; or with the other settings of `like`, for samples of `shape`.

    Raises ValueError if the decoder of `like` is another one.
    """
    decoder = LinearDictionary(Free()) if coder.hidden is None else OneHidden(len(coder.out), Free())
    encoder = None if coder.encoder is None else LISTA(n_iter=coder.encoder.n_iter)
    if like is None:
        weight = LAMBDA * coder.d_in / 2 if coder.weight is None else coder.weight
        spec = Iterative(
            n_code=coder.n_code,
            weight=weight,
            normaliser=Identity(),
            encoder=encoder,
            decoder=decoder,
            penalty=L1(positive=coder.positive),
            inference=Inference() if encoder is not None else Inference(start="zero"),
        )
    else:
        spec = _as(like, coder, encoder, decoder)
    model = spec.build(shape or (coder.d_in,), 0)
    if coder.hidden is None:
        state = {"decoder.atoms": coder.out}
    else:
        state = {"decoder.out": coder.out, "decoder.hidden": coder.hidden, "decoder.bias": coder.bias}
    if coder.encoder is not None:
        part = coder.encoder
        state |= {"encoder.weight": part.W, "encoder.bias": part.b, "encoder.lateral": part.S}
    rest = {
        name: v.to(coder.dtype) if name.startswith("normaliser.") and v.is_floating_point() else v
        for name, v in model.state_dict().items()
    }
    kept = {name: value.clone().contiguous() for name, value in state.items() if value is not None}
    model.load_state_dict(rest | kept, assign=True)
    return model.eval()


def _as(
    like: Iterative, coder: SparseCoderRecord, encoder: LISTA | None, decoder: LinearDictionary | OneHidden
) -> Iterative:
    if type(like.decoder) is not type(decoder) or like.proximal.positive != coder.positive:
        raise ValueError("its decoder is of another kind, or its codes of another sign; choose a recipe with the same")
    kept = like.encoder is not None and encoder is not None
    change: dict[str, Any] = {"encoder": encoder} if kept else {"encoder": encoder, "proximity": 0.0}
    if encoder is None and like.inference.start == "encoder":
        change["inference"] = replaced(like.inference, start="zero")
    weight = at(like.weight, 0) if coder.weight is None else coder.weight
    return replaced(like, n_code=coder.n_code, weight=weight, decoder=decoder, **change)


def _kept(value: Tensor) -> Tensor:
    return value.detach().cpu().clone()
