"""Activations of our models as the library-independent records, and back."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from sparsecode.interop.affine_sae import (
    Activation,
    CannotExpressError,
    GatedCodes,
    JumpReLUCodes,
    ReLUCodes,
    TopKCodes,
)
from sparsecode.losses.matryoshka import Matryoshka
from sparsecode.models.amortised import AmortisedModel
from sparsecode.nn import activations
from sparsecode.schedules import at

__all__ = ["activation_of", "kind_of", "state_of"]

TRAINED = 10**12  # a step after all training: where schedules have come to rest


def activation_of(model: AmortisedModel) -> Activation:
    """The record of a model's activation, with its state after all training. Raises CannotExpressError for those that no other library has."""
    state = {name: value.detach().cpu().clone() for name, value in model.activation.state_dict().items()}
    spec, n_code = model.spec, model.spec.n_code
    sizes = next((term.sizes for term in spec.terms if isinstance(term, Matryoshka)), ())
    edges = (0, *sizes, n_code)
    groups = tuple(last - first for first, last in itertools.pairwise(edges)) if sizes else ()
    match spec.activation:
        case activations.ReLU():
            return ReLUCodes()
        case activations.TopK():
            return TopKCodes(int(state["k"]))
        case activations.BatchTopK(k=k):
            threshold = state["threshold"].to(model.decoder.atoms.dtype).expand(n_code).clone()
            return JumpReLUCodes(threshold, float(at(k, TRAINED)), groups)
        case activations.JumpReLU():
            return JumpReLUCodes(state["log_threshold"].exp(), None, groups)
        case activations.Gated():
            return GatedCodes(state["gate_bias"], state["mag_bias"], state["r_mag"])
        case other:
            raise CannotExpressError(
                f"activation is {type(other).__name__.lower()!r}, and other libraries have ReLU, top-k, thresholds and gates alone; "
                "train with one of these, or write the codes themselves with sparsecode encode"
            )


def kind_of(activation: Activation) -> activations.Activation:
    """Our activation that computes the same."""
    match activation:
        case ReLUCodes():
            return activations.ReLU()
        case TopKCodes(k=k):
            return activations.TopK(k)
        case JumpReLUCodes(threshold=threshold, k=k):
            same = bool((threshold == threshold[0]).all()) and float(threshold[0]) >= 0
            if same and k is not None and 1 <= k <= len(threshold):
                return activations.BatchTopK(k)
            return activations.JumpReLU(max(float(threshold.median()), 1e-6))
        case GatedCodes():
            return activations.Gated()


def state_of(activation: Activation, kind: activations.Activation) -> dict[str, Tensor]:
    """The tensors of our activation."""
    match activation:
        case ReLUCodes():
            return {}
        case TopKCodes(k=k):
            return {"k": torch.tensor(k)}
        case JumpReLUCodes(threshold=threshold):
            if isinstance(kind, activations.BatchTopK):
                return {"threshold": threshold[0].double(), "seen": torch.tensor(1)}
            least = math.log(
                torch.finfo(threshold.dtype).tiny
            )  # thresholds of 0 and below let every positive value through
            return {"log_threshold": threshold.clamp(min=0).log().clamp(min=least)}
        case GatedCodes():
            return dict(vars(activation))
