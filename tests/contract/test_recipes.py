"""What must hold for every recipe; a new one joins by standing in RECIPES."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from toys import EACH_KIND, SELDOM, toy

from sparsecode.losses.task import Classify, Predict
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.storage import build_model, load_model, save_model
from sparsecode.models.variational import Variational
from sparsecode.ops.rng import Stream
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch, Event
from sparsecode.runner import run
from sparsecode.runs import Run
from sparsecode.schedules import resolve
from sparsecode.specs import from_json, to_json
from sparsecode.train.optim import build
from sparsecode.train.plan import clock


def figures_of(config: Run) -> frozenset[str]:
    sites = getattr(getattr(config.model, "decoder", None), "sites", False)
    if sites or isinstance(getattr(config.model, "task", None), Classify | Predict):
        return frozenset({"curves", "usage"})
    denoising = {"denoising"} if config.evaluate.sigmas else set[str]()
    corruption = getattr(config.model, "corruption", None)
    annealed = getattr(getattr(corruption, "sigma", None), "stop", None) == 0  # no noise is left to restore from
    restored = {"restored"} if corruption and not annealed else set[str]()
    variational = {"encoding", "prior"} if isinstance(config.model, Variational) else set[str]()
    return frozenset({"atoms", "curves", "reconstructions", "usage"} | denoising | restored | variational)


# One recipe for each way to infer a code and set of figures: drawing takes longer than training.
DRAWN = {
    (type(run.model), figures_of(run)): name
    for name, run in ((n, RECIPES[n]()) for n in reversed(RECIPES) if n not in SELDOM)
}.values()
every_recipe = pytest.mark.parametrize("name", list(RECIPES))
each_kind = pytest.mark.parametrize("name", EACH_KIND)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def started(config: Run) -> tuple[AbstractSparseModel, Batch]:
    splits = config.data.load()
    planned = resolve(config, clock(config.train, splits.training.n))
    model = build_model(planned.model, splits.shape, config.seed, splits.target_shape)
    model.initialise_(splits.train.x, splits.train.target)
    return model, Batch(*splits.train.take(slice(20))[:3])


@every_recipe
def test_config_survives_json(name: str, folder: Path) -> None:
    config = RECIPES[name]()
    assert from_json(to_json(config), Run) == config


@every_recipe
def test_it_cites_its_source(name: str, folder: Path) -> None:
    about = RECIPES[name].about
    assert len(about.strip().splitlines()) > 1 or "`" in about


@each_kind
def test_loss_is_the_finite_sum_of_its_parts(name: str, folder: Path) -> None:
    model, batch = started(toy(name, folder))
    loss = model.loss(batch, 0, Stream(0, 0))
    assert math.isfinite(loss.total.item())
    torch.testing.assert_close(loss.total, torch.stack(list(loss.parts.values())).sum())


@each_kind
def test_every_parameter_is_in_one_group_and_gets_a_gradient(name: str, folder: Path) -> None:
    config = toy(name, folder)
    model, batch = started(config)
    model.loss(batch, 0, Stream(0, 0)).total.backward()
    grouped = [p for params in model.param_groups().values() for p in params]
    trained = {name: param for name, param in model.named_parameters() if param.requires_grad}
    assert sorted(map(id, grouped)) == sorted(map(id, trained.values()))
    for param_name, param in trained.items():
        assert param.grad is not None, param_name
        assert bool((param.grad != 0).any()), param_name
    optim = resolve(config.optim, clock(config.train, 1000))
    assert len(build(optim, model)) == len(optim.groups)


@each_kind
def test_codes_do_not_depend_on_the_batch_or_on_the_mode(name: str, folder: Path) -> None:
    model, batch = started(toy(name, folder))
    model.double()
    x = batch.x.double()
    for coder in model.coders().values():
        whole = coder(x)
        torch.testing.assert_close(torch.cat([coder(x[:7]), coder(x[7:8]), coder(x[8:])]), whole, rtol=0, atol=1e-12)
        torch.testing.assert_close(coder(x.flip(0)).flip(0), whole, rtol=0, atol=1e-12)
        model.eval()
        assert torch.equal(coder(x), whole)
        model.train()


@each_kind
def test_loss_outside_training_changes_no_state(name: str, folder: Path) -> None:
    model, batch = started(toy(name, folder))
    model.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.loss(batch, 7, Stream(0, 7))
    model.encode(batch.x)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@each_kind
def test_reconstruction_lives_in_data_space(name: str, folder: Path) -> None:
    model, batch = started(toy(name, folder))
    if model.n_classes is None:
        assert model.reconstruct(batch.x).shape == (batch.x if batch.target is None else batch.target).shape
    else:
        assert model.decode(model.encode(batch.x)).shape == (20, model.n_classes)
        with pytest.raises(ValueError, match="this model classifies"):
            model.reconstruct(batch.x)
    torch.testing.assert_close(model.denormalise(model.normalise(batch.x)), batch.x, rtol=0, atol=1e-5)


@each_kind
def test_global_random_state_is_left_alone(name: str, folder: Path) -> None:
    before = torch.get_rng_state()
    model, batch = started(toy(name, folder))
    model.loss(batch, 0, Stream(0, 0)).total.backward()
    model.encode(batch.x)
    assert torch.equal(torch.get_rng_state(), before)


@each_kind
def test_the_seed_decides_the_weights(name: str, folder: Path) -> None:
    config = toy(name, folder)
    splits = config.data.load()
    models = (build_model(config.model, splits.shape, seed, splits.target_shape) for seed in (0, 0, 1))
    one, same, other = (model.state_dict() for model in models)
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


class InterruptAt:
    """Ctrl-C in the middle of a training."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: Event) -> None:
        if event.kind == "train" and event.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def final_tensors(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "resume" / "state.safetensors")


def without_seconds(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k != "seconds"} for r in records]


@each_kind
def test_training_learns_saves_and_resumes_bit_for_bit(name: str, folder: Path, tmp_path: Path) -> None:
    config = toy(name, folder)
    whole = run(config, tmp_path / "whole", accelerator="cpu", figures=False)
    halted = run(config, tmp_path / "parts", observers=[InterruptAt(7)], accelerator="cpu", figures=False)
    assert (halted.state.stopped_by, halted.state.step) == ("SIGINT", 7)
    assert halted.evaluation is None
    parts = run(config, tmp_path / "parts", accelerator="cpu", figures=False)

    assert whole.state == parts.state
    assert whole.state.step == whole.state.total_steps == 10
    ours, theirs = final_tensors(tmp_path / "whole"), final_tensors(tmp_path / "parts")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert without_seconds(whole.folder.metrics()) == without_seconds(parts.folder.metrics())
    assert whole.evaluation == parts.evaluation

    model, batch = started(config)
    losses = [model.eval().loss(batch, 9, Stream(0, 9)).total.item()]
    model.load_state_dict({k.removeprefix("model/"): v for k, v in ours.items() if k.startswith("model/")})
    losses.append(model.loss(batch, 9, Stream(0, 9)).total.item())
    assert losses[1] < losses[0]


@pytest.mark.draws
@pytest.mark.parametrize(
    "name", [name if name in DRAWN else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES]
)
def test_figures_are_drawn(name: str, folder: Path, tmp_path: Path) -> None:
    config = toy(name, folder, steps=2)
    figures = run(config, tmp_path, accelerator="cpu").figures
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures)
    assert {p.stem for p in figures} == figures_of(config)


@each_kind
def test_a_saved_model_gives_the_same_bits(name: str, folder: Path, tmp_path: Path) -> None:
    model, batch = started(toy(name, folder))
    model.loss(batch, 3, Stream(0, 3))
    save_model(model, tmp_path, {})
    again = load_model(tmp_path)
    assert msgspec.to_builtins(again.spec) == msgspec.to_builtins(model.spec)
    for coder, coder_again in zip(model.coders().values(), again.coders().values(), strict=True):
        assert torch.equal(coder(batch.x), coder_again(batch.x))
    if model.n_classes is None:
        assert torch.equal(model.reconstruct(batch.x), again.reconstruct(batch.x))
