"""Every fixture into every format: the same codes after, or a refusal that says why; and the command."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from interop.cases import READABLE, Case, expected
from sklearn.datasets import load_digits

from sparsecode.choices import WrittenFormat
from sparsecode.cli.main import main
from sparsecode.interop import (
    FORMATS,
    AffineSAE,
    CannotExpressError,
    compare,
    convert,
    detect,
    from_model,
    probes,
    read,
    write,
)
from sparsecode.interop.affine_sae import GatedCodes, JumpReLUCodes, LayerNorm, PlainRows, ReLUCodes, TopKCodes
from sparsecode.interop.formats import written
from sparsecode.models.amortised import Amortised
from sparsecode.models.storage import load_model, save_model
from sparsecode.nn.activations import TopK as TopKSpec
from sparsecode.nn.normalisers import Centre
from sparsecode.ops.rng import Stream
from sparsecode.overrides import replaced
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch
from sparsecode.runner import run as start_run
from sparsecode.runs import RunFolder

WRITTEN = ("saelens", "dictionary_learning", "sparsify", "openai", "sparsecode")


def can(sae: AffineSAE, name: str) -> bool:
    """What each library computes, in its own words."""
    kind, plain = type(sae.activation), isinstance(sae.normaliser, PlainRows)
    skip = sae.W_skip is not None or sae.transcoder
    return {
        "saelens": not skip or (plain and kind in (ReLUCodes, JumpReLUCodes)),
        "dictionary_learning": plain and not skip,
        "sparsify": plain and kind is TopKCodes,
        "openai": not skip
        and ((kind is ReLUCodes and plain) or (kind is TopKCodes and isinstance(sae.normaliser, LayerNorm))),
        "sparsecode": plain,
    }[name]


def destination(tmp_path: Path, name: str) -> Path:
    return tmp_path / ("out.pt" if name == "openai" else "out")


@pytest.mark.parametrize("case", READABLE, ids=str)
def test_same_codes_or_a_refusal(case: Case, tmp_path: Path) -> None:
    sae, (x, codes, outputs) = read(case.path), expected(case)
    for name in WRITTEN:
        out = destination(tmp_path / name, name)
        if not can(sae, name):
            with pytest.raises(CannotExpressError):
                write(sae, out, name)
            assert not out.exists()
            continue
        write(sae, out, name)
        assert detect(out) == name
        again = read(out)
        assert again.transcoder == (sae.transcoder or (name in ("saelens", "sparsecode") and sae.W_skip is not None))
        size = float(codes.abs().max()), float(outputs.abs().max())
        torch.testing.assert_close(again.encode(x), codes, rtol=0, atol=2e-6 * size[0])
        if name == "sparsecode":
            model = load_model(out)
            assert model.target_shape == (None if sae.reconstructs else (sae.d_out,))
            torch.testing.assert_close(model.encode(x), codes, rtol=0, atol=2e-6 * size[0])
            torch.testing.assert_close(model.reconstruct(x), outputs, rtol=0, atol=2e-6 * size[1])
        torch.testing.assert_close(again.reconstruct(x), outputs, rtol=0, atol=2e-6 * size[1])
        assert again.metadata.items() >= {k: v for k, v in sae.metadata.items() if name == "saelens"}.items()


def test_classes_are_chosen_by_what_they_compute(tmp_path: Path) -> None:
    chosen = {
        "saelens/standard_centred": "AutoEncoderNew",  # its atoms have not norm 1: AutoEncoder's loader would change codes
        "dictionary_learning/AutoEncoder": "AutoEncoder",
        "saelens/gated_uncentred": "GatedAutoEncoder",
        "saelens/jumprelu_centred": "JumpReluAutoEncoder",
        "saelens/topk_uncentred": "AutoEncoderTopK",
        "saelens/batchtopk_export": "BatchTopKSAE",
        "saelens/matryoshka_checkpoint": "MatryoshkaBatchTopKSAE",
        "saelens/batchtopk_unscaled_checkpoint": "JumpReluAutoEncoder",  # for k = 2.5 the others have no place
    }
    for name, wanted in chosen.items():
        out = tmp_path / name.replace("/", "-")
        write(read(Case(*name.split("/")).path), out, "dictionary_learning")
        assert json.loads((out / "config.json").read_text())["trainer"]["dict_class"] == wanted


MESSAGES = [
    ("saelens/jumprelu_centred", "sparsify", "a threshold or gate lets other codes through"),
    ("saelens/jumprelu_centred", "openai", "no JumpReLU"),
    ("saelens/gated_centred", "openai", "no Gated"),
    ("saelens/topk_centred", "openai", "normalises each row wherever codes are top-k, and this autoencoder does not"),
    ("saelens/standard_layer_norm", "openai", "normalises no rows for ReLU"),
    ("openai/topk", "dictionary_learning", "no class that normalises rows"),
    ("openai/topk", "sparsify", "does not normalise rows"),
    ("openai/topk", "sparsecode", "no normalisation of each row"),
    ("sparsify/transcode_skip", "saelens", "no transcoder with topk codes"),
    ("sparsify/transcode", "saelens", "no transcoder with topk codes"),
    ("saelens/transcoder", "openai", "no transcoder"),
    ("sparsify/skip", "dictionary_learning", "no skip connection"),
    ("gemma_scope_2/transcoder_skip", "dictionary_learning", "no skip connection"),
]


@pytest.mark.parametrize(("name", "to", "message"), MESSAGES)
def test_refusals_say_what_has_no_place_and_where_to_go(name: str, to: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CannotExpressError, match=message):
        write(read(Case(*name.split("/")).path), destination(tmp_path, to), to)


def test_probes_reach_the_thresholds() -> None:
    for name in ("saelens/jumprelu_centred", "saelens/gated_uncentred", "saelens/standard_centred"):
        sae = read(Case(*name.split("/")).path)
        x, near = probes(sae)
        assert near == 64  # below and above, for each of 32 codes
        activation, level = sae.activation, torch.zeros(sae.n_code)
        if isinstance(activation, JumpReLUCodes):
            level = activation.threshold
        elif isinstance(activation, GatedCodes):
            level = -activation.gate_bias
        below, above = (sae.pre(x[-near:]) - level).split(32)
        around = (below < 0) & (above > 0) & (above - below < 0.02)
        assert bool(around.any(dim=0).all())  # every code has its pair of inputs
        assert torch.equal(probes(sae, 0)[0], x)
        assert not torch.equal(probes(sae, 1)[0], x)


def test_a_moved_threshold_shows_in_the_proof() -> None:
    sae = read(Case("saelens", "jumprelu_centred").path)
    activation = sae.activation
    assert isinstance(activation, JumpReLUCodes)
    moved = AffineSAE(
        sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, JumpReLUCodes(activation.threshold * 1.01), centred=sae.centred
    )
    assert compare(sae, sae).flips == 0
    assert compare(sae, moved).flips >= 10
    assert compare(sae, moved).codes > 0.1
    assert compare(sae, moved).unflipped == 0


def test_a_file_that_computes_something_else_is_not_let_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = FORMATS["saelens"]
    assert right.writer is not None

    def wrong(sae: AffineSAE, path: Path) -> None:
        assert right.writer is not None
        right.writer.write(replace(sae, b_enc=1.01 * sae.b_enc), path)

    monkeypatch.setitem(FORMATS, "saelens", right._replace(writer=right.writer._replace(write=wrong)))
    with pytest.raises(ValueError, match="does not compute what its source does"):
        convert(Case("sparsify", "plain").path, tmp_path / "out", "saelens")


class TestCommand:
    source = str(Case("dictionary_learning", "BatchTopKSAE").path)

    def test_writes_prints_and_stores_its_proof(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "sae"
        assert main(["convert", self.source, str(out), "--to", "saelens"]) == 0
        printed = capsys.readouterr().out
        assert "probe inputs" in printed
        assert "JumpReLU" in printed
        stored = json.loads((out / "cfg.json").read_text())["metadata"]["sparsecode"]["conversion"]
        assert stored["source_format"] == "dictionary_learning"
        assert stored["proof"]["codes"] <= 1e-6 * stored["proof"]["largest_code"]
        assert stored["proof"]["near"] > 0
        assert stored["proof"]["n_inputs"] == 5 * 64 + 2 * 32
        # and on: the proof of one conversion does not travel as the metadata of the next
        assert main(["convert", str(out), str(tmp_path / "again.d"), "--to", "dictionary_learning"]) == 0
        side = json.loads((tmp_path / "again.d" / "conversion.json").read_text())
        assert side["source_format"] == "saelens"
        one, other = read(self.source), read(tmp_path / "again.d")
        for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        proof = compare(one, other)  # products of equal matrices are rounded by where these lie in memory
        assert proof.codes <= 1e-14 * proof.largest_code

    def test_does_not_write_over_what_is_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "sae"
        again = ["convert", self.source, str(out), "--to", "saelens"]
        assert main(again) == 0
        assert main(again) == 3
        assert "--force" in capsys.readouterr().err
        assert main([*again, "--force"]) == 0
        assert main(["convert", self.source, str(out), "--to", "sparsecode", "--force"]) == 3
        assert "holds a saelens" in capsys.readouterr().err
        assert main(["convert", str(out), str(out), "--to", "saelens", "--force"]) == 2

    def test_refusals_are_short_and_leave_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "sae"
        assert main(["convert", self.source, str(out), "--to", "sparsify"]) == 1
        assert "--to saelens or dictionary_learning" in " ".join(capsys.readouterr().err.split())
        assert not out.exists()
        for wrong in (out, tmp_path / "sae.safetensors"):
            assert main(["convert", self.source, str(wrong), "--to", "openai"]) == 1
            message = capsys.readouterr().err
            assert f"convert: {wrong}: openai keeps one file; expected a name that ends in .pt\n" in message
        assert not [*tmp_path.iterdir()]

    def test_formats_are_those_that_can_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The command line lists them without torch, and functions read the table."""
        assert list(get_args(WrittenFormat)) == written()
        for name in ("gemma_scope", "none"):
            assert main(["convert", self.source, str(tmp_path / "out"), "--to", name]) == 2
            message = " ".join(capsys.readouterr().err.replace("│", " ").split())
            assert f"invalid choice '{name}' for argument '--to'. Expected one of ('sparsecode', 'saelens'," in message
        known = "sparsecode, saelens, dictionary_learning, sparsify, openai"
        with pytest.raises(ValueError, match=f"format is 'none'; expected one of {known}"):
            convert(self.source, tmp_path / "out", "none")
        monkeypatch.setitem(FORMATS, "other", FORMATS["saelens"]._replace(matches=lambda path: False))
        convert(self.source, tmp_path / "out", "other")
        assert (tmp_path / "out" / "cfg.json").exists()

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
    def test_other_precisions(self, dtype: str, tmp_path: Path) -> None:
        out = tmp_path / "sae"
        assert main(["convert", self.source, str(out), "--to", "saelens", "--dtype", dtype]) == 0
        config = json.loads((out / "cfg.json").read_text())
        assert config["dtype"] == dtype
        proof = config["metadata"]["sparsecode"]["conversion"]["proof"]
        limit = {"bfloat16": 0.05, "float16": 0.01, "float64": 1e-6}[dtype]
        assert proof["unflipped"] < limit * proof["largest_code"]

    def test_a_run_of_ours(self, tmp_path: Path) -> None:
        run = tmp_path / "run"
        model = Amortised(n_code=40, activation=TopKSpec(5), normaliser=Centre()).build((64,), seed=0)
        model.initialise_(torch.from_numpy(load_digits(return_X_y=True)[0]).float())
        save_model(model, run / "model", {})
        assert main(["convert", str(run), str(tmp_path / "sae"), "--to", "saelens"]) == 0
        stored = json.loads((tmp_path / "sae" / "cfg.json").read_text())["metadata"]["sparsecode"]["conversion"]
        assert (
            0 < stored["proof"]["codes"] < 1e-5 * stored["proof"]["largest_code"]
        )  # of the model itself, less its folding
        assert json.loads((tmp_path / "sae" / "cfg.json").read_text())["architecture"] == "topk"

    def test_a_foreign_file_as_a_run_that_other_commands_score(self, tmp_path: Path) -> None:
        model = Amortised(n_code=40, activation=TopKSpec(5), normaliser=Centre()).build((64,), seed=0)
        model.initialise_(torch.from_numpy(load_digits(return_X_y=True)[0]).float() / 16)
        foreign, run, codes = tmp_path / "foreign", tmp_path / "run", tmp_path / "codes.npz"
        write(from_model(model), foreign, "dictionary_learning")
        to_ours = ["convert", str(foreign), str(run), "--to", "sparsecode"]
        assert main([*to_ours, "--like", "digits-topk"]) == 0
        assert main(["eval", str(run)]) == 0
        assert main(["encode", str(run), "--split", "test", "--out", str(codes)]) == 0
        with np.load(codes) as actual:
            assert actual["z"].shape[1] == 40
            assert 4.5 < float((actual["z"] != 0).sum(axis=1).mean()) <= 5
        assert main(["convert", str(run), str(tmp_path / "sae"), "--to", "saelens"]) == 0
        assert main([*to_ours, "--like", "digits-topk", "--force"]) == 0

    def test_a_foreign_transcoder_as_a_run_that_is_scored_and_trained_on(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        case = Case("sparsify", "transcode_skip")
        sae = read(case.path)
        x = torch.randn(400, sae.d_in, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            y = sae.reconstruct(x) + 0.01 * torch.randn(400, sae.d_out, generator=torch.Generator().manual_seed(1))
        np.savez(tmp_path / "sites.npz", x=x.numpy(), y=y.numpy())
        data = {"type": "arrays", "path": str(tmp_path / "sites.npz"), "key": "x", "target_key": "y"}
        like, run, plain = tmp_path / "like", tmp_path / "run", tmp_path / "plain"
        for folder, recipe, changes in ((like, "acts-skip-transcoder", {}), (plain, "acts-topk", {"target_key": None})):
            RunFolder(folder).write_config(replaced(RECIPES[recipe](), {"data": data | changes}))
        asked = ["convert", str(case.path), str(run), "--to", "sparsecode", "--like"]
        assert main([*asked, str(plain)]) == 1
        assert f"predicts {sae.d_out} numbers, and samples of" in " ".join(capsys.readouterr().err.split())
        assert main([*asked, str(like)]) == 0
        assert main(["eval", str(run)]) == 0
        model = RunFolder(run).best_model()
        start = model.reconstruct(x)
        torch.testing.assert_close(start, sae.reconstruct(x))
        loss = model.train().loss(Batch(x, y), 0, Stream(0, 0))
        loss.total.backward()
        assert all(param.grad is not None for param in model.parameters())
        assert float(loss.parts["fidelity"].detach()) == pytest.approx(
            float((y - start.detach()).square().sum(dim=1).mean()), rel=1e-3
        )

        plain_space = {"model.normaliser": {"type": "identity"}, "model.task.normaliser": {"type": "identity"}}
        start_here = {"init_from": {"type": "init_from", "run": str(case.path), "parts": ["all"]}}
        sizes = {"model.n_code": 32, "model.activation.k": 4, "train.batch_size": 40, "train.epochs": 1, "data": data}
        free = {"model.decoder": {"type": "biased_dictionary", "constraint": {"type": "free"}, "bias": "zero"}}
        config = replaced(RECIPES["acts-skip-transcoder"](), {**sizes, **plain_space, **free, **start_here})
        result = start_run(config, tmp_path / "on", accelerator="cpu", figures=False)
        assert result.evaluation is not None
        explained = result.evaluation.scores["encode"].explained_variance
        assert explained is not None
        assert explained > 0.99  # it began where the file's ends: from nothing, eight steps reach far less
        without = {"model.task.skip": False, "optim": replaced(RECIPES["acts-transcoder"](), {}).optim}
        with pytest.raises(ValueError, match=r"predict\.skip does not fit this model: \(12, 12\) there, missing here"):
            start_run(replaced(config, without), tmp_path / "without", accelerator="cpu", figures=False)
        other = replaced(config, {"model.task.normaliser": {"type": "centre"}})
        with pytest.raises(
            ValueError, match=r"its task\.normaliser is identity, and this model's centre; expected the same"
        ):
            start_run(other, tmp_path / "other", accelerator="cpu", figures=False)

    def test_like_needs_data_that_fit(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "run"
        asked = ["convert", self.source, str(out), "--like", "digits-topk", "--to"]
        assert main([*asked, "saelens"]) == 2
        assert main([*asked, "sparsecode"]) == 1
        assert "takes 12 numbers" in capsys.readouterr().err
        assert not out.exists()
