"""The optimisers of `torch.optim`, and a base for others, that do not import torch's compiler."""

from __future__ import annotations

import inspect
from typing import Any

import torch

__all__ = ["AdagradOptimiser", "AdamOptimiser", "RMSpropOptimiser", "SGDOptimiser", "Uncompiled"]


class Uncompiled(torch.optim.Optimizer):
    """An optimiser whose methods are not marked as excluded from `torch.compile`: marking them imports it, which takes longer than a short training.

    The methods are those of torch without their decorators, with the same results. A subclass without a `step` has that of torch.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
            setattr(cls, name, inspect.unwrap(getattr(cls, name)))
        if "step" not in cls.__dict__:
            cls.step = torch.no_grad()(inspect.unwrap(cls.step))


class AdamOptimiser(Uncompiled, torch.optim.Adam):
    """`torch.optim.Adam`."""


class SGDOptimiser(Uncompiled, torch.optim.SGD):
    """`torch.optim.SGD`."""


class RMSpropOptimiser(Uncompiled, torch.optim.RMSprop):
    """`torch.optim.RMSprop`."""


class AdagradOptimiser(Uncompiled, torch.optim.Adagrad):
    """`torch.optim.Adagrad`."""
