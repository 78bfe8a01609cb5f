"""Stacked training against separate runs: weights, clipping and optimisers of each member, both ways of computing, failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from sparsecode.data import Digits, Splits
from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.stackable import obstacle
from sparsecode.models.stacked import Drawn, Stacked
from sparsecode.ops.matmul import onednn_is_faster, product
from sparsecode.ops.rng import Stream, drawn_rows
from sparsecode.overrides import replaced
from sparsecode.recipes import RECIPES
from sparsecode.runs import Run
from sparsecode.schedules import resolve
from sparsecode.train.fit import fit, launch
from sparsecode.train.plan import clock
from sparsecode.train.session import TrainingSession
from sparsecode.train.stacked import train_stacked

STEPS = 0.5  # epochs: fourteen steps of digits-dae, eleven batches

RELU: dict[str, Any] = {"model.n_code": 48, "model.arithmetic": "dense"}
CENTRED = {
    "model.encoder": {"type": "affine"},
    "model.decoder": {"type": "biased_dictionary"},
    "model.terms.l1": {"type": "l1", "positive": True},
    "model.normaliser": {"type": "standardise"},
}
SQUASHED = {
    "model.activation": {"type": "gelu"},
    "model.normaliser": {"type": "standardise", "mean": 0.0, "std": 1.0},
    "model.decoder": {"type": "biased_dictionary", "constraint": {"type": "free"}, "output": "sigmoid", "bias": "mean"},
    "model.terms.hoyer": "hoyer",
}
WIDER: dict[str, Any] = {**CENTRED, "model.n_code": 260}  # compiled passes
MEMBERS: list[dict[str, Any]] = [
    {"seed": 3, "model.corruption.sigma": 0.0},
    {"seed": 3, "model.corruption.sigma": 0.3, "optim.clip": {"type": "clip", "norm": 0.5}},
    {"seed": 4, "model.corruption": {"type": "laplace", "sigma": 0.2}, "model.terms.sparsity.weight": 0.03},
    {
        "seed": 5,
        "optim.groups.encoder.lr": {"type": "linear", "start": 0.01, "stop": 0.0, "length": 1, "unit": "epoch"},
    },
    {"seed": 6, "optim.groups.decoder": {"type": "sgd", "lr": 0.003, "momentum": 0.5}},
    {"seed": 7, "model.corruption": {"type": "salt_and_pepper", "share": 0.2}},
]


@pytest.fixture(scope="module")
def digits() -> Splits:
    return Digits().load()


def configs(common: dict[str, Any]) -> list[Run]:
    base = replaced(RECIPES["digits-dae"](), {**RELU, "train.epochs": STEPS, "train.log_every": 5, **common})
    without = () if "model.terms" in str(common) else ("model.terms.sparsity.weight",)
    return [replaced(base, {path: value for path, value in own.items() if path not in without}) for own in MEMBERS]


def planned(config: Run, splits: Splits) -> Run:
    return resolve(config, clock(config.train, splits.train.n))


def separately(config: Run, splits: Splits) -> AmortisedModel:
    plan = planned(config, splits)
    model = plan.model.build(splits.shape, config.seed)
    fit(model, splits, plan.optim, config.train, config.seed, fabric=launch(config.train.precision, "cpu"))
    assert isinstance(model, AmortisedModel)
    return model


def cast(model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    return model.double() if dtype == torch.float64 else model


def together(
    runs: list[Run], splits: Splits, dtype: torch.dtype = torch.float32
) -> tuple[Stacked, list[TrainingSession]]:
    plans = [planned(run, splits) for run in runs]
    stack = Stacked([cast(plan.model.build(splits.shape, plan.seed), dtype) for plan in plans])  # pyright: ignore - they are
    sessions = [
        TrainingSession(member, splits, plan.optim, plan.train, plan.seed)
        for member, plan in zip(stack.members, plans, strict=True)
    ]
    return stack, sessions


@pytest.mark.parametrize(
    ("common", "batched"),
    [({}, False), (CENTRED, False), (SQUASHED, False), (CENTRED, True), (WIDER, False)],
    ids=["relu", "centred, l1", "gelu, sigmoid, hoyer", "batched", "wide"],
)
def test_members_end_as_separate_runs_do(digits: Splits, common: dict[str, Any], batched: bool) -> None:
    runs = configs(common)
    stack, sessions = together(runs, digits)
    assert train_stacked(stack, sessions, batched) == {}
    starts = [planned(run, digits).model.build(digits.shape, run.seed) for run in runs]
    for run, member, start, session in zip(runs, stack.members, starts, sessions, strict=True):
        assert session.state.step == session.state.total_steps == 11
        expected = separately(run, digits).state_dict()
        for name, value in member.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
        moved = member.state_dict()["encoder.weight"] - start.state_dict()["encoder.weight"]
        assert float(moved.abs().max()) > 1e-3, "nothing was learned, so that nothing was compared"


@pytest.mark.parametrize(
    "common", [{}, CENTRED, SQUASHED, WIDER], ids=["relu", "centred, l1", "gelu, sigmoid, hoyer", "wide"]
)
def test_both_ways_give_the_gradients_that_autograd_gives(digits: Splits, common: dict[str, Any]) -> None:
    runs = configs({**common, "train.precision": "64-true"})
    stack, sessions = together(runs, digits, torch.float64)
    streams = [Stream(run.seed, 0) for run in runs]
    drawn: list[Drawn] = []
    for run, stream in zip(runs, streams, strict=True):
        batch = digits.train.to(torch.device("cpu"), torch.float64).reader(run.seed)(0, 0, 64)
        flat = batch.x.flatten(1)
        drawn.append(Drawn.of(batch, drawn_rows(flat, flat.shape[1:], stream("corruption"), "normal")))
    batched = stack.losses(drawn, 0, streams)
    grads = {name: grad.clone() for name, grad in stack.grads.items()}
    for i, member in enumerate(stack.members):
        by_hand = stack.learn(i, drawn[i], 0, streams[i])
        member.train()
        expected = member.loss(drawn[i].batch, 0, streams[i])
        own = torch.autograd.grad(expected.total, list(member.parameters()))
        for (name, param), value in zip(member.named_parameters(), own, strict=True):
            assert param.grad is not None
            assert float(value.abs().max()) > 0
            torch.testing.assert_close(param.grad, value, rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(grads[name][i], value, rtol=1e-9, atol=1e-11)
        for loss in (by_hand, batched[i]):
            torch.testing.assert_close(loss.total, expected.total.detach())
            assert set(loss.parts) == set(expected.parts)
            assert float(loss.stats["l0"]) == float(expected.stats["l0"])
    assert len(sessions) == len(MEMBERS)


def test_sparse_codes_and_dense_ones_learn_the_same(digits: Splits) -> None:
    base = {
        "model.n_code": 300,
        "model.terms.l1": {"type": "l1", "positive": True},
        "model.terms.l1.weight": 8.0,
        "train.epochs": 4,
    }
    run = replaced(RECIPES["digits-dae"](), {**base, "optim.groups.encoder.lr": 0.01})
    ended: dict[str, torch.Tensor] = {}
    for arithmetic in ("exact", "dense"):
        stack, sessions = together([replaced(run, {"model.arithmetic": arithmetic})], digits)
        train_stacked(stack, sessions)
        ended[arithmetic] = stack.members[0].encoder.weight.detach()  # pyright: ignore - an affine one
        assert stack._sparse == [arithmetic == "exact"]
    torch.testing.assert_close(ended["exact"], ended["dense"], rtol=1e-3, atol=1e-4)


def test_rough_products_lead_to_nearly_the_same(digits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsecode.models.stacked.bf16_is_fast", lambda: True)  # torch emulates what is missing
    run = replaced(configs({})[1], {"model.arithmetic": "bf16", "model.n_code": 256, "train.epochs": 6})
    stack, sessions = together([run], digits)
    train_stacked(stack, sessions)
    exact = separately(run, digits)  # of that width, in float32
    x = digits.valid.x
    ours, theirs = (model.encode(x).detach() for model in (stack.members[0], exact))
    errors = [float((model.reconstruct(x).detach() - x).square().mean()) for model in (stack.members[0], exact)]
    assert errors[0] == pytest.approx(errors[1], rel=0.02)
    assert 0 < float((ours - theirs).norm() / theirs.norm()) < 0.05


def test_a_member_that_diverges_leaves_the_others_alone(digits: Splits, tmp_path: Path) -> None:
    runs = configs({})
    wild = replaced(runs[1], {"optim.groups": {"*": {"type": "sgd", "lr": 1e30}}, "optim.clip": None})
    stack, sessions = together([runs[0], wild], digits)
    failed = train_stacked(stack, sessions)
    assert list(failed) == [1]
    assert "the loss is not finite" in str(failed[1])
    expected = separately(runs[0], digits).state_dict()
    torch.testing.assert_close(
        stack.members[0].state_dict()["decoder.atoms"], expected["decoder.atoms"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model.activation": {"type": "topk", "k": 4}}, "model.activation is 'topk'"),
        ({"model.terms.kl": "kl", "model.activation": "sigmoid"}, "model.terms.kl is not a sum over single samples"),
        ({"model.terms.auxk": "auxk"}, "model.terms.auxk is computed for one model at a time"),
        (
            {"model.terms.l1": "l1", "model.terms.l1.target_l0": {"type": "target_l0", "l0": 4}},
            "model.terms.l1 has a target_l0",
        ),
        ({"model.encoder": {"type": "affine", "tied": True}}, "model.encoder has tied"),
        ({"model.task": {"type": "classify", "n_classes": 10}}, "model.task is set"),
    ],
)
def test_what_does_not_stack_says_why(change: dict[str, Any], reason: str) -> None:
    config = replaced(RECIPES["digits-dae"](), change)
    assert reason in (obstacle(config.model) or "")
    with pytest.raises(ValueError, match=r"train it by itself"):
        Stacked([config.model.build((1, 8, 8), 0)])  # pyright: ignore - it is


def test_models_of_different_shape_do_not_stack() -> None:
    config = RECIPES["digits-dae"]()
    models = [msgspec.structs.replace(config.model, n_code=n).build((1, 8, 8), 0) for n in (10, 11)]
    with pytest.raises(ValueError, match="differ in more than corruption, the weights of terms"):
        Stacked(models)  # pyright: ignore - they are
    with pytest.raises(ValueError, match="members is empty"):
        Stacked([])
    assert obstacle(RECIPES["digits-sdl"]().model) == "model is Iterative, and only Amortised stacks"


def test_both_libraries_multiply_alike(rng: torch.Generator) -> None:
    left, weight = (torch.randn(*shape, generator=rng) for shape in ((70, 30), (40, 30)))
    for onednn in (False, True):
        out = product(left, weight, torch.empty(70, 40), onednn)
        torch.testing.assert_close(out, left @ weight.T, rtol=1e-5, atol=1e-5)
        view = product(left, weight.T.contiguous().T, torch.empty(70, 40), onednn)
        torch.testing.assert_close(view, out, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("processor", "capability", "expected"),
    [("znver5", "AVX512", True), ("znver3", "AVX2", False), ("znver5", "AVX2", False), ("sapphirerapids", "AVX512", False)],
)  # fmt: skip
def test_the_processor_alone_decides_which_library_multiplies(
    monkeypatch: pytest.MonkeyPatch, processor: str, capability: str, expected: bool
) -> None:
    monkeypatch.setattr("sparsecode.ops.matmul.get_host_cpu_name", lambda: processor)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: True)
    assert {onednn_is_faster() for _ in range(20)} == {expected}
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    assert not onednn_is_faster()
