"""Batches are a function of (seed, step): whoever starts where, and on how many ranks, sees the same ones."""

from itertools import chain

import pytest
import torch

from sparsecode.data import Split
from sparsecode.data.batches import batches, steps_per_epoch

N = 23
SPLIT = Split(torch.arange(N)[:, None].float(), label=torch.arange(N) + 100)


def drawn(
    start: int, stop: int, *, batch_size: int = 5, seed: int = 0, rank: int = 0, world: int = 1
) -> list[list[int]]:
    """The samples of each batch, by their number."""
    return [batch.x[:, 0].long().tolist() for _, batch in batches(SPLIT, batch_size, seed, start, stop, rank, world)]


@pytest.mark.parametrize("start", range(10))
def test_any_start_gives_the_same_suffix(start: int) -> None:
    assert drawn(start, 10) == drawn(0, 10)[start:]


def test_steps_are_numbered_from_the_start() -> None:
    assert [step for step, _ in batches(SPLIT, 5, 0, 3, 9)] == list(range(3, 9))


@pytest.mark.parametrize("world", [2, 5])
def test_parts_of_all_ranks_are_the_batch_of_one(world: int) -> None:
    parts = [drawn(0, 6, batch_size=10, rank=rank, world=world) for rank in range(world)]
    together = [list(chain(*step)) for step in zip(*parts, strict=True)]
    assert together == drawn(0, 6, batch_size=10)


def test_every_epoch_visits_each_sample_at_most_once_in_an_order_of_its_own() -> None:
    per_epoch = steps_per_epoch(N, 5)
    epochs = [list(chain(*drawn(e * per_epoch, (e + 1) * per_epoch))) for e in range(20)]
    for visited in epochs:
        assert len(visited) == 20
        assert len(set(visited)) == 20
        assert set(visited) <= set(range(N))
    assert len({tuple(visited) for visited in epochs}) == 20
    assert set.union(*map(set, epochs)) == set(range(N))  # what one epoch drops another visits


def test_order_depends_on_the_seed() -> None:
    assert drawn(0, 4, seed=0) != drawn(0, 4, seed=1)


def test_labels_go_with_their_samples() -> None:
    for _, batch in batches(SPLIT, 5, 0, 0, 8):
        assert batch.label is not None
        assert (batch.label - 100).tolist() == batch.x[:, 0].tolist()


def test_data_without_labels_have_batches_without() -> None:
    assert next(batches(Split(SPLIT.x), 5, 0, 0, 1))[1].label is None


@pytest.mark.usefixtures("global_rng_untouched")
def test_global_generators_are_left_alone() -> None:
    assert len(drawn(0, 9)) == 9


@pytest.mark.parametrize(("n", "size", "expected"), [(23, 5, 4), (20, 5, 4), (5, 5, 1)])
def test_epochs_count_whole_batches(n: int, size: int, expected: int) -> None:
    assert steps_per_epoch(n, size) == expected


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train\.batch_size is 24, and there are 23 training samples"):
        drawn(0, 1, batch_size=24)


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train\.batch_size is 5; expected a multiple of the 2 processes"):
        drawn(0, 1, world=2)
