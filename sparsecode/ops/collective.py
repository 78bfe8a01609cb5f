"""The one place that knows torch.distributed; without a process group everything is the identity."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from sparsecode.ops.scratch import borrowed

__all__ = [
    "any_rank",
    "average_gradients",
    "gather_over_ranks",
    "mean_over_ranks",
    "rank",
    "sum_over_ranks",
    "world_size",
]

TALL = 4096  # rows from which on a gradient may be summed in part
FEW = 0.4  # the share of rows up to which that is faster on one machine; a slow network gains more


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


def average_gradients(state: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # pyright: ignore[reportPrivateImportUsage]
    """A hook for DDP on CPUs: gradients are averaged over processes, of tall matrices only the rows that are not 0 everywhere.

    Rows that are 0 in all processes stay 0, so that the result is that of a sum of everything; which rows are sent costs a byte
    for each. Matrices with more than 0.4 of their rows in use are summed as a whole, as are all others.
    """
    del state
    buffer = bucket.buffer().div_(world_size())
    tall = [grad for grad in bucket.gradients() if _is_tall(grad)]
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    if tall:
        for grad in bucket.gradients():
            rows = _rows_in_use(grad) if _is_tall(grad) else None
            if rows is None:
                dist.all_reduce(grad)
            elif len(rows):
                _sum_rows(grad, rows)
    else:
        dist.all_reduce(buffer)
    done.set_result(buffer)
    return done


# DDP compares the annotations themselves, and here they are text
if dist.is_available():
    average_gradients.__annotations__.update(bucket=dist.GradBucket, **{"return": torch.futures.Future[Tensor]})  # pyright: ignore[reportPrivateImportUsage]


def _is_tall(grad: Tensor) -> bool:
    return grad.ndim == 2 and len(grad) >= TALL and grad.dtype == torch.float32 and grad.is_contiguous()


def _rows_in_use(grad: Tensor) -> Tensor | None:
    """The indices of rows that are not 0 in some process; None if these are many."""
    from sparsecode.kernels.sparse_rows import rows_in_use  # numba is slow to import

    used = torch.from_numpy(rows_in_use(grad.numpy()).view("uint8"))
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    rows = used.nonzero()[:, 0]
    return rows if len(rows) <= FEW * len(grad) else None


def _sum_rows(grad: Tensor, rows: Tensor) -> None:
    part = borrowed((len(rows), grad.shape[1]), grad.dtype)
    torch.index_select(grad, 0, rows, out=part)
    dist.all_reduce(part)
    grad.index_copy_(0, rows, part)
