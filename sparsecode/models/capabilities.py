"""Optional capabilities of models, queried by capability rather than by class."""

from __future__ import annotations

from typing import NamedTuple, TypeGuard

from sparsecode.losses.task import Classify
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.iterative import Iterative, IterativeModel
from sparsecode.models.variational import VariationalModel
from sparsecode.nn.affine import AffineModule
from sparsecode.nn.posteriors import Gaussian

__all__ = [
    "OneLayer",
    "classifies",
    "has_activation",
    "has_gates",
    "has_posterior",
    "has_solver",
    "one_layer",
    "takes_activation",
    "takes_solver",
    "trained_l0",
]


class OneLayer(NamedTuple):
    """A model whose codes are an activation of one affine map of its input, and that map."""

    model: AmortisedModel
    encoder: AffineModule


def one_layer(model: AbstractSparseModel) -> OneLayer | None:
    """The affine map, or None for codes computed by a solver, by sampling, or through several layers."""
    if not isinstance(model, AmortisedModel) or not isinstance(model.encoder, AffineModule):
        return None
    return OneLayer(model, model.encoder)


def has_activation(model: AbstractSparseModel) -> TypeGuard[AmortisedModel]:
    """Whether codes are an activation of pre-activations."""
    return isinstance(model, AmortisedModel)


def takes_activation(spec: object) -> TypeGuard[Amortised]:
    """Whether it is the config of a model whose codes are an activation of pre-activations."""
    return isinstance(spec, Amortised)


def has_solver(model: AbstractSparseModel) -> TypeGuard[IterativeModel]:
    """Whether codes minimise an energy."""
    return isinstance(model, IterativeModel)


def takes_solver(spec: object) -> TypeGuard[Iterative]:
    """Whether it is the config of a model whose codes minimise an energy."""
    return isinstance(spec, Iterative)


def has_posterior(model: AbstractSparseModel) -> TypeGuard[VariationalModel]:
    """Whether codes have a distribution given x, and a prior: then log p(x) has a bound, and samples can be drawn."""
    return isinstance(model, VariationalModel)


def has_gates(model: AbstractSparseModel) -> bool:
    """Whether that distribution has gates: a probability that a code is not 0."""
    return isinstance(model, VariationalModel) and not isinstance(model.spec.posterior, Gaussian)


def classifies(model: AbstractSparseModel) -> TypeGuard[AmortisedModel]:
    """Whether `decode` gives logits."""
    return isinstance(model, AmortisedModel) and isinstance(model.spec.task, Classify)


def trained_l0(model: AbstractSparseModel) -> float | None:
    """The running mean of L0 on training samples, of a model with a `target_l0`."""
    control = getattr(model, "control", None)
    return None if control is None else control.reached
