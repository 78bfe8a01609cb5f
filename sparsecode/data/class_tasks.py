"""Groups of classes trained one after the other, for continual learning."""

from __future__ import annotations

import hashlib
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from sparsecode.data.cifar import CIFAR10
from sparsecode.data.cifar10_latents import CIFAR10Latents
from sparsecode.data.mnist import MNIST, FashionMNIST
from sparsecode.data.shards import Shards
from sparsecode.data.sklearn_data import Digits
from sparsecode.data.splits import Reader, Split, Splits
from sparsecode.leaves import tag_of
from sparsecode.ops.rng import generator
from sparsecode.records import Batch
from sparsecode.specs import Count, Seed, Spec

__all__ = ["ClassTasks", "Labelled", "TaskStream"]

Labelled = Digits | MNIST | FashionMNIST | CIFAR10 | CIFAR10Latents | Shards


class ClassTasks(Spec, tag="class_tasks"):
    """Training sees the classes of `source` in groups of `per_task`, each for `epochs_per_task` epochs, then never again.

    Classes come in their order, or in that of a permutation drawn from `order_seed`. All tasks have as many samples as the
    smallest; what has been seen is a function of the step, and after the last task it stays. Validation and test hold all
    classes. Raises ValueError if `per_task` does not divide the classes, or if samples have no labels.
    Source: split CIFAR-10 as in Bricken et al., ICML 2023 (five pairs of classes; orders drawn from seeds 3, 15, 27, 97).
    """

    source: Labelled
    epochs_per_task: Count = 10
    per_task: Count = 2
    order_seed: Annotated[Seed | None, Meta(description="of the classes' order; default: as they are numbered")] = None

    def load(self) -> Splits:
        splits = self.source.load()
        label = splits.train.label
        if label is None:
            raise ValueError(
                f"class_tasks.source: {tag_of(self.source)} has no labels here; expected samples with labels"
            )
        if splits.training.n > splits.train.n:
            raise ValueError(
                f"class_tasks.source.held is {splits.train.n}, and there are {splits.training.n} training rows; expected at least "
                "that many, which are kept in memory"
            )
        tasks = self.tasks(int(label.max()) + 1)
        return splits._replace(stream=TaskStream(splits.train, tasks, self.epochs_per_task, splits.fingerprint()))

    def tasks(self, n_classes: int) -> tuple[tuple[int, ...], ...]:
        """The classes of each task."""
        if n_classes % self.per_task:
            raise ValueError(
                f"per_task is {self.per_task}, and there are {n_classes} classes; expected a divisor of that"
            )
        order = np.arange(n_classes)
        if self.order_seed is not None:
            order = np.random.RandomState(self.order_seed).permutation(n_classes)
        return tuple(tuple(int(c) for c in part) for part in order.reshape(-1, self.per_task))


class TaskStream:
    """Samples of one task at a time: epoch e is of task e // epochs_per_task, in an order drawn from (seed, e)."""

    def __init__(self, split: Split, tasks: tuple[tuple[int, ...], ...], epochs_per_task: int, mark: str) -> None:
        self.split, self.tasks, self.epochs_per_task, self.mark = split, tasks, epochs_per_task, mark
        assert split.label is not None
        label = split.label.cpu()
        self.rows = [torch.isin(label, torch.tensor(task)).nonzero()[:, 0] for task in tasks]
        self.n = min(len(rows) for rows in self.rows)
        if not self.n:
            raise ValueError(
                f"a task of classes {min(zip(self.rows, tasks, strict=True), key=lambda t: len(t[0]))[1]} has no samples"
            )

    def to(self, device: torch.device, dtype: torch.dtype) -> TaskStream:
        return TaskStream(self.split.to(device, dtype), self.tasks, self.epochs_per_task, self.mark)

    def reader(self, seed: int) -> Reader:
        """Every order is a function of (seed, epoch) alone."""
        order, order_of = torch.empty(0, dtype=torch.long), -1
        label, wanted = self.split.label, self.split.target

        def read(epoch: int, first: int, last: int) -> Batch:
            nonlocal order, order_of
            if epoch != order_of:
                order, order_of = self._order(seed, epoch), epoch
            rows = order[first:last]
            target = None if wanted is None else wanted.index_select(0, rows)
            return Batch(self.split.x.index_select(0, rows), target, None if label is None else label[rows])

        return read

    def _order(self, seed: int, epoch: int) -> Tensor:
        rows = self.rows[min(epoch // self.epochs_per_task, len(self.tasks) - 1)]
        drawn = torch.randperm(len(rows), generator=generator(seed, "order", epoch))[: self.n]
        return rows[drawn].to(self.split.x.device)

    def fingerprint(self) -> str:
        """A short hash of all samples and of the tasks."""
        return hashlib.sha256(f"{self.mark} {self.tasks} {self.epochs_per_task}".encode()).hexdigest()[:16]
