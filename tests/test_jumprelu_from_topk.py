"""Top-k codes as codes above thresholds: L0 on held-out samples, what it costs, and the files of other libraries."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import sparsecode as sc
from sparsecode.cli import main
from sparsecode.cli.changed_models import loss_warning
from sparsecode.data import Digits
from sparsecode.fitting import Fitted
from sparsecode.interop import read, to_jumprelu
from sparsecode.interop.affine_sae import JumpReLUCodes
from sparsecode.models import Amortised
from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.storage import save_model
from sparsecode.nn import BatchTopK, BiasedDictionary, JumpReLU, ReLU, TopK
from sparsecode.recipes import RECIPES


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = RECIPES["digits-topk"]()
    config = msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, epochs=6.0))
    folder = tmp_path_factory.mktemp("runs") / "digits"
    sc.run(config, folder, accelerator="cpu", figures=False)
    return folder


@pytest.mark.parametrize("thresholds", ["codes", "global"])
def test_held_out_samples_have_k_active_codes_by_thresholds(run_folder: Path, thresholds: str) -> None:
    folder = sc.RunFolder(run_folder)
    model, splits = folder.best_model(), folder.splits()
    assert isinstance(model, AmortisedModel)
    jump, report = to_jumprelu(model, splits.train, splits.valid, thresholds=thresholds)  # pyright: ignore[reportArgumentType]
    k = 8
    x = splits.valid.x
    active = float((jump.encode(x) != 0).sum(dim=1).double().mean())
    assert active == pytest.approx(k, abs=1 / len(x) + 1e-6)
    assert report.l0_after == active
    assert report.l0_before == k
    residual = (x - jump.reconstruct(x)).detach().flatten(1).double()
    variance = (x - x.mean(dim=0)).flatten(1).double().square().sum()
    assert report.explained_variance_after == pytest.approx(1 - float(residual.square().sum() / variance), abs=1e-6)
    assert report.explained_variance_before is not None
    assert report.explained_variance_after is not None
    assert report.explained_variance_after > report.explained_variance_before - 0.06
    test = splits.test.x
    assert float((jump.encode(test) != 0).sum(dim=1).double().mean()) == pytest.approx(k, rel=0.06)
    theta = jump.state_dict()["activation.log_threshold"].exp()
    assert (theta == theta[0]).all() == (thresholds == "global")
    pre = model.pre_activations(x)
    torch.testing.assert_close(jump.encode(x), pre * (pre > theta))  # the same encoder
    half, other = to_jumprelu(model, splits.train, splits.valid, thresholds=thresholds, l0=4.0)  # pyright: ignore[reportArgumentType]
    assert other.wanted == 4.0
    assert float((half.encode(x) != 0).sum(dim=1).double().mean()) == pytest.approx(4, abs=1 / len(x) + 1e-6)


def test_thresholds_of_codes_keep_the_rate_of_every_code() -> None:
    x = Digits().load()
    model = Amortised(n_code=96, activation=TopK(k=5)).build(x.shape, seed=3)
    jump, _ = to_jumprelu(model, x.train, x.train)
    before, after = ((m.encode(x.train.x) != 0).double().mean(dim=0) for m in (model, jump))
    torch.testing.assert_close(after, before, rtol=0, atol=2 / x.train.n)


def test_a_run_is_converted_for_other_libraries_and_for_ours(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for to in ("saelens", "dictionary_learning"):
        assert main(["convert", str(run_folder), to, "--to", to, "--jumprelu", "codes"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "L0 from 8 to 8" in said
        assert "warning" not in said
        sae = read(to)
        assert isinstance(sae.activation, JumpReLUCodes)
        x = sc.RunFolder(run_folder).splits().valid.x.flatten(1)
        assert float((sae.encode(x) != 0).sum(dim=1).double().mean()) == pytest.approx(8, abs=0.02)
    proof = json.loads((tmp_path / "saelens" / "cfg.json").read_text())["metadata"]["sparsecode"]["conversion"]
    assert proof["jumprelu"]["thresholds"] == "codes"
    assert proof["jumprelu"]["l0_after"] == pytest.approx(8, abs=0.01)
    assert main(["convert", str(run_folder), "ours", "--to", "sparsecode", "--jumprelu", "global"]) == 0
    capsys.readouterr()
    assert main(["eval", "ours"]) == 0  # a run on the same data
    model = sc.RunFolder("ours").best_model()
    assert isinstance(model.spec.activation, JumpReLU)  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(sc.RunFolder("ours").config().model.activation, JumpReLU)  # pyright: ignore[reportAttributeAccessIssue]
    assert main(["convert", str(run_folder), "theirs", "--to", "saelens"]) == 0
    assert main(["convert", "theirs", "jump", "--to", "saelens", "--jumprelu", "codes", "--like", str(run_folder)]) == 0
    np.testing.assert_allclose(read("jump").encode(x), read("saelens").encode(x), atol=1e-4)
    assert main(["convert", "theirs", "jump2", "--to", "saelens", "--jumprelu", "codes"]) == 2  # which data?
    assert "--like" in capsys.readouterr().err


def test_a_loss_of_explained_variance_is_a_warning(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "jump"
    assert main(["convert", str(run_folder), str(out), "--to", "saelens", "--jumprelu", "codes", "--l0", "1"]) == 0
    said = capsys.readouterr().out
    report = json.loads((out / "cfg.json").read_text())["metadata"]["sparsecode"]["conversion"]["jumprelu"]
    before, after = report["explained_variance_before"], report["explained_variance_after"]
    assert before - after > 0.05
    assert (
        f"warning: explained variance falls by more than 0.05, from {before:.4f} to {after:.4f}: thresholds do not stand for this "
        "model's k largest codes; train it longer, or keep top-k (convert without --jumprelu), or give a larger --l0 than 1\n"
    ) in said
    report |= {"explained_variance_before": 0.9}
    assert loss_warning(report | {"explained_variance_after": 0.86}, None) is None
    assert "from 0.9000 to 0.8400" in str(loss_warning(report | {"explained_variance_after": 0.84}, None))
    assert loss_warning(report | {"explained_variance_after": None}, None) is None


@pytest.mark.parametrize("change", ["--k", "--jumprelu"])
def test_a_changed_model_names_what_was_given(
    run_folder: Path, change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, out = tmp_path / "theirs", tmp_path / "out"
    options = [change, "4"] if change == "--k" else [change, "codes", "--like", str(run_folder)]
    assert main(["convert", str(run_folder), str(theirs), "--to", "saelens"]) == 0
    config = json.loads((theirs / "cfg.json").read_text())
    (theirs / "cfg.json").write_text(json.dumps(config | {"metadata": {"model_name": "net", "hook_name": "h.3"}}))
    capsys.readouterr()
    assert main(["convert", str(theirs), str(out), "--to", "saelens", *options]) == 0
    assert f"from {theirs} (saelens)\n" in capsys.readouterr().out
    metadata = json.loads((out / "cfg.json").read_text())["metadata"]
    assert (metadata["model_name"], metadata["hook_name"]) == ("net", "h.3")
    stored = metadata["sparsecode"]["conversion"]
    assert (stored["source"], stored["source_format"]) == ("theirs", "saelens")


def test_models_that_no_file_can_hold_are_named_as_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "given"
    save_model(
        Amortised(n_code=8, activation=TopK(k=3), decoder=BiasedDictionary(output="sigmoid")).build((4,), seed=0),
        given,
        {},
    )
    assert main(["convert", str(given), str(tmp_path / "out"), "--to", "saelens", "--k", "2"]) == 1
    assert f"sparsecode convert: {given}: decoder.output is 'sigmoid'" in capsys.readouterr().err


def test_models_without_a_count_are_refused() -> None:
    splits = Digits().load()
    relu = Amortised(n_code=16, activation=ReLU()).build(splits.shape, seed=0)
    with pytest.raises(ValueError, match="ReLU; expected an Amortised model with activation topk or batch_topk"):
        to_jumprelu(relu, splits.train, splits.valid)
    batch = Amortised(n_code=16, activation=BatchTopK(k=3)).build(splits.shape, seed=0)
    with pytest.raises(ValueError, match="l0 is 40; expected above 0 and below"):
        to_jumprelu(batch, splits.train, splits.valid, l0=40.0)


def test_a_fitted_model_of_an_array_needs_no_folder() -> None:
    x = np.random.default_rng(0).normal(size=(400, 12)).astype(np.float32)
    fitted = sc.fit(Amortised(n_code=24, activation=TopK(k=3)), x, epochs=1, progress=False, figures=False)
    assert isinstance(fitted, Fitted)
    jump, report = to_jumprelu(fitted.model, fitted.splits.train, fitted.splits.valid)
    assert report.n == fitted.splits.valid.n
    assert (jump.encode(x) >= 0).all()
