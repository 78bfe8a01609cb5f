"""The one place that knows torch.distributed; without a process group everything is the identity."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["any_rank", "gather_over_ranks", "mean_over_ranks", "rank", "sum_over_ranks", "world_size"]


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if _grouped() else 1


def rank() -> int:
    """The index of this process among them."""
    return dist.get_rank() if _grouped() else 0


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean of `values` over all processes."""
    return sum_over_ranks(values) / world_size() if world_size() > 1 else values


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of `values` over all processes."""
    if world_size() == 1:
        return values
    total = values.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def gather_over_ranks(rows: Tensor) -> Tensor:
    """The rows of all processes, one after the other; each has as many."""
    if world_size() == 1:
        return rows
    parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether any process raises the flag, so that all can act on the same step."""
    if world_size() == 1:
        return flag
    raised = torch.tensor(float(flag), device=device)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return bool(raised)
