"""The conditions under which models can be trained side by side in a stack."""

from __future__ import annotations

from typing import Any

from sparsecode.leaves import tag_of
from sparsecode.losses.weighted import Weighted
from sparsecode.models.amortised import Amortised
from sparsecode.nn.activations import ELU, GELU, ReLU, Satlin, Sigmoid, Tanh
from sparsecode.nn.adversarial import PGD
from sparsecode.nn.affine import Affine, BiasedDictionary
from sparsecode.specs import Spec, name_of

__all__ = ["OWN", "obstacle", "shared"]

ACTIVATIONS = (ReLU, GELU, ELU, Tanh, Sigmoid, Satlin)  # elementwise, without weights
OWN = ("corruption", "the weights of terms")  # parts in which members may differ
CHECKED = ("n_code", "activation", "normaliser", "encoder", "decoder", "arithmetic", "terms", "corruption")


def obstacle(spec: Spec) -> str | None:
    """The reason why a model cannot be trained in a stack; None if it can."""
    if not isinstance(spec, Amortised):
        return f"model is {type(spec).__name__}, and only Amortised stacks"
    if not isinstance(spec.activation, ACTIVATIONS):
        return f"model.activation is {_tag(spec.activation)}, which is not a plain function of each pre-activation"
    if isinstance(spec.corruption, PGD):
        return f"model.corruption is {_tag(spec.corruption)}, which asks each model for its gradients"
    for term in spec.terms:
        reason = term.obstacle() if isinstance(term, Weighted) else "is computed for one model at a time"
        if reason:
            return f"model.terms.{name_of(term)} {reason}"
    encoder, decoder = spec.encoder, spec.decoder
    if not isinstance(encoder, Affine):
        return f"model.encoder is {_tag(encoder)}"
    changed = [name for name in ("tied", "shared_bias", "cosine", "positive") if getattr(encoder, name)]
    if changed or not encoder.bias:
        return f"model.encoder has {changed[0] if changed else 'no bias'}"
    if not isinstance(decoder, BiasedDictionary) or decoder.frozen:
        return f"model.decoder is {_tag(decoder)}" + (" and frozen" if isinstance(decoder, BiasedDictionary) else "")
    if decoder.sites:
        return "model.decoder has sites"
    defaults = Amortised(n_code=spec.n_code, activation=spec.activation)
    for name in spec.__struct_fields__:  # fields added later are obstacles until they are listed here
        if name not in CHECKED and getattr(spec, name) != getattr(defaults, name):
            return f"model.{name} is set"
    return None


def shared(spec: Spec) -> tuple[Any, ...]:
    """The part of a config that members of one stack share, for models without an obstacle."""
    assert isinstance(spec, Amortised)
    fields = [getattr(spec, name) for name in CHECKED if name not in ("terms", "corruption")]
    return (*fields, *(term.common() if isinstance(term, Weighted) else term for term in spec.terms))


def _tag(spec: object) -> str:
    return repr(tag_of(spec))
