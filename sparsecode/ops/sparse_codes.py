"""Encoding to, and decoding from, codes that are mostly zero, without a dense batch of codes; differentiable.

On a CPU in float32 the kernels serve, elsewhere plain torch does; both give the same numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.kernels import on_device
from sparsecode.ops.score_blocks import Products, score_blocks
from sparsecode.ops.scratch import borrowed
from sparsecode.ops.sparse_layout import dense, from_dense, from_mostly_zero, offsets_of
from sparsecode.records import SparseCode

__all__ = ["decode_codes", "decode_sparse", "select_above", "select_top"]

WIDE = 1024  # number of codes from which sparse products are quicker
RARE = 1 / 24  # share of active codes up to which 16-bit integers find them in less time than float32's products
CHUNK = 1024  # samples whose active codes are in memory with room for all


def select_top(
    x: Float[Tensor, "b f"],
    weight: Float[Tensor, "k f"],
    bias: Float[Tensor, " k"],
    centre: Float[Tensor, " f"] | None,
    k: int,
    *,
    products: Products = "exact",
) -> SparseCode:
    """The k largest entries of each row of (x - centre) W^T + b, those that are positive.

    Differentiable in x, W, b and centre. With `products` "int8", "int16" or "bf16" products in these find those that may be
    among the k largest, of which the largest are kept by their values in full precision; integers miss one in 10^9. With "int16" more than RARE active
    codes are found by float32's products.
    """
    if not _compiled(x, weight):
        pre = torch.nn.functional.linear(_centred(x, centre), weight, bias)
        values, at = pre.topk(min(k, pre.shape[1]), dim=1, sorted=False)
        kept = torch.zeros_like(pre, dtype=torch.bool).scatter(1, at, values > 0)
        return from_dense(pre, kept)
    return SparseCode(*_SelectTop.apply(x, weight, bias, centre, k, products), len(weight))  # pyright: ignore - apply is untyped


def select_above(
    x: Float[Tensor, "b f"],
    weight: Float[Tensor, "k f"],
    bias: Float[Tensor, " k"],
    centre: Float[Tensor, " f"] | None,
    threshold: Float[Tensor, " k"] | float,
    *,
    products: Products = "exact",
    most: float = math.inf,
) -> SparseCode | None:
    """All entries of (x - centre) W^T + b above a threshold; None if there are more than `most` per sample in the first rows.

    Differentiable in x, W, b and centre, not in the threshold. With `products` "bf16" entries may be missed that are
    above the threshold by less than some 5e-4 |x - centre| |w|, with integers one in 10^9; values are exact. With "int16" more
    than RARE active codes are found by float32's products.
    """
    levels = torch.as_tensor(threshold, dtype=weight.dtype, device=weight.device).detach().expand(len(weight))
    if not _compiled(x, weight):
        pre = torch.nn.functional.linear(_centred(x, centre), weight, bias)
        active = pre > levels
        return None if active.sum() > most * len(x) else from_dense(pre, active)
    result = _SelectAbove.apply(x, weight, bias, centre, levels, products, most)
    return None if result is None else SparseCode(*result, len(weight))  # pyright: ignore - apply is untyped


def decode_sparse(
    code: SparseCode, atoms: Float[Tensor, "k f"], bias: Float[Tensor, " f"] | None = None
) -> Float[Tensor, "b f"]:
    """z D + b, differentiable in the code's values, in D and in b."""
    if not _compiled(code.values, atoms):
        if kernel := on_device("sparse_rows", "decode_sparse", atoms.device.type):
            return kernel(code, atoms, bias)
        return dense(code) @ atoms if bias is None else torch.addmm(bias, dense(code), atoms)
    return _Decode.apply(code.values, atoms, bias, code.indices, code.offsets)  # pyright: ignore - apply is untyped


def decode_codes(
    z: Float[Tensor, "b k"], atoms: Float[Tensor, "k f"], bias: Float[Tensor, " f"]
) -> Float[Tensor, "b f"]:
    """z D + b. Without gradients, the entries of wide codes that are not 0 are multiplied alone where they are few."""
    # a graph cannot depend on values
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    if len(atoms) >= WIDE and not torch.is_grad_enabled() and not traced:
        code = from_mostly_zero(z)
        if code is not None:
            return decode_sparse(code, atoms, bias)
    return torch.addmm(bias, z, atoms)


def _compiled(values: Tensor, table: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype == table.dtype == torch.float32


def _centred(x: Tensor, centre: Tensor | None) -> Tensor:
    return x if centre is None else x - centre


class _Columns:
    """Entries sorted by column: once for all gradients through the same indices, to which it is attached."""

    NAME = "_sparsecode_columns"

    def __init__(self) -> None:
        self._sorted: dict[int, Any] = {}

    @classmethod
    def of(cls, indices: Tensor) -> _Columns:
        columns = getattr(indices, cls.NAME, None)
        if not isinstance(columns, _Columns):
            columns = cls()
            setattr(indices, cls.NAME, columns)
        return columns

    def order(self, indices: NDArray[np.int32], offsets: NDArray[np.int64], n_columns: int) -> Any:
        from sparsecode.kernels.sparse_rows import column_order  # numba is slow to import

        if n_columns not in self._sorted:
            self._sorted[n_columns] = column_order(indices, offsets, n_columns)
        return self._sorted[n_columns]


class _Select(torch.autograd.Function):
    """The gradients that all selections share: those of (x - c) . w_j + b_j for the entries kept."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        from sparsecode.kernels.sparse_rows import column_sums, row_sums  # numba is slow to import

        centred, weight, indices, offsets = ctx.saved_tensors
        needs = ctx.needs_input_grad
        by_value = grads[0]
        if by_value is None:
            return (None,) * len(needs)
        threads = torch.get_num_threads()
        values, columns, starts = by_value.contiguous().numpy(), indices.numpy(), offsets.numpy()
        by_x = by_weight = by_bias = by_centre = None
        if needs[0]:
            by_x = torch.empty_like(centred)
            nothing = centred.new_zeros(centred.shape[1]).numpy()
            row_sums(values, columns, starts, _array(weight), nothing, by_x.numpy(), threads)
        if any(needs[1:4]):
            by_weight, by_bias = borrowed(tuple(weight.shape), weight.dtype), weight.new_empty(len(weight))
            order = ctx.columns.order(columns, starts, len(weight))
            column_sums(values, order, centred.numpy(), by_weight.numpy(), by_bias.numpy(), threads)
            if needs[3]:
                by_centre = -(by_bias @ weight)
        return by_x, by_weight, by_bias, by_centre, *(None for _ in needs[4:])


def _finish(ctx: Any, centred: Tensor, weight: Tensor, code: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    values, indices, offsets = code
    ctx.save_for_backward(centred, weight, indices, offsets)
    ctx.columns = _Columns.of(indices)
    ctx.mark_non_differentiable(indices, offsets)
    ctx.set_materialize_grads(False)
    return values, indices, offsets


class _SelectTop(_Select):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, centre: Tensor | None, k: int, products: Products
    ) -> tuple[Tensor, ...]:
        n, k = len(x), min(k, len(weight))
        products = "exact" if products == "int16" and k > RARE * len(weight) else products
        centred = _centred(x, centre).contiguous()
        indices, values = torch.empty(n, k, dtype=torch.int32), x.new_empty(n, k)
        counts = torch.empty(n, dtype=torch.long)
        for rows, block in score_blocks(centred, weight, bias, products):
            block.top(k, indices[rows], values[rows], counts[rows])
        offsets = offsets_of(counts)
        if int(offsets[-1]) < n * k:
            filled = torch.arange(k) < counts[:, None]
            return _finish(ctx, centred, weight, (values[filled], indices[filled], offsets))
        return _finish(ctx, centred, weight, (values.view(-1), indices.view(-1), offsets))


class _SelectAbove(_Select):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        centre: Tensor | None,
        levels: Tensor,
        products: Products,
        most: float,
    ) -> tuple[Tensor, ...] | None:
        from sparsecode.kernels.selection import packed  # numba is slow to import

        n = len(x)
        size = min(CHUNK, n), len(weight)
        centred = _centred(x, centre).contiguous()
        indices, values = borrowed(size, torch.int32), borrowed(size, x.dtype)
        counts = torch.empty(n, dtype=torch.long)
        kept: list[tuple[NDArray[np.int32], NDArray[Any]]] = []
        for rows, block in score_blocks(centred, weight, bias, products, probe=True):
            n_active = counts[rows]
            part = indices[: len(n_active)], values[: len(n_active)]
            for counted in (True, False) if products != "exact" and not rows.start else (False,):
                block.above(levels, *part, n_active, counted=counted)
                mean = float(n_active.sum()) / len(n_active)
                if mean > most:
                    return None
                if counted and products == "int16" and mean > RARE * len(weight):
                    return _SelectAbove.forward(ctx, x, weight, bias, centre, levels, "exact", most)
            kept.append(packed(part[0].numpy(), part[1].numpy(), n_active.numpy()))
        all_indices, all_values = (torch.from_numpy(np.concatenate(part)) for part in zip(*kept, strict=True))
        return _finish(ctx, centred, weight, (all_values, all_indices, offsets_of(counts)))


def _array(x: Tensor) -> NDArray[Any]:
    return x.detach().contiguous().numpy()


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, atoms: Tensor, bias: Tensor | None, indices: Tensor, offsets: Tensor
    ) -> Tensor:
        from sparsecode.kernels.sparse_rows import row_sums  # numba is slow to import

        values, atoms = values.contiguous(), atoms.contiguous()
        out = atoms.new_empty(len(offsets) - 1, atoms.shape[1])
        start = atoms.new_zeros(atoms.shape[1]) if bias is None else bias
        row_sums(
            values.numpy(), indices.numpy(), offsets.numpy(), atoms.numpy(), _array(start), out.numpy(), torch.get_num_threads()
        )  # fmt: skip
        ctx.save_for_backward(values, atoms, indices, offsets)
        ctx.columns = _Columns.of(indices)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from sparsecode.kernels.sparse_rows import column_sums, row_dots  # numba is slow to import

        values, atoms, indices, offsets = ctx.saved_tensors
        grad = grads[0].contiguous().numpy()
        columns, starts, threads = indices.numpy(), offsets.numpy(), torch.get_num_threads()
        by_values = by_atoms = None
        if ctx.needs_input_grad[0]:
            by_values = torch.empty_like(values)
            row_dots(grad, columns, starts, _array(atoms), by_values.numpy(), threads)
        if ctx.needs_input_grad[1]:
            by_atoms = borrowed(tuple(atoms.shape), atoms.dtype)
            totals = atoms.new_empty(len(atoms)).numpy()
            order = ctx.columns.order(columns, starts, len(atoms))
            column_sums(_array(values), order, grad, by_atoms.numpy(), totals, threads)
        return by_values, by_atoms, grads[0].sum(dim=0) if ctx.needs_input_grad[2] else None, None, None
