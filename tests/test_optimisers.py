"""Optimisers beyond Adam: against plain formulas, by their state, and on units that stay silent."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsecode.train.optim import SGD, Adagrad, Adam, Group, RMSprop, SparseAdam
from sparsecode.train.uncompiled import AdagradOptimiser, AdamOptimiser, RMSpropOptimiser, SGDOptimiser


def descend(spec: Group, grads: list[torch.Tensor]) -> torch.Tensor:
    param = nn.Parameter(torch.ones_like(grads[0]))
    optimiser = spec.build([param])
    for grad in grads:
        param.grad = grad.clone()
        optimiser.step()
    return param.detach()


def draws(n: int = 6) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, generator=rng) for _ in range(n)]


def test_sparse_adam_is_adam_where_every_unit_has_a_gradient() -> None:
    torch.testing.assert_close(
        descend(SparseAdam(lr=0.1), draws()), descend(Adam(lr=0.1), draws()), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("shape", [(4, 3), (4,)])
def test_sparse_adam_leaves_silent_units_alone(shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(1)
    grads = [torch.randn(shape, generator=rng) for _ in range(6)]
    for grad in grads[2:5]:
        grad[1] = 0.0
    result = descend(SparseAdam(lr=0.1), grads)
    heard = descend(SparseAdam(lr=0.1), [g for i, g in enumerate(grads) if i not in (2, 3, 4)])
    torch.testing.assert_close(result[1], heard[1])  # as if the steps in silence had not been
    assert not torch.allclose(descend(Adam(lr=0.1), grads)[1], heard[1])


def test_rmsprop_and_adagrad_are_their_formulas() -> None:
    grads = draws()
    w, v = torch.ones(4, 3), torch.zeros(4, 3)
    for g in grads:
        v = 0.9 * v + 0.1 * g.square()
        w = w - 0.01 * g / (v.sqrt() + 1e-8)
    torch.testing.assert_close(descend(RMSprop(lr=0.01, decay=0.9), grads), w)
    w, s = torch.ones(4, 3), torch.zeros(4, 3)
    for g in grads:
        s = s + g.square()
        w = w - 0.1 * g / (s.sqrt() + 1e-10)
    torch.testing.assert_close(descend(Adagrad(lr=0.1), grads), w)
    torch.testing.assert_close(descend(SGD(lr=0.5), grads), 1 - 0.5 * torch.stack(grads).sum(dim=0))


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (AdamOptimiser, torch.optim.Adam, {"fused": True, "weight_decay": 0.1}),
        (SGDOptimiser, torch.optim.SGD, {"momentum": 0.9}),
        (RMSpropOptimiser, torch.optim.RMSprop, {"momentum": 0.9}),
        (AdagradOptimiser, torch.optim.Adagrad, {}),
    ],
    ids=["adam", "sgd", "rmsprop", "adagrad"],
)
def test_optimisers_without_the_compiler_are_those_of_torch_to_the_bit(
    ours: type[torch.optim.Optimizer], theirs: type[torch.optim.Optimizer], options: dict[str, float]
) -> None:
    results: list[list[torch.Tensor]] = []
    for kind in (ours, theirs):
        param = nn.Parameter(torch.ones(4, 3))
        optimiser = kind([param], lr=0.1, **options)  # pyright: ignore[reportCallIssue] - that of a subclass
        for i, grad in enumerate(draws()):
            if i == 3:  # from its state alone, at another address
                state, param = optimiser.state_dict(), nn.Parameter(param.detach().clone())
                optimiser = kind([param], lr=0.5)  # pyright: ignore[reportCallIssue]
                optimiser.load_state_dict(state)
            param.grad = grad.clone()
            optimiser.step()
        optimiser.zero_grad()
        assert param.grad is None
        assert not param.detach().requires_grad
        (entry,) = optimiser.state.values()
        results.append([param.detach(), *(v for v in entry.values() if isinstance(v, torch.Tensor))])
    for mine, other in zip(*results, strict=True):
        assert torch.equal(mine, other)
