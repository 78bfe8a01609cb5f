"""Whole steps in one go are the steps of autograd and `torch.optim.Adam`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor

from sparsecode.data import Digits, Split, Splits
from sparsecode.models.variational import Variational, VariationalModel
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import SpikeSlab
from sparsecode.nn.priors import SpikeSlabPrior
from sparsecode.ops.rng import generator
from sparsecode.schedules import Linear
from sparsecode.train.fit import fit, launch
from sparsecode.train.optim import SGD, Adam, Clip, Optim, build
from sparsecode.train.plan import NonFiniteLossError, Train
from sparsecode.train.steps import fuse

replace = msgspec.structs.replace
SPEC = Variational(10, SpikeSlab(), SpikeSlabPrior(alpha=0.1), net=Perceptron(hidden=(30,)))
TRAIN = Train(epochs=4, batch_size=25, select="last", evaluate_every=100, checkpoint_every=100)


@pytest.fixture(scope="module")
def splits() -> Splits:
    result = Digits().load()
    return result._replace(train=result.train.take(slice(250)))


def trained(splits: Splits, adam: Adam, train: Train, fused: bool, resume: Path | None = None) -> VariationalModel:
    model = SPEC.build(splits.shape, seed=0)
    model.fused = fused
    fit(model, splits, Optim({"*": adam}), train, 0, fabric=launch("32-true", "cpu"), resume=resume)
    return model


def difference(a: VariationalModel, b: VariationalModel) -> float:
    """How far two models are apart, relative to the way of the second from the start."""

    def flat(model: VariationalModel) -> Tensor:
        return torch.cat([param.detach().double().flatten() for param in model.parameters()])

    return float((flat(a) - flat(b)).norm() / (flat(b) - flat(SPEC.build((8, 8), seed=0))).norm())


@pytest.mark.parametrize(
    "adam",
    [
        Adam(lr=1e-3),
        Adam(lr=Linear(start=0.0, stop=2e-3, length=30), beta1=0.8, beta2=0.99, eps=1e-4),
        Adam(weight_decay=0.1),
        Adam(weight_decay=0.1, decoupled=True),
    ],
)
def test_training_goes_the_same_way(adam: Adam, splits: Splits) -> None:
    fast, slow = trained(splits, adam, TRAIN, True), trained(splits, adam, TRAIN, False)
    assert difference(fast, slow) < 1e-4


def test_either_way_goes_on_with_what_the_other_saved(splits: Splits, tmp_path: Path) -> None:
    whole = trained(splits, Adam(), TRAIN, True)
    for fused in (True, False):
        folder = tmp_path / str(fused)
        folder.mkdir()
        model = SPEC.build(splits.shape, seed=0)
        model.fused = fused
        stop_at_step_15(model, splits, folder)
        assert difference(trained(splits, Adam(), TRAIN, not fused, folder), whole) < 1e-4


def stop_at_step_15(model: VariationalModel, splits: Splits, folder: Path) -> None:
    class Stop(Exception):
        pass

    def stop(_: object) -> dict[str, float]:
        if stops:
            raise Stop
        stops.append(None)
        return {}

    stops: list[None] = []
    halfway = replace(TRAIN, evaluate_every=1.5, checkpoint_every=1.5)
    with pytest.raises(Stop):
        fit(
            model,
            splits,
            Optim({"*": Adam()}),
            halfway,
            0,
            fabric=launch("32-true", "cpu"),
            evaluate=stop,
            resume=folder,
        )


def test_a_loss_that_is_not_finite_leaves_the_weights_alone(splits: Splits) -> None:
    x = splits.train.x.clone()
    order = torch.randperm(len(x), generator=generator(0, "order", 0))
    x[order[30]] = float("nan")  # in the second batch
    broken = splits._replace(train=Split(x))
    model, after_one = SPEC.build(splits.shape, seed=0), SPEC.build(splits.shape, seed=0)
    fabric, optim = launch("32-true", "cpu"), Optim({"*": Adam()})
    fit(after_one, splits, optim, replace(TRAIN, epochs=0.1), 0, fabric=fabric)
    model.initialise_ = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue] - it would refuse such data
    with pytest.raises(NonFiniteLossError, match="step 1: the loss is not finite"):
        fit(model, broken, optim, TRAIN, 0, fabric=fabric)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), after_one.parameters(), strict=True))


@pytest.mark.parametrize(
    ("optim", "batch_size"),
    [
        (Optim({"*": SGD()}), 25),
        (Optim({"*": Adam()}, clip=Clip(1.0)), 25),
        (Optim({"net.encoder": Adam(), "*": Adam()}), 25),
        (Optim({"*": Adam()}), 1000),
    ],
)
def test_what_is_not_made_for_it_is_left_to_autograd(optim: Optim, batch_size: int) -> None:
    model = SPEC.build((8, 8), seed=0)
    assert fuse(model, optim, build(optim, model), batch_size) is None
