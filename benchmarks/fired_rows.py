"""Two processes sum the gradients of an autoencoder: all rows, as training does, or only those of codes that were active in one of them.

Encoder and decoder of 24 576 codes of 384 features, gloo on one machine, one thread each. Sums of fired rows are those of training
(`ops.collective.average_gradients`): which rows are not 0 (a byte per code), these gathered, summed and written back where they are few.
The result has the same bits. The second table says which share of the codes fires in a global batch of activations: TopK with 32
active codes, at the start and with encoders that hold samples, whose use is more uneven. Medians, in turn.

    python benchmarks/fired_rows.py
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from common import medians, save, show
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from sparsecode.ops.collective import FEW, average_gradients

N_CODE, WIDTH, K = 24_576, 384, 32
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
BATCHES = (256, 1024, 4096)
REPEATS = 7


class Bucket:
    """Gradients in one buffer, as DDP hands them over."""

    def __init__(self, grads: list[Tensor]) -> None:
        self._grads = grads

    def buffer(self) -> Tensor:
        return self._grads[0].new_zeros(1)  # whose mean is not measured

    def gradients(self) -> list[Tensor]:
        return self._grads


def sum_all(grads: list[Tensor]) -> None:
    """All rows."""
    for grad in grads:
        dist.all_reduce(grad)


def sum_fired(grads: list[Tensor]) -> None:
    """Rows that are not 0 in every process, where these are few: what training does."""
    average_gradients(None, Bucket(grads))  # pyright: ignore[reportArgumentType]


def work(rank: int, folder: str) -> None:
    """One of the two processes; the first writes what it measured."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    result: list[dict[str, Any]] = []
    for share in SHARES:
        rng = torch.Generator().manual_seed(rank)
        either = torch.rand(N_CODE, generator=torch.Generator().manual_seed(9)) < share
        fired = either & (torch.rand(N_CODE, generator=rng) < 0.7)
        grads = [torch.randn(N_CODE, WIDTH, generator=rng) * fired[:, None] for _ in range(2)]
        copies = [[grad.clone() for grad in grads] for _ in range(2)]
        sum_all(copies[0])
        sum_fired(copies[1])
        assert all(a.equal(b) for a, b in zip(*copies, strict=True))
        times: dict[str, list[float]] = {
            "all, clock": [],
            "all, processor": [],
            "fired, clock": [],
            "fired, processor": [],
        }
        sizes = {"all": sum(grad.nbytes for grad in grads)}
        for _ in range(REPEATS):
            for name, run in (("all", sum_all), ("fired", sum_fired)):
                dist.barrier()
                began, used = time.perf_counter(), time.process_time()
                run(grads)
                times[f"{name}, processor"].append(time.process_time() - used)
                times[f"{name}, clock"].append(time.perf_counter() - began)
                for grad in grads:
                    grad.mul_(0.5)
        total = fired.to(torch.uint8)
        dist.all_reduce(total, op=dist.ReduceOp.MAX)
        seconds = {name: round(value, 5) for name, value in medians(times).items()}
        union = int(total.sum())
        sizes["fired"] = sum(N_CODE + (union if union <= FEW * N_CODE else N_CODE) * 4 * WIDTH for _ in grads)
        result.append({"fired": union / N_CODE, "bytes": sizes, "seconds": seconds})
    if rank == 0:
        torch.save(result, f"{folder}/result")
    dist.barrier()
    dist.destroy_process_group()


def shares() -> list[dict[str, float]]:
    """Which share of the codes fires in a global batch."""
    from autoencoders import activations

    rows = torch.cat(activations(WIDTH))
    rng = torch.Generator().manual_seed(0)
    by_samples = rows[torch.randint(len(rows), (N_CODE,), generator=rng)]
    tables = {"start": torch.randn(N_CODE, WIDTH, generator=rng), "samples": by_samples}
    result: list[dict[str, float]] = []
    for batch in BATCHES:
        line: dict[str, float] = {"batch": batch}
        for name, table in tables.items():
            fired = torch.zeros(N_CODE, dtype=torch.bool)
            for part in rows[:batch].split(256):
                at = (part @ torch.nn.functional.normalize(table, dim=1).T).topk(K, dim=1).indices
                fired[at.flatten()] = True
            line[name] = round(float(fired.double().mean()), 4)
        result.append(line)
    return result


def points_of_two() -> list[dict[str, Any]]:
    """What two processes measure."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        spawn(work, (folder,), nprocs=2)
        return torch.load(Path(folder) / "result")


def short() -> dict[str, float]:
    """Ratios of processor time."""
    from ratios import FILES

    return {what: value for what, value, *_ in FILES["fired-rows"][1]({"points": points_of_two()})}


def main() -> None:
    """Measure, print, save."""
    points = points_of_two()
    result = {"size": [N_CODE, WIDTH], "k": K, "points": points, "shares": shares()}
    show(
        f"Sums of the gradients of {N_CODE} codes of {WIDTH} features over two processes",
        ["fired", "MB, all", "MB, fired", "ms, all", "ms, fired", "processor, all", "processor, fired"],
        [
            [
                f"{point['fired']:.0%}",
                *(f"{point['bytes'][name] / 1e6:.1f}" for name in ("all", "fired")),
                *(
                    f"{1e3 * point['seconds'][f'{n}, {c}']:.0f}"
                    for c in ("clock", "processor")
                    for n in ("all", "fired")
                ),
            ]
            for point in points
        ],
    )
    show(
        f"Share of {N_CODE} codes that fire in a batch, {K} active per sample",
        ["samples", "at the start", "encoders of samples"],
        [[str(line["batch"]), f"{line['start']:.0%}", f"{line['samples']:.0%}"] for line in result["shares"]],
    )
    print(f"saved to {save('fired-rows', result)}")


if __name__ == "__main__":
    main()
