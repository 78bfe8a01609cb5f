"""Runs as tasks on a Ray cluster (extra `[ray]`): the only file that knows Ray."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from sparsecode.ops.cores import cores
from sparsecode.sweeps.jobs import Backend, Job, Outcome, trained

__all__ = ["on_ray"]

RETRIES = 3  # for a run whose worker dies


def on_ray(address: str | None = None, cpus: float = 1.0, gpus: float = 0.0, accelerator: str = "auto") -> Backend:
    """Each run a task with its share of cores and GPUs, on the cluster at `address`, or one on this machine's cores.

    A run whose worker dies is tried three times again, and goes on from its checkpoint; run folders must be on a disk that all
    machines share. When the iteration is given up, running tasks are asked to save and end. Raises ImportError without Ray.
    """
    try:
        import ray as package  # pyright: ignore[reportMissingImports] - it is typed in part, where it is installed
    except ImportError:
        raise ImportError("Ray is not installed: pip install 'sparsecode[ray]'") from None
    ray: Any = package
    if cpus <= 0 or gpus < 0:
        raise ValueError(f"cpus is {cpus:g} and gpus {gpus:g} per run; expected more than 0, and at least 0")

    def backend(jobs: Sequence[Job]) -> Iterator[Outcome]:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        here = None if address else cores()
        ray.init(address=address, num_cpus=here, include_dashboard=False, log_to_driver=False, configure_logging=False)
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, max_calls=1)(_work)
        jobs_of = {
            task.remote(job._replace(folder=job.folder.absolute()), max(1, int(cpus)), accelerator): job for job in jobs
        }
        try:
            waiting: list[Any] = list(jobs_of)
            while waiting:
                (done,), waiting = ray.wait(waiting, num_returns=1)
                try:
                    yield ray.get(done)._replace(job=jobs_of[done])
                except ray.exceptions.RayError as error:
                    yield Outcome(jobs_of[done], problem=f"{type(error).__name__}: {str(error).splitlines()[0]}")
                jobs_of.pop(done)
        finally:
            for reference in jobs_of:  # an interrupt, which training turns into saving
                ray.cancel(reference, force=False)
            if jobs_of:
                ray.wait(list(jobs_of), num_returns=len(jobs_of), timeout=60)
            ray.shutdown()

    return backend


def _work(job: Job, threads: int, accelerator: str) -> Outcome:
    import torch

    torch.set_num_threads(threads)
    return trained(job, (), accelerator)
