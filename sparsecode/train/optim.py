"""Optimisers by named parameter group."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, runtime_checkable

import msgspec
import torch
from msgspec import Meta
from torch import nn

from sparsecode.leaves import is_foreign, opened, plain
from sparsecode.models.base import AbstractSparseModel
from sparsecode.schedules import Schedule, at
from sparsecode.specs import NonNegative, Positive, Spec
from sparsecode.train.sparse_adam import SparseAdamOptimiser
from sparsecode.train.uncompiled import AdagradOptimiser, AdamOptimiser, RMSpropOptimiser, SGDOptimiser

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "Clip",
    "Group",
    "Optim",
    "OptimiserGroup",
    "RMSprop",
    "SparseAdam",
    "build",
    "clip_",
    "set_rates",
]

# 0 is allowed for schedules that start or end there
Rate = Annotated[Annotated[float, Meta(ge=0)] | Schedule, Meta(description="learning rate")]
Beta = Annotated[float, Meta(ge=0, lt=1)]


class Adam(Spec, tag="adam"):
    """Adam; weight decay as L2 in the gradient, or decoupled (AdamW). Source: Kingma & Ba, ICLR 2015."""

    lr: Rate = 1e-3
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    decoupled: bool = False

    def build(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        return AdamOptimiser(
            params,
            lr=at(self.lr, 0),
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            decoupled_weight_decay=self.decoupled,
            fused=True,  # on CPUs, too, several times faster than the default
        )


class SGD(Spec, tag="sgd"):
    """Stochastic gradient descent with momentum: v <- momentum v + g; w <- w - lr v."""

    lr: Rate = 1e-2
    momentum: Beta = 0.0
    weight_decay: NonNegative = 0.0

    def build(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        return SGDOptimiser(params, lr=at(self.lr, 0), momentum=self.momentum, weight_decay=self.weight_decay)


class SparseAdam(Spec, tag="sparse_adam"):
    """Adam on units with a nonzero gradient only: others keep their weights, which dense Adam would change by momentum."""

    lr: Rate = 1e-3
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: Positive = 1e-8

    def build(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        return SparseAdamOptimiser(params, lr=at(self.lr, 0), betas=(self.beta1, self.beta2), eps=self.eps)


class RMSprop(Spec, tag="rmsprop"):
    """w <- w - lr g / (sqrt(v) + eps), v the running mean of g^2. Source: Tieleman & Hinton, lecture notes, 2012."""

    lr: Rate = 1e-3
    decay: Beta = 0.99
    eps: Positive = 1e-8
    momentum: Beta = 0.0

    def build(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        return RMSpropOptimiser(params, lr=at(self.lr, 0), alpha=self.decay, eps=self.eps, momentum=self.momentum)


class Adagrad(Spec, tag="adagrad"):
    """w <- w - lr g / (sqrt(s) + eps), s the sum of all g^2. Source: Duchi, Hazan & Singer, JMLR 2011."""

    lr: Rate = 1e-2
    eps: Positive = 1e-10

    def build(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        return AdagradOptimiser(params, lr=at(self.lr, 0), eps=self.eps)


@runtime_checkable
class OptimiserLike(Protocol):
    """The protocol of optimisers: a learning rate, and `build`. `build` starts it at the rate of step 0."""

    @property
    def lr(self) -> float | Schedule: ...

    def build(self, params: list[nn.Parameter]) -> torch.optim.Optimizer: ...


Known = Adam | SGD | SparseAdam | RMSprop | Adagrad
if TYPE_CHECKING:
    Group = Known | OptimiserLike
else:
    Group = opened(Known, OptimiserLike)


class Clip(Spec, tag="clip"):
    """Gradients scaled down to a 2-norm of at most `norm`: of all together, or of each group alone."""

    norm: Positive
    per_group: bool = False


class Optim(Spec, tag="optim"):
    """Optimisers by pattern over the model's group names; the first match applies.

    A pattern is a whole name (`decoder.weight`), a first part of one (`decoder`), or has wildcards (`*.bias`).
    """

    groups: dict[str, Group]
    clip: Clip | None = None


class OptimiserGroup(NamedTuple):
    """The parameters matched by one pattern, by name in the model, and their optimiser."""

    spec: Group
    params: dict[str, nn.Parameter]
    optimiser: torch.optim.Optimizer


def build(optim: Optim, model: AbstractSparseModel) -> list[OptimiserGroup]:
    """An optimiser per pattern, for the parameters that require gradients.

    Raises ValueError for a group that no pattern matches and for a pattern that matches no group.
    """
    names = {id(param): name for name, param in model.named_parameters()}
    by_pattern: dict[str, dict[str, nn.Parameter]] = {pattern: {} for pattern in optim.groups}
    matched: set[str] = set()
    for group, params in model.param_groups().items():
        pattern = next((p for p in optim.groups if _matches(group, p)), None)
        if pattern is None:
            first = _short(next(iter(optim.groups.values()), Adam()))
            raise ValueError(
                f"optim.groups: no pattern of {', '.join(optim.groups) or 'none'} matches the model's group {group!r}; expected "
                f"one for every group: add --set optim.groups.{group.partition('.')[0]}='{msgspec.json.encode(first).decode()}'"
            )
        matched.add(pattern)
        by_pattern[pattern].update({names[id(param)]: param for param in params if param.requires_grad})
    if unused := [pattern for pattern in optim.groups if pattern not in matched]:
        rest = {pattern: _short(group) for pattern, group in optim.groups.items() if pattern not in unused}
        raise ValueError(
            f"optim.groups: pattern {unused[0]!r} matches none of the model's groups {', '.join(model.param_groups())} that an "
            f"earlier pattern left; leave it out: --set optim.groups='{msgspec.json.encode(rest).decode()}'"
        )
    return [
        OptimiserGroup(optim.groups[pattern], params, optim.groups[pattern].build(list(params.values())))
        for pattern, params in by_pattern.items()
        if params  # all of them may be frozen
    ]


def _short(group: Group) -> dict[str, Any]:
    """An optimiser as JSON types, without default values."""
    given = plain(group)
    defaults: dict[str, Any] = {} if is_foreign(group) else msgspec.to_builtins(type(group)())
    return {
        name: value
        for name, value in given.items()
        if name == "type" or name not in defaults or value != defaults[name]
    }


def _matches(group: str, pattern: str) -> bool:
    return fnmatchcase(group, pattern) or group.startswith(pattern + ".")


def set_rates(groups: Sequence[OptimiserGroup], step: int) -> None:
    """Set the learning rates of this step, a pure function of it."""
    for group in groups:
        for settings in group.optimiser.param_groups:
            settings["lr"] = at(group.spec.lr, step)


def clip_(groups: Sequence[OptimiserGroup], clip: Clip | None) -> None:
    """Scale gradients down to the clipping norm."""
    if clip is None:
        return
    parts = [list(group.params.values()) for group in groups]
    for params in parts if clip.per_group else [[p for part in parts for p in part]]:
        torch.nn.utils.clip_grad_norm_(params, clip.norm)
