"""A whole rectified autoencoder with hand-written gradients beside the same in plain torch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsecode.data import Photos
from sparsecode.ops import dense_codes
from sparsecode.ops.dense_codes import encode_decode
from sparsecode.ops.straight_through import above, jump_relu

Parts = tuple[Tensor, ...]  # out, size, active
function: Any = encode_decode  # its arguments come as a list

every_width = pytest.mark.parametrize("width", [0.0, 0.5], ids=["relu", "jumprelu"])


def arguments(n: int, n_features: int, n_code: int, dtype: torch.dtype, jumps: bool) -> list[Tensor]:
    """Patches of photographs, as samples and as encoder and decoder; biases, scales and thresholds."""
    rng = torch.Generator().manual_seed(0)
    rows = Photos(n_train=n + n_code).load().train.x.flatten(1)[: n + n_code, -n_features:].double()
    atoms = torch.nn.functional.normalize(rows[n:] - rows.mean(dim=0) + 0.01, dim=1)
    bias, scale = torch.randn(n_code, generator=rng).double() / 10, 1 + torch.rand(n_code, generator=rng).double()
    threshold = 0.2 * scale if jumps else torch.zeros_like(scale)
    parts = [rows[:n], atoms + 0.05, bias, rows.mean(dim=0), atoms, rows[0] / 2, threshold, scale]
    return [part.to(dtype).clone().requires_grad_() for part in parts]


def plain(width: float, *args: Tensor) -> Parts:
    x, weight, bias, centre, atoms, shift, threshold, scale = args
    pre = (x - centre) @ weight.T + bias
    z = jump_relu(pre, threshold, width) if width else torch.relu(pre)
    active = above(pre, threshold, width) if width else (pre > 0).to(pre.dtype)
    return z @ atoms + shift, (z * scale).sum(dim=1), active.sum(dim=1)


def gradients(of: Callable[..., Parts], args: list[Tensor]) -> list[Tensor]:
    out, size, active = of(*args)
    weights = torch.linspace(0.5, 1, len(out), dtype=out.dtype)
    ((out.square().sum(dim=1) + size + active) @ weights).backward()
    return [torch.zeros_like(arg) if arg.grad is None else arg.grad.double() for arg in args]


@every_width
def test_every_output_and_gradient_is_that_of_plain_torch(width: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_codes, "ROWS", 1024)  # several products for 1500 rows

    def fast(*args: Tensor) -> Parts:
        return function(*args, width)[:3]

    for n in (1, 40, 1500):
        args, others = (arguments(n, 50, 1300, torch.float64, bool(width)) for _ in range(2))
        for result, expected in zip(fast(*args), plain(width, *others), strict=True):
            torch.testing.assert_close(result, expected)
        for result, expected in zip(gradients(fast, args), gradients(lambda *a: plain(width, *a), others), strict=True):
            torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)
    assert function(*args, width).fired.equal((plain_pre(args) > args[6]).any(dim=0))


def plain_pre(args: list[Tensor]) -> Tensor:
    return (args[0] - args[3]) @ args[1].T + args[2]


def test_gradients_of_every_output_are_those_of_finite_differences() -> None:
    args = arguments(5, 6, 11, torch.float64, jumps=False)
    threshold = args.pop(6).detach()
    assert torch.autograd.gradcheck(
        lambda *a: function(*a[:6], threshold, a[6])[:2], args
    )  # the number of active codes has no derivative without a width


@every_width
def test_bfloat16_is_as_near_as_it_can_be(width: float) -> None:
    def rough(*args: Tensor) -> Parts:
        return function(*args, width, products="bf16")[:3]

    args, others = (arguments(1500, 50, 1300, dtype, bool(width)) for dtype in (torch.float32, torch.float64))
    for result, expected in zip(rough(*args), plain(width, *others), strict=True):
        assert torch.linalg.vector_norm(result - expected) <= 0.01 * torch.linalg.vector_norm(expected)
    pairs = zip(gradients(rough, args), gradients(lambda *a: plain(width, *a), others), strict=True)
    for i, (result, expected) in enumerate(pairs):
        limit = 0.05 if i == 6 else 0.02  # entries near thresholds come and go
        assert torch.linalg.vector_norm(result - expected) <= limit * torch.linalg.vector_norm(expected), i


def test_sums_do_not_depend_on_which_thread_did_them() -> None:
    torch.set_num_threads(2)
    try:
        first, *others = (
            gradients(lambda *a: function(*a, 0.5, products="bf16")[:3], arguments(1500, 50, 1300, torch.float32, True))
            for _ in range(4)
        )
    finally:
        torch.set_num_threads(1)
    for other in others:
        assert all(a.equal(b) for a, b in zip(first, other, strict=True))
