"""Which models can be trained side by side in a stack, and with which others."""

from __future__ import annotations

from typing import Any

from sparsecode.losses.sparsity import Hoyer
from sparsecode.losses.sparsity import Tanh as TanhPenalty
from sparsecode.models.amortised import Amortised
from sparsecode.nn.activations import ELU, GELU, ReLU, Satlin, Sigmoid, Tanh
from sparsecode.nn.affine import Affine, BiasedDictionary
from sparsecode.penalties import L1, LogSum
from sparsecode.specs import Spec

__all__ = ["OWN", "obstacle", "shared"]

ACTIVATIONS = (ReLU, GELU, ELU, Tanh, Sigmoid, Satlin)  # entry by entry, without weights
PENALTIES = (L1, LogSum, TanhPenalty, Hoyer)  # sums over codes, without state
OWN = ("weight", "corruption", "calibrate")  # what members may each have their own of
CHECKED = ("n_code", "activation", "penalty", "normaliser", "encoder", "decoder", "arithmetic", *OWN)


def obstacle(spec: Spec) -> str | None:
    """Why a model cannot be trained in a stack; None if it can."""
    if not isinstance(spec, Amortised):
        return f"model is {type(spec).__name__}, and only Amortised stacks"
    if not isinstance(spec.activation, ACTIVATIONS):
        return f"model.activation is {_tag(spec.activation)}, which is not a plain function of each pre-activation"
    if spec.penalty is not None and not isinstance(spec.penalty, PENALTIES):
        return f"model.penalty is {_tag(spec.penalty)}, which is not a sum over single samples"
    encoder, decoder = spec.encoder, spec.decoder
    if not isinstance(encoder, Affine):
        return f"model.encoder is {_tag(encoder)}"
    changed = [name for name in ("tied", "shared_bias", "cosine", "positive") if getattr(encoder, name)]
    if changed or not encoder.bias:
        return f"model.encoder has {changed[0] if changed else 'no bias'}"
    if not isinstance(decoder, BiasedDictionary) or decoder.frozen:
        return f"model.decoder is {_tag(decoder)}" + (" and frozen" if isinstance(decoder, BiasedDictionary) else "")
    defaults = Amortised(n_code=spec.n_code, activation=spec.activation)
    for name in spec.__struct_fields__:  # fields to come are obstacles until somebody has thought about them
        if name not in CHECKED and getattr(spec, name) != getattr(defaults, name):
            return f"model.{name} is set"
    return None


def shared(spec: Amortised) -> tuple[Any, ...]:
    """What members of one stack must have in common."""
    return tuple(getattr(spec, name) for name in CHECKED if name not in OWN)


def _tag(spec: Spec) -> str:
    return repr(spec.__struct_config__.tag)
