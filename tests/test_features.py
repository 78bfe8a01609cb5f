"""What codes stand for: examples, contexts, histograms and neighbours, against direct computations on all rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom

from sparsecode.data import CodeWriter, Split, Tokens, contexts, read_codes
from sparsecode.evaluate import Features, FeatureSettings, collect_features, features_of, read_features, write_features
from sparsecode.evaluate.units import feature_collection, firing
from sparsecode.evaluate.units.examples import NONE, Entries, ExampleCollector
from sparsecode.evaluate.units.feature_collection import CodedRows, RowBlock, rows_of_codes
from sparsecode.evaluate.units.feature_file import FeatureOrigin, read_record
from sparsecode.evaluate.units.firing import RowSample, cofiring
from sparsecode.models import Amortised, Iterative
from sparsecode.models.sparse_inference import encode_sparse
from sparsecode.nn import BatchTopK, JumpReLU, ReLU, TopK
from sparsecode.ops.sparse_layout import dense

N, K = 600, 12


def codes(n: int = N, k: int = K, seed: int = 0) -> np.ndarray:
    """Signed codes with many ties and a code that is never active."""
    rng = np.random.default_rng(seed)
    z = np.round(rng.normal(size=(n, k)), 1) * (rng.random((n, k)) < np.linspace(0.02, 0.9, k))
    z[:, 5] = 0
    return z.astype(np.float32)


def coded(z: np.ndarray, size: int, label: np.ndarray | None = None, tokens: Tokens | None = None) -> CodedRows:
    def blocks() -> Iterable[RowBlock]:
        for first in range(0, len(z), size):
            part = z[first : first + size]
            row, code = np.nonzero(part)
            here = None if label is None else label[first : first + size]
            yield RowBlock(first, len(part), Entries(row + first, code, part[row, code]), here)

    return CodedRows(len(z), z.shape[1], blocks, tokens, 0 if label is None else int(label.max()) + 1)


def arrays(value: object) -> list[np.ndarray]:
    if isinstance(value, tuple):
        return [array for part in value for array in arrays(part)]
    return [value] if isinstance(value, np.ndarray) else []


def assert_same(a: Features, b: Features) -> None:
    first, second = arrays(a), arrays(b)
    assert len(first) == len(second) > 15
    for one, two in zip(first, second, strict=True):
        assert one.dtype == two.dtype
        assert np.array_equal(one, two, equal_nan=one.dtype.kind == "f")


def test_statistics_are_those_of_all_rows() -> None:
    z, label = codes(), np.arange(N) % 3
    result = collect_features(coded(z, 64, label), FeatureSettings(bins=16))
    active = z != 0
    assert result.n == N
    assert np.array_equal(result.n_active, active.sum(axis=0))
    assert np.array_equal(result.positive, (z > 0).sum(axis=0))
    assert np.allclose(result.mean, np.abs(z).sum(axis=0) / np.maximum(active.sum(axis=0), 1))
    assert np.array_equal(result.largest, np.abs(z).max(axis=0))
    assert np.array_equal(result.rows_by_l0, np.bincount(active.sum(axis=1)))
    assert np.array_equal(result.by_class, [[active[label == c, j].sum() for c in range(3)] for j in range(K)])
    assert result.class_sizes.tolist() == [200, 200, 200]
    for j in range(K):
        part = result.code(j)
        if 0 < part.n_active <= 64:  # the sample is whole
            assert np.allclose(part.quantiles, np.quantile(np.abs(z[active[:, j], j]), [0, 0.25, 0.5, 0.75, 1]))
        if j == 5:
            assert np.isnan(part.quantiles).all()
            assert (part.n_active, part.largest, part.examples, part.edges[-1]) == (0, 0.0, [], 0.0)
            continue
        assert part.largest < part.edges[-1] <= 2 * part.largest
        expected, _ = np.histogram(np.abs(z[active[:, j], j]).astype(float), bins=part.edges)
        assert np.array_equal(part.histogram, expected)


def test_examples_are_the_strongest_the_weakest_and_rows_of_each_band() -> None:
    z = codes()
    settings = FeatureSettings(top=5, bands=4, per_band=20, near=3)  # samples of 320 rows: those of most codes whole
    result = collect_features(coded(z, 64), settings)
    for j in range(K):
        strength = np.abs(z[:, j])
        rows = np.flatnonzero(strength)
        by_strength = rows[np.lexsort((rows, -strength[rows]))]
        rising = rows[np.lexsort((rows, strength[rows]))]
        part = result.code(j).examples
        assert [e.row for e in part if e.band == -1] == by_strength[:5].tolist()
        low = [row for row in rising[:3].tolist() if row not in by_strength[:5]]
        assert [e.row for e in part if e.band == -2] == low
        assert len({e.row for e in part}) == len(part)
        assert all(e.value == z[e.row, j] for e in part)
        if len(rows) <= 320:  # ranks are exact
            band = {int(row): 4 * (2 * rank + 1) // (2 * len(rows)) for rank, row in enumerate(rising)}
            assert all(e.band == band[e.row] for e in part if e.band >= 0)
            free = [row for row in rows.tolist() if row not in {*by_strength[:5].tolist(), *rising[:3].tolist()}]
            sizes = [sum(band[row] == b for row in free) for b in range(4)]
            assert [sum(e.band == b for e in part) for b in range(4)] == [min(20, size) for size in sizes]


def test_the_sample_behind_the_bands_is_uniform() -> None:
    """Rows drawn over many seeds: each as often as any other, by a binomial bound that a fair sampler misses once in 1e6."""
    n, draws = 200, 300
    entries = Entries(np.arange(n), np.zeros(n, dtype=np.int64), np.ones(n, dtype=np.float32))
    times = np.zeros(n)
    for seed in range(draws):
        collector = ExampleCollector(1, top=0, bands=1, per_band=5, near=0, seed=seed)  # a sample of 20
        collector.update(entries)
        collector.result()
        times[collector.sample.row[0]] += 1
    low, high = binom.ppf([0.5e-6 / n, 1 - 0.5e-6 / n], draws, 0.1)
    assert times.sum() == 20 * draws
    assert low <= times.min() <= times.max() <= high


@pytest.mark.parametrize("size", [1, 7, 600])
def test_the_division_of_rows_decides_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    z, label = codes(), np.arange(N) % 3
    group = torch.arange(N) // 50
    tokens = Tokens(torch.arange(N) % 9, torch.arange(N) % 50, group)
    settings = FeatureSettings(top=3, per_band=2, near=2, before=3, after=2)
    expected = collect_features(coded(z, 64, label, tokens), settings)
    monkeypatch.setattr("sparsecode.evaluate.units.examples.PENDING", 50)  # many merges
    monkeypatch.setattr("sparsecode.evaluate.units.examples.BLOCK", 5)
    assert_same(collect_features(coded(z, size, label, tokens), settings), expected)


def test_the_seed_decides_which_rows_stand_for_a_band() -> None:
    z = codes(3000, 6)
    one, two, again = (collect_features(coded(z, 500), FeatureSettings(seed=seed)) for seed in (0, 1, 0))
    assert_same(one, again)
    assert not np.array_equal(one.examples.row, two.examples.row)
    top = one.examples.bands == -1
    assert np.array_equal(one.examples.row[:, top], two.examples.row[:, top])


def test_neighbours_fire_together_most() -> None:
    z = codes()
    z[:, 2] = z[:, 7]  # always together
    result = collect_features(coded(z, 64), FeatureSettings(neighbours=4))
    active = (z != 0).astype(int)
    both = active.T @ active
    jaccard = both / np.maximum(active.sum(axis=0)[:, None] + active.sum(axis=0)[None] - both, 1)
    assert result.code(2).neighbours[0] == (7, int(active[:, 7].sum()), 1.0)
    for j in range(K):
        others = [i for i in np.lexsort((np.arange(K), -jaccard[j])) if i != j and both[j, i]][:4]
        assert [i for i, _, _ in result.code(j).neighbours] == others
        assert [n for _, n, _ in result.code(j).neighbours] == both[j, others].tolist()
        assert np.allclose([r for _, _, r in result.code(j).neighbours], jaccard[j, others])


@pytest.mark.parametrize("size", [1, 50, 600])
def test_a_sample_of_rows_is_the_longest_that_fits(size: int) -> None:
    n, entries = (60, 100) if size == 1 else (N, 1000)
    z = codes(n)
    sample = RowSample(3, entries=entries)
    for block in coded(z, size).blocks():
        sample.update(block.entries, block.first, block.n)
    rows = np.sort(np.concatenate([part.row for part in sample.parts]))
    keys = firing.uniform_keys(np.arange(n), 0, 3)
    order = np.argsort(keys)
    fits = int((np.cumsum((z != 0).sum(axis=1)[order]) <= entries).sum())
    assert fits > 5
    assert not sample.whole
    assert rows.tolist() == sorted(order[:fits].tolist())
    assert cofiring(sample, K, 3).n == fits == sample.n


def test_contexts_hold_the_code_on_each_token(monkeypatch: pytest.MonkeyPatch) -> None:
    z = codes()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))  # as shards lie on disk
    tokens = Tokens(torch.arange(N) * 3, torch.arange(N) % 50, torch.arange(N) // 50).take(order)
    settings = FeatureSettings(top=4, per_band=1, near=1, before=4, after=3)
    result = collect_features(coded(z, 64, tokens=tokens), settings)
    seen = 0
    for j in range(K):
        for example in result.code(j).examples:
            around = contexts(tokens, torch.tensor([example.row]), 4, 3)[0]
            rows = around[around >= 0]
            assert example.token_id is not None
            assert example.values is not None
            assert example.token_id.tolist() == tokens.ids[rows].tolist()
            assert example.values.tolist() == z[rows.numpy(), j].tolist()
            assert rows[example.at] == example.row
            seen += 1
    assert seen > 60
    monkeypatch.setattr(feature_collection, "RowSample", lambda seed: RowSample(seed, entries=100))
    again = collect_features(coded(z, 64, tokens=tokens), settings)  # in a second pass
    for one, two in zip(arrays(again.contexts), arrays(result.contexts), strict=True):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("activation", [TopK(k=5), BatchTopK(k=5), ReLU(), JumpReLU(threshold=0.3)])
def test_codes_without_a_dense_batch_are_the_codes(activation: object, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Amortised(n_code=1100, activation=activation).build((20,), seed=0).eval()  # pyright: ignore[reportArgumentType] - one of these
    x = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    state = model.state_dict()
    with torch.no_grad():
        state["encoder.bias"].sub_(2.0)
        if isinstance(activation, BatchTopK):
            state["activation.threshold"].fill_(0.2)
        z = model.encode(x)
        monkeypatch.setattr(type(model), "_encode", None)
        result = dense(encode_sparse(model, x))
        with pytest.raises(ValueError, match="x contains NaN, infinity or values beyond float32, first in row 3"):
            encode_sparse(model, torch.where(torch.arange(50)[:, None] == 3, torch.nan, x))
    assert 0 < int((z != 0).sum()) < z.numel() / 12
    assert torch.equal(z != 0, result != 0)
    assert torch.allclose(z, result, atol=1e-5)


def test_models_and_codes_on_disk_give_the_same(tmp_path: Path) -> None:
    model = Iterative(n_code=16, weight=0.1).build((8,), seed=0).eval()
    x = torch.randn(150, 8, generator=torch.Generator().manual_seed(0))
    label = torch.arange(150) % 2
    of_model = features_of(model, Split(x, label=label))
    z = model.encode(x).numpy()
    assert (z > 0).any()
    with CodeWriter(tmp_path / "codes") as writer:
        for start in (0, 90):
            part = slice(start, 90 if start == 0 else 150)
            writer.append(z[part], columns={"label": label[part].numpy()})
    stored = collect_features(rows_of_codes(read_codes(tmp_path / "codes")), FeatureSettings())
    assert np.array_equal(stored.examples.row, of_model.examples.row)
    assert np.allclose(stored.examples.value, of_model.examples.value, atol=1e-5)
    assert np.array_equal(stored.by_class, of_model.by_class)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    z = codes()
    tokens = Tokens(torch.arange(N), torch.arange(N) % 50, torch.arange(N) // 50)
    result = collect_features(coded(z, 64, np.arange(N) % 2, tokens), FeatureSettings(top=2))
    result = result._replace(texts={0: "a", 1: "</script>\u202e\x00"})
    path, origin = tmp_path / "features" / "features.safetensors", FeatureOrigin(run="a", data="train split")
    write_features(path, result, origin)
    again = read_features(tmp_path)
    assert_same(again, result)
    assert again.texts == result.texts
    assert again.settings == result.settings
    assert read_record(path).origin == origin
    write_features(path, result, origin)  # our own file is replaced
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged, or changed since it was written.*sparsecode features --force"):
        read_features(path)
    path.write_bytes(data[:-5])
    with pytest.raises(ValueError, match="damaged or cut short"):
        read_features(path)
    with pytest.raises(FileNotFoundError, match="expected features, which sparsecode features RUN writes"):
        read_features(tmp_path / "other")


def test_requests_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(ValueError, match=r"bins: got 48; expected a power of two"):
        FeatureSettings(bins=48)
    with pytest.raises(ValueError, match="rows: got none"):
        collect_features(coded(codes()[:0], 5), FeatureSettings())
    result = collect_features(coded(codes(), 100), FeatureSettings())
    with pytest.raises(IndexError, match="code is 12; expected 0 to 11"):
        result.code(12)
    with pytest.raises(IndexError, match="code is -1"):
        result.code(NONE)
