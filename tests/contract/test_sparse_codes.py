"""Sparse codes beside dense ones: the same numbers, the same gradients, whichever way they are computed."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from sparsecode.data import Photos
from sparsecode.kernels import quantised, sparse_rows
from sparsecode.kernels.pair_products import COLUMNS, padded, pair_products
from sparsecode.kernels.rounding import quantise, quantise_pairs, quantise_panels
from sparsecode.ops import sparse_codes as ops
from sparsecode.ops import sparse_layout
from sparsecode.ops.score_blocks import Products, int8_is_exact
from sparsecode.ops.scratch import borrowed
from sparsecode.records import SparseCode

Weights = tuple[Tensor, Tensor, Tensor, Tensor]  # W, b, centre, D

needs_int8 = pytest.mark.skipif(not int8_is_exact(), reason="products of 8-bit integers overflow without VNNI")
INT8 = pytest.param("int8", marks=needs_int8)
integers = pytest.mark.parametrize("products", [INT8, "int16"])
products = pytest.mark.parametrize("products", ["exact", INT8, "int16", "bf16"])
LEVEL = 0.3


def patches(n: int, dtype: torch.dtype) -> Tensor:
    """Patches of photographs."""
    return Photos(n_train=n).load().train.x.flatten(1)[:n].to(dtype)


def weights(n_code: int, dtype: torch.dtype) -> Weights:
    """Atoms that are patches themselves, of norm 1, as encoder and decoder; small biases; a mean of patches."""
    rows = patches(n_code + 50, torch.float64)
    atoms = torch.nn.functional.normalize(rows[50:] - rows.mean(dim=0), dim=1)
    atoms[torch.linalg.vector_norm(atoms, dim=1) == 0] = 1.0
    bias = 0.1 * torch.randn(n_code, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parts = (atoms + 0.01 * rows[50:], bias, rows.mean(dim=0), atoms)
    return tuple(part.to(dtype).requires_grad_() for part in parts)  # pyright: ignore[reportReturnType] - four of them


def top(k: int, kind: Products = "exact") -> Callable[[Tensor, Weights], SparseCode]:
    return lambda x, w: ops.select_top(x, *w[:3], k, products=kind)


def above(level: Tensor | float, kind: Products = "exact") -> Callable[[Tensor, Weights], SparseCode]:
    def select(x: Tensor, w: Weights) -> SparseCode:
        code = ops.select_above(x, *w[:3], level, products=kind)
        assert code is not None
        return code

    return select


def gradients(select: Callable[[Tensor, Weights], SparseCode], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Of a loss that weighs values, sums and reconstructions, by x, W, b, centre and D."""
    x, w = patches(70, dtype).requires_grad_(), weights(900, dtype)
    code = select(x, w)
    out = ops.decode_sparse(code, w[3], w[2])
    (out - x).square().sum().add(code.values.sin().sum()).backward()
    result = [part.grad for part in (x, *w)]
    assert all(grad is not None for grad in result)
    return tuple(grad.double() for grad in result if grad is not None)


@pytest.mark.parametrize(
    "select",
    [
        top(9),
        pytest.param(top(9, "int8"), marks=needs_int8),
        top(9, "int16"),
        top(9, "bf16"),
        above(LEVEL),
        pytest.param(above(LEVEL, "int8"), marks=needs_int8),
        above(LEVEL, "int16"),
        above(LEVEL, "bf16"),
    ],
)
def test_compiled_gradients_are_those_of_plain_torch(select: Callable[[Tensor, Weights], SparseCode]) -> None:
    for fast, plain in zip(gradients(select, torch.float32), gradients(select, torch.float64), strict=True):
        assert (plain != 0).any()
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=2e-5 * float(plain.abs().max()))


@pytest.mark.parametrize("name", ["top", "above"])
def test_gradients_of_every_output_are_those_of_finite_differences(name: str) -> None:
    """The autograd functions themselves in float64, where the public functions would take the plain way."""
    w, b, c, atoms = weights(12, torch.float64)
    # a few pixels and samples, so that it takes no minute
    x, w, c, atoms = (
        part.detach()[:, :7].clone().requires_grad_() for part in (patches(5, torch.float64), w, c[None], atoms)
    )
    c = c[0].detach().requires_grad_()

    def select(*args: Tensor) -> Tensor:
        result = (
            ops._SelectTop.apply(*args, 4, "exact")
            if name == "top"
            else ops._SelectAbove.apply(*args, torch.full((12,), LEVEL, dtype=torch.float64), "exact", torch.inf)
        )
        assert not result[1].requires_grad
        assert not result[2].requires_grad
        return result[0]

    values, indices, offsets = ops._SelectTop.apply(x, w, b, c, 4, "exact")
    assert torch.autograd.gradcheck(select, (x, w, b, c))
    assert torch.autograd.gradcheck(
        lambda v, d, b: ops._Decode.apply(v, d, b, indices, offsets), (values.detach().requires_grad_(), atoms, c)
    )
    code = SparseCode(values.detach().requires_grad_(), indices, offsets, 12)
    assert torch.autograd.gradcheck(lambda v: sparse_layout.dense(code._replace(values=v)), (code.values,))


@pytest.mark.parametrize(
    ("n", "n_code", "k"), [(1, 5, 2), (3, 64, 64), (40, 700, 1), (1100, 1500, 32), (20, 1500, 400)]
)
@products
def test_top_codes_are_those_of_topk(n: int, n_code: int, k: int, products: Products) -> None:
    x, (w, b, c, _) = patches(n, torch.float32), weights(n_code, torch.float32)
    code = ops.select_top(x, w, b, c, k, products=products)
    pre = (x - c) @ w.T + b
    expected = torch.zeros_like(pre).scatter(1, (best := pre.topk(k, dim=1)).indices, best.values.relu())
    assert (code.values > 0).all()
    rising = code.indices.diff() > 0
    rising[code.offsets[1:-1] - 1] = True
    assert rising.all()
    torch.testing.assert_close(sparse_layout.dense(code), expected, rtol=0, atol=1e-4)
    same = (sparse_layout.dense(code) > 0) == (expected > 0)
    assert (~same).sum() <= 0.001 * same.sum()  # ties within rounding


@products
def test_all_codes_above_a_threshold_and_no_others(products: Products) -> None:
    x, (w, b, c, _) = patches(1100, torch.float32), weights(700, torch.float32)
    for level in (0.0, LEVEL, torch.linspace(-0.2, 1.0, 700)):
        code = ops.select_above(x, w, b, c, level, products=products)
        assert code is not None
        pre = (x - c) @ w.T + b
        expected = torch.where(pre > level, pre, 0.0)
        result = sparse_layout.dense(code)
        missed = (result != 0) != (expected != 0)
        assert missed.double().mean() <= (1e-3 if products == "bf16" else 1e-5)
        torch.testing.assert_close(result[~missed], expected[~missed], rtol=0, atol=1e-4)
        assert missed.sum() == 0 or (pre - level).abs()[missed].max() < 0.02


def hard_rows(kind: str) -> tuple[Tensor, Tensor]:
    """Samples and weights whose roundings to 255 levels are large or alike: (x [60, 256], W [700, 256])."""
    rng = torch.Generator().manual_seed(4)
    x, w = torch.randn(60, 256, generator=rng), torch.randn(700, 256, generator=rng)
    if kind == "one feature a thousand times the others":
        x[:, 3], w[:, 3] = 1000 * x[:, 3].abs(), w[:, 3] / 1000
    elif kind == "few distinct values":
        x, w = 1 + 0.0037 * x.sign(), 1 + 0.0037 * w.sign()
    elif kind == "smooth":
        x, w = x.cumsum(dim=1), w.cumsum(dim=1)
    elif kind == "norms over six decades":
        x, w = x * torch.logspace(-3, 3, 60)[:, None], w * torch.logspace(-3, 3, 700)[:, None]
    elif kind == "zeros":
        x[::2], w[::2] = 0, 0
    return x, w


def test_quantised_rows_do_not_depend_on_what_memory_held() -> None:
    x = torch.randn(70, 40, generator=torch.Generator().manual_seed(6)).numpy()
    expected = quantise(x, 0, 2)
    for _ in range(20):
        leftovers = [np.full(len(x), np.nan, np.float32) for _ in range(50)]
        del leftovers
        for result, other in zip(quantise(x, 0, 2), expected, strict=True):
            np.testing.assert_array_equal(result, other)


@pytest.mark.parametrize(
    "kind",
    ["one feature a thousand times the others", "few distinct values", "smooth", "norms over six decades", "zeros"],
)
@integers
def test_integer_products_miss_no_code(kind: str, products: Products) -> None:
    x, w = hard_rows(kind)
    bias = 0.1 * torch.randn(700, generator=torch.Generator().manual_seed(5))
    pre = (x.double() @ w.double().T + bias).float()
    best = pre.topk(9, dim=1)
    code = sparse_layout.dense(ops.select_top(x, w, bias, None, 9, products=products))
    error = 2e-6 * torch.linalg.vector_norm(x, dim=1)[:, None] * torch.linalg.vector_norm(w, dim=1) + 1e-6
    assert (code[pre > best.values[:, -1:] + 2 * error] > 0).all()
    assert ((code - pre).abs() <= error)[code > 0].all()
    level = pre.quantile(0.95, dim=0)
    chosen = ops.select_above(x, w, bias, None, level, products=products)
    assert chosen is not None
    code = sparse_layout.dense(chosen)
    assert (code[pre > level + error] != 0).all()
    assert (code[pre < level - error] == 0).all()


@pytest.mark.parametrize(
    ("n", "m", "width", "threads"), [(1, 16, 1, 1), (7, 33, 3, 2), (64, 700, 64, 3), (5, 16, 2000, 1)]
)
def test_pair_products_are_exact(n: int, m: int, width: int, threads: int) -> None:
    """Of rows and tables of any size, up to the largest sums of 32 bits."""
    rng = torch.Generator().manual_seed(width)
    x, w = torch.randn(n, width, generator=rng), torch.randn(m, width, generator=rng)
    x[0], w[0] = 1, -1
    rows = quantise_pairs(x.numpy(), 0, threads)
    panels = np.full((-(-m // COLUMNS), (width + 1) // 2, COLUMNS), 77, np.int32)
    table = quantise_panels(w.numpy(), 1, threads, panels)
    out = np.full((padded(n), m), 77, np.int32)
    pair_products(rows.integers, table.integers, out, threads)
    left = rows.integers.view(np.int16)[:n, :width].astype(np.int64)
    right = np.rint(w.double().numpy() / table.step[:, None]).astype(np.int64)
    assert np.abs(left * rows.step[:, None] - x.numpy()).max() <= 1.001 * rows.step.max()
    columns = np.concatenate(
        [panel.view(np.int16).reshape(-1, COLUMNS, 2).swapaxes(0, 1).reshape(COLUMNS, -1) for panel in panels]
    )
    last = m - (len(panels) - 1) * COLUMNS  # rows of the last panel that are in no other
    in_order = np.concatenate([columns[: m - last], columns[len(columns) - last :]])[:, :width].astype(np.int64)
    assert np.abs(in_order - right).max() <= 1
    np.testing.assert_array_equal(out[:n], left @ in_order.T)
    assert abs(out[0, 0]) > 2**31 * 0.98 or width < 64


def test_crowded_rows_are_declined() -> None:
    x, w = patches(50, torch.float32), weights(700, torch.float32)
    assert ops.select_above(x, *w[:3], -1e9, most=200) is None
    assert ops.select_above(x, *w[:3], -1e9, most=700) is not None
    assert ops.select_above(x.double(), *weights(700, torch.float64)[:3], -1e9, most=200) is None


def in_tiles(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    """Caches of that many bytes, and tables that are always read in parts of them."""
    for module, names in ((sparse_rows, ("HEIGHT", "TILE")), (quantised, ("TILE",))):
        for name in names:
            monkeypatch.setattr(module, name, n_bytes)
    monkeypatch.setattr(sparse_rows, "REUSE", 0)


@pytest.mark.parametrize("in_order", [True, False])
def test_tables_read_in_tiles_give_every_product(in_order: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums, products and gradients for any tile, and for indices in any order within a row, beside dense ones."""
    rng = torch.Generator().manual_seed(7)
    n, n_code, width = 83, 211, 24
    kept = torch.rand(n, n_code, generator=rng) < torch.rand(n, 1, generator=rng)
    kept[3] = False
    rows = [row.nonzero()[:, 0] for row in kept]
    if not in_order:
        rows = [row[torch.randperm(len(row), generator=rng)] for row in rows]
    indices, offsets = torch.cat(rows).int(), torch.tensor([0, *kept.sum(dim=1).cumsum(0).tolist()])
    of_row = torch.arange(n).repeat_interleave(offsets.diff())

    def results(sparse: bool) -> list[Tensor]:
        kind = torch.float32 if sparse else torch.float64
        draw = torch.Generator().manual_seed(8)
        values, atoms, bias = (
            torch.randn(size, generator=draw).to(kind).requires_grad_()
            for size in ((len(indices),), (n_code, width), (width,))
        )
        if sparse:
            out = ops.decode_sparse(SparseCode(values, indices, offsets, n_code), atoms, bias)
        else:
            out = values.new_zeros(n, n_code).index_put((of_row, indices.long()), values) @ atoms + bias
        out.square().sum().backward()
        return [out.detach(), *(each.grad for each in (values, atoms, bias) if each.grad is not None)]

    expected = results(False)
    for n_bytes in (1, 96 * 10, 96 * 64, 2**20):
        in_tiles(monkeypatch, n_bytes)
        for result, other in zip(results(True), expected, strict=True):
            torch.testing.assert_close(result.double(), other, rtol=1e-4, atol=1e-3)


@integers
def test_codes_of_integer_products_do_not_depend_on_tiles(products: Products, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "RARE", 1)
    x, w = patches(300, torch.float32), weights(200, torch.float32)
    expected = above(0.05)(x, w)
    assert len(expected.indices) > 3 * len(w[0])  # so that tiles are used
    for n_bytes in (1, 2**14, 2**20):
        in_tiles(monkeypatch, n_bytes)
        result, other = (sparse_layout.dense(code).detach() for code in (above(0.05, products)(x, w), expected))
        same = (result != 0) == (other != 0)
        assert (~same).double().mean() <= 1e-4  # a value that rounding takes across the threshold
        torch.testing.assert_close(result[same], other[same])


def test_samples_without_codes_and_codes_without_samples() -> None:
    x, (w, _, c, atoms) = patches(30, torch.float32), weights(300, torch.float32)
    bias = torch.full((300,), -100.0)
    bias[7] = 0.5
    for code in (ops.select_top(x, w, bias, c, 5), ops.select_above(x, w, bias, c, 0.0)):
        assert code is not None
        assert set(code.indices.tolist()) == {7}
        torch.testing.assert_close(sparse_layout.dense(code) @ atoms, ops.decode_sparse(code, atoms))
    empty = ops.select_top(x, w, bias - 100, c, 5)
    ops.decode_sparse(empty, atoms).sum().backward()
    assert len(empty.values) == 0
    assert atoms.grad is not None
    assert (atoms.grad == 0).all()


def test_sparse_of_dense_is_dense_of_sparse(rng: torch.Generator) -> None:
    z = torch.randn(9, 20, generator=rng).relu()
    code = sparse_layout.from_dense(z, z > 0)
    assert torch.equal(sparse_layout.dense(code), z)


def test_memory_is_lent_to_one_tensor_at_a_time() -> None:
    first = borrowed((123, 7), torch.float32)
    address = first.data_ptr()
    assert borrowed((123, 7), torch.float32).data_ptr() != address
    part = first[3:5]
    del first
    assert borrowed((123, 7), torch.float32).data_ptr() != address  # a slice of it is still in use
    del part
    several = [borrowed((123, 7), torch.float32) for _ in range(3)]
    assert address in {tensor.data_ptr() for tensor in several}
    assert all(tensor.data_ptr() % 64 == 0 for tensor in several), "rows that straddle cache lines take longer"


def test_gradients_of_two_passes_add_up() -> None:
    """A gradient that is still in use is not written over."""
    x, (w, b, c, atoms) = patches(30, torch.float32), weights(300, torch.float32)

    def passed() -> Tensor:
        return ops.decode_sparse(ops.select_top(x, w, b, c, 5), atoms).square().sum()

    passed().backward()
    assert w.grad is not None
    assert atoms.grad is not None
    once, kept = (w.grad.clone(), atoms.grad.clone()), (w.grad, atoms.grad)
    passed().backward()
    for now, before in zip(kept, once, strict=True):
        torch.testing.assert_close(now, 2 * before)
