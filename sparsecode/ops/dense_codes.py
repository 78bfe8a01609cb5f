"""An autoencoder with rectified codes that are not sparse yet, with hand-written gradients: five matrix products."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sparsecode.ops.score_blocks import CHUNK, Products, scores_of
from sparsecode.ops.scratch import borrowed

__all__ = ["Autoencoded", "encode_decode", "numbers"]

ROWS = 4096  # samples whose codes go through a float32 product at a time: a few per cent faster than 1024


class Autoencoded(NamedTuple):
    """The reconstruction `out` [B, f]; per sample the sum `size` of z_j scale_j and the number of `active` codes
    [B]; which codes `fired` [k].
    """

    out: Float[Tensor, "b f"]
    size: Float[Tensor, " b"]
    active: Float[Tensor, " b"]
    fired: Bool[Tensor, " k"]


def encode_decode(
    x: Float[Tensor, "b f"],
    weight: Float[Tensor, "k f"],
    bias: Float[Tensor, " k"],
    centre: Float[Tensor, " f"],
    atoms: Float[Tensor, "k f"],
    shift: Float[Tensor, " f"],
    threshold: Float[Tensor, " k"],
    scale: Float[Tensor, " k"],
    bandwidth: float = 0.0,
    *,
    products: Products = "exact",
) -> Autoencoded:
    """z D + shift, z = pre where pre = (x - centre) W^T + b > threshold, else 0. On CPUs.

    `out`, `size` and `active` are differentiable with respect to all tensors; to the threshold by the estimate of
    `ops.straight_through`, if `bandwidth` > 0. With `products` "bf16" all factors are rounded to bfloat16, sums are not.
    """
    return Autoencoded(
        *_EncodeDecode.apply(x, weight, bias, centre, atoms, shift, threshold, scale, bandwidth, products)  # pyright: ignore - apply is untyped
    )


def numbers(x: Tensor) -> Any:
    """A tensor's memory as a NumPy array; bfloat16, which NumPy lacks, as int16."""
    return (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).detach().numpy()


class _EncodeDecode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        centre: Tensor,
        atoms: Tensor,
        shift: Tensor,
        threshold: Tensor,
        scale: Tensor,
        bandwidth: float,
        products: Products,
    ) -> tuple[Tensor, ...]:
        from sparsecode.kernels.dense_rows import activate  # numba is slow to import

        n, n_code = len(x), len(weight)
        kind = torch.bfloat16 if products == "bf16" else weight.dtype
        centred, table = (x - centre).contiguous(), atoms.to(kind)
        pre = borrowed((n, n_code), kind)
        z = borrowed((n, n_code), kind) if bandwidth else pre
        linear = x.new_empty(n, atoms.shape[1], dtype=kind)
        size, count, fired = x.new_empty(n), torch.empty(n, dtype=torch.long), torch.zeros(n_code, dtype=torch.bool)
        threshold, scale = threshold.contiguous(), scale.contiguous()
        inside = bias if products == "bf16" else None  # of the product; in float32 it is added where entries are read
        part = CHUNK if products == "bf16" else ROWS
        later = (torch.zeros_like(bias) if products == "bf16" else bias).contiguous()
        for rows, _ in scores_of(centred, weight, inside, products, out=pre, first=part, size=part):
            activate(
                numbers(pre[rows]), numbers(z[rows]), later.numpy(), threshold.numpy(), scale.numpy(), size[rows].numpy(),
                count[rows].numpy(), fired.numpy(), torch.get_num_threads(),
            )  # fmt: skip
            torch.mm(z[rows], table, out=linear[rows])
        ctx.save_for_backward(centred, weight, atoms, threshold, scale, pre, z)
        ctx.bandwidth = bandwidth
        ctx.mark_non_differentiable(fired)
        return linear.to(x.dtype).add_(shift), size, count.to(x.dtype), fired

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from sparsecode.kernels.dense_rows import slopes  # numba is slow to import

        centred, weight, atoms, threshold, scale, pre, z = ctx.saved_tensors
        needs, kind, n = ctx.needs_input_grad, pre.dtype, len(pre)
        by_out, by_size, by_count = (grad.contiguous() for grad in grads[:3])
        right, table = by_out.to(kind), atoms.to(kind)
        slope, sums = borrowed(tuple(pre.shape), kind), torch.zeros(3, len(weight), dtype=weight.dtype)
        part = CHUNK if kind == torch.bfloat16 else ROWS
        for start in range(0, n, part):
            rows = slice(start, min(start + part, n))
            torch.mm(right[rows], table.T, out=slope[rows])
            sums += torch.from_numpy(
                slopes(
                    numbers(pre[rows]),
                    numbers(slope[rows]),
                    threshold.numpy(),
                    ctx.bandwidth,
                    scale.numpy(),
                    by_size[rows].numpy(),
                    by_count[rows].numpy(),
                    torch.get_num_threads(),
                    needs[7],
                )
            )
        by_bias, by_scale, by_threshold = sums
        return (
            (slope @ weight.to(kind)).to(weight.dtype) if needs[0] else None,
            _transposed_product(slope, centred.to(kind), weight) if needs[1] else None,
            by_bias,
            -(by_bias @ weight) if needs[3] else None,
            _transposed_product(z, right, atoms) if needs[4] else None,
            by_out.sum(dim=0),
            by_threshold if ctx.bandwidth else None,
            by_scale if needs[7] else None,
            None,
            None,
        )


def _transposed_product(left: Tensor, right: Tensor, like: Tensor) -> Tensor:
    out = borrowed(tuple(like.shape), left.dtype)
    torch.mm(left.T, right, out=out)
    return out if out.dtype == like.dtype else borrowed(tuple(like.shape), like.dtype).copy_(out)
