"""Compiled clipping and Adam steps are those of torch, from any state and back."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sparsecode.models.amortised import Amortised
from sparsecode.models.base import AbstractSparseModel
from sparsecode.nn.activations import ReLU
from sparsecode.schedules import Linear
from sparsecode.train.adam_state import clipped_adam
from sparsecode.train.optim import SGD, Adam, Clip, Optim, OptimiserGroup, build, clip_, set_rates

PLAIN = Adam(lr=0.01)


def begun(optim: Optim) -> tuple[AbstractSparseModel, list[OptimiserGroup]]:
    model = Amortised(n_code=20, activation=ReLU()).build((1, 4, 4), 0)
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    return model, build(optim, model)


def pushed(model: AbstractSparseModel, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    for param in model.parameters():
        assert param.grad is not None
        param.grad.copy_(torch.randn(param.shape, generator=rng))


def usual(groups: list[OptimiserGroup], clip: Clip | None, step: int) -> None:
    set_rates(groups, step)
    clip_(groups, clip)
    for group in groups:
        group.optimiser.step()


@pytest.mark.parametrize(
    ("groups", "clip"),
    [
        ({"*": PLAIN}, None),
        ({"*": Adam(lr=Linear(start=0.01, stop=0.0, length=9), weight_decay=0.1)}, Clip(norm=0.5)),
        ({"encoder": Adam(weight_decay=0.1, decoupled=True), "*": Adam(beta1=0.5, eps=1e-3)}, Clip(norm=2.0)),
        ({"encoder": PLAIN, "*": PLAIN}, Clip(norm=3.0, per_group=True)),
        ({"*": PLAIN}, Clip(norm=1e6)),
    ],
)
def test_steps_are_those_of_torch(groups: dict[str, Any], clip: Clip | None) -> None:
    optim = Optim(groups, clip)
    (ours, our_groups), (theirs, their_groups) = begun(optim), begun(optim)
    begin = torch.cat([p.detach().flatten() for p in ours.parameters()])
    for step in range(9):  # three of torch's, three compiled ones, three of torch's again
        pushed(ours, step)
        pushed(theirs, step)
        usual(their_groups, clip, step)
        if 3 <= step < 6:
            compiled = clipped_adam(our_groups, clip)
            assert compiled is not None
            compiled(step)
        else:
            usual(our_groups, clip, step)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert float((torch.cat([p.detach().flatten() for p in ours.parameters()]) - begin).abs().max()) > 1e-3
    for group in our_groups:
        assert {int(own["step"]) for own in group.optimiser.state.values()} == {9}


def test_what_is_no_adam_in_float32_goes_its_usual_way() -> None:
    assert clipped_adam(begun(Optim({"encoder": PLAIN, "*": SGD()}))[1], None) is None
    model, groups = begun(Optim({"*": PLAIN}))
    for param in model.parameters():
        param.data, param.grad = param.data.double(), None
    assert clipped_adam(groups, None) is None
    model, groups = begun(Optim({"*": PLAIN}))
    next(model.parameters()).grad = None
    assert clipped_adam(groups, None) is None


def test_parameters_of_different_age_are_left_to_torch() -> None:
    model, groups = begun(Optim({"*": PLAIN}))
    pushed(model, 0)
    usual(groups, None, 0)
    group = groups[0]
    group.optimiser.state[next(iter(group.params.values()))]["step"] += 1
    assert clipped_adam(groups, None) is None
