"""Adversarial changes: stronger than random ones, within their bounds, and harder on averaged noise."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from toys import toy

from sparsecode.cli import main
from sparsecode.evaluate.networks import robustness as module
from sparsecode.evaluate.networks.robustness import Attack, robustness
from sparsecode.models.amortised import AmortisedModel
from sparsecode.recipes import RECIPES
from sparsecode.runner import run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classifier")
    config = toy("noise-mnist-classify", out, steps=300, evaluate_every=10.0, checkpoint_every=10.0, log_every=100)
    run(replace(config, model=replace(config.model, n_code=64)), out / "run", accelerator="cpu", figures=False)
    return out / "run"


@pytest.mark.parametrize(
    "attack", [Attack(eps=0.2), Attack(kind="apgd", eps=0.2, steps=5), Attack(norm="2", eps=1.0, draws=2)]
)
def test_attacks_beat_chance_within_their_bounds(
    trained: Path, attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparsecode.runs import RunFolder

    folder = RunFolder(trained)
    model, test = folder.best_model(), folder.config().data.load().test
    assert isinstance(model, AmortisedModel)
    kept: list[torch.Tensor] = []
    original = module._Logits.forward
    monkeypatch.setattr(module._Logits, "forward", lambda self, x: (kept.append(x.detach()), original(self, x))[1])
    numpy_state = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    result = robustness(model, test, attack, (0.0, 1.0), seed=3)
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], numpy_state)  # noqa: NPY002
    assert result.clean > 0.8
    assert result.attacked < result.random - 0.1
    attacked = kept[-1]
    assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 1
    change = (attacked - test.x).flatten(1)
    size = change.abs().amax(dim=1) if attack.norm == "inf" else torch.linalg.vector_norm(change, dim=1)
    assert float(size.max()) <= attack.eps * (1 + 1e-5)
    assert result == robustness(model, test, attack, (0.0, 1.0), seed=3)


def test_the_command_writes_a_table_and_refuses_what_does_not_classify(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["attack", str(trained), "--eps", "0.1", "0.3", "--draws", "2", "--samples", "50", "--steps", "3"]
    assert main([*arguments, "--json", str(tmp_path / "a.json")]) == 0
    rows = msgspec.json.decode((tmp_path / "a.json").read_bytes())["spec"]["runs"]["run"]
    assert [(r["attack"]["eps"], r["attack"]["draws"]) for r in rows] == [(0.1, 0), (0.1, 2), (0.3, 0), (0.3, 2)]
    assert "mean of 2" in capsys.readouterr().out
    run(toy("noise-digits", tmp_path), tmp_path / "other", accelerator="cpu", figures=False)
    assert main(["attack", str(tmp_path / "other")]) == 2
    assert "expected a model that classifies (task 'classify')" in capsys.readouterr().err


def test_networks_for_photographs_have_the_published_sizes() -> None:
    from sparsecode.models.amortised import Amortised

    for name, size in (("noise-cifar-convmixer", 594_186), ("noise-cifar-resnet50", 23_528_522)):
        model = RECIPES[name]().model
        assert isinstance(model, Amortised)
        assert sum(p.numel() for p in model.build((3, 32, 32), 0).parameters()) == size
