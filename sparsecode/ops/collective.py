"""The one place that knows torch.distributed; without a process group everything is the identity."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["any_rank", "mean_over_ranks", "rank", "world_size"]


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _grouped() else 1


def rank() -> int:
    """Which of them this one is."""
    return dist.get_rank() if _grouped() else 0


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean of `values` over all processes."""
    if world_size() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether any process raises the flag, so that all can act on the same step."""
    if world_size() == 1:
        return flag
    raised = torch.tensor(float(flag), device=device)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return bool(raised)
