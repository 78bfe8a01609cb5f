"""Shuffling files that do not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparsecode.ops.rng import generator

__all__ = ["Records", "Shuffle"]

BLOCK = 8 * 2**20  # bytes of records in memory while they are dealt out
SLICE = 4096  # records handed on at a time
BUCKETS = 256  # files open at a time

Records = NDArray[np.uint8]  # [records, bytes of a record]


class Shuffle(NamedTuple):
    """The records of a file in uniformly random order, at most `most` of them in memory.

    They are dealt out to buckets at random until a bucket fits into memory, and permuted there. As every sequence of
    buckets is equally likely, so is every permutation (Rao, Sankhya 1961; Sandelius, J. R. Stat. Soc. B 1962).
    """

    home: Path
    most: int
    record_bytes: int
    seed: int

    def slices(self, path: Path, n: int, position: tuple[int, ...]) -> Iterator[Records]:
        """All n records, a few at a time; `position` in the tree of buckets decides the order."""
        if n <= self.most:
            records = np.fromfile(path, np.uint8).reshape(n, self.record_bytes)
            order = torch.randperm(n, generator=generator(self.seed, "permute", *position)).numpy()
            for start in range(0, n, SLICE):
                yield records[order[start : start + SLICE]]
            return
        count = min(BUCKETS, 2 * -(-n // self.most))
        buckets = [self.home / f"bucket-{'-'.join(map(str, (*position, i)))}" for i in range(count)]
        dealt = self._deal(path, n, buckets, position)
        for i, (bucket, rows) in enumerate(zip(buckets, dealt, strict=True)):
            if rows:
                yield from self.slices(bucket, rows, (*position, i))
            bucket.unlink()

    def _deal(self, path: Path, n: int, buckets: list[Path], position: tuple[int, ...]) -> list[int]:
        """Each record to a random bucket; returns how many each has got."""
        rng = generator(self.seed, "deal", *position)
        rows = np.zeros(len(buckets), np.int64)
        block = max(1, BLOCK // self.record_bytes)
        with ExitStack() as files, path.open("rb") as source:
            targets = [files.enter_context(bucket.open("wb")) for bucket in buckets]
            for start in range(0, n, block):
                size = min(block, n - start)
                records = np.fromfile(source, np.uint8, size * self.record_bytes).reshape(size, self.record_bytes)
                to = torch.randint(len(buckets), (size,), generator=rng).numpy()
                order, counts = np.argsort(to, kind="stable"), np.bincount(to, minlength=len(buckets))
                for target, chosen in zip(targets, np.split(order, np.cumsum(counts)[:-1]), strict=True):
                    target.write(records[chosen].data)
                rows += counts
        return rows.tolist()
