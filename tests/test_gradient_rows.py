"""Two processes average gradients of tall matrices by the rows in use, and get what a sum of everything gives."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from waiting import PATIENCE

from sparsecode.kernels.sparse_rows import rows_in_use
from sparsecode.ops.collective import TALL, average_gradients

SHARES = {"none": 0.0, "few": 0.02, "many": 0.9}


class Rows(nn.Module):
    """A table of which a step uses some rows, beside parameters that it uses as a whole."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(TALL + 5, 24, generator=rng))
        self.small = nn.Parameter(torch.randn(24, 3, generator=rng))
        self.bias = nn.Parameter(torch.randn(TALL + 5, generator=rng))

    def forward(self, at: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return ((self.table[at] * x + self.bias[at, None]) @ self.small).square().sum() + 0.0 * self.table.sum()


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    result: dict[tuple[str, bool | str], Any] = {}
    plain = dist.all_reduce
    for name, share in SHARES.items():
        rng = torch.Generator().manual_seed(10 + rank)
        at = torch.randperm(TALL, generator=rng)[: int(share * TALL)]
        x = torch.randn(len(at), 24, generator=rng)
        for hooked in (False, True):
            model = DistributedDataParallel(Rows())
            sent = 0
            if hooked:
                model.register_comm_hook(None, average_gradients)

            def counted(tensor: torch.Tensor, *args: Any, **options: Any) -> Any:
                nonlocal sent
                sent += tensor.nbytes
                return plain(tensor, *args, **options)

            dist.all_reduce = counted
            model(at, x).backward()
            dist.all_reduce = plain
            result[name, hooked] = [p.grad for p in model.parameters()]
            result[name, "bytes"] = sent
    torch.save(result, f"{folder}/{rank}")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    rows_in_use(np.zeros((1, 24), np.float32))  # compiled before the processes part
    folder = tmp_path_factory.mktemp("gradients")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_work, args=(rank, str(folder))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0
    return [torch.load(Path(folder) / str(rank)) for rank in range(2)]


@pytest.mark.parametrize("name", SHARES)
def test_gradients_have_the_bits_of_a_sum_of_everything(name: str, results: list[dict[Any, Any]]) -> None:
    for result in results:
        for grad, expected, other in zip(result[name, True], result[name, False], results[0][name, True], strict=True):
            assert grad.equal(expected)
            assert grad.equal(other)


def test_few_rows_are_sent_where_few_are_in_use(results: list[dict[Any, Any]]) -> None:
    whole = (TALL + 5) * 24 * 4
    assert (
        results[0]["none", "bytes"] < 0.3 * whole
    )  # of the table a byte per row; the bias and the small matrix as they are
    assert results[0]["few", "bytes"] < 0.3 * whole
    assert results[0]["many", "bytes"] > whole


def test_a_row_is_in_use_if_any_number_in_it_is_not_zero() -> None:
    table = np.zeros((300, 130), np.float32)
    table[::2] = -0.0
    expected = np.zeros(300, np.bool_)
    for row, column, value in ((0, 0, 1.0), (7, 129, 1e-45), (8, 64, np.nan), (299, 63, -np.inf)):
        table[row, column], expected[row] = value, True
    np.testing.assert_array_equal(rows_in_use(table), expected)
