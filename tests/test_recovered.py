"""Loss recovered on a small transformer: definitions, sites, the command, and the function for any module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from test_extract_text import GPT2, TEXT, save_tokenizer
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from sparsecode.cli import main
from sparsecode.evaluate import loss_recovered
from sparsecode.evaluate.reconstruction.host_loss import HostBatch, RecoveredLoss, recovered_losses
from sparsecode.losses import Predict
from sparsecode.models import Amortised, save_model
from sparsecode.models.base import AbstractSparseModel
from sparsecode.nn import Affine, BiasedDictionary, TopK

pytestmark = pytest.mark.filterwarnings("ignore:.*position 0 holds")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer that has learned its text a little, with its tokenizer, and the text."""
    home = tmp_path_factory.mktemp("host")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**GPT2))
    save_tokenizer(home / "gpt")
    (home / "text.txt").write_text(TEXT)
    ids = torch.tensor([3 + int(word[1:]) for word in TEXT.split()][:592]).reshape(37, 16)
    optim = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optim.zero_grad()
        cast("Tensor", model(input_ids=ids, labels=ids).loss).backward()
        optim.step()
    model.eval().save_pretrained(home / "gpt")
    return home


@pytest.fixture(scope="module")
def host(folder: Path) -> nn.Module:
    return GPT2LMHeadModel.from_pretrained(folder / "gpt").eval()


def batches() -> list[HostBatch]:
    ids = torch.tensor([3 + int(word[1:]) for word in TEXT.split()][:144]).reshape(3, 4, 12)
    real = torch.ones(3, 4, 12, dtype=torch.bool)
    real[2, 3, 7:] = False
    keep = real.clone()
    keep[:, :, 0] = False
    return [
        HostBatch({"input_ids": i, "attention_mask": r.long()}, i, r, k)
        for i, r, k in zip(ids, real, keep, strict=True)
    ]


def sae() -> AbstractSparseModel:
    return Amortised(n_code=32, activation=TopK(k=4)).build((8,), seed=0).eval()


def test_the_losses_are_those_of_the_function_for_any_module(host: nn.Module) -> None:
    model, some = sae(), batches()
    result = recovered_losses(host, model, ("transformer.h.1",), lambda: some)["transformer.h.1"]

    def loss(output: Any, inputs: dict[str, Tensor]) -> Tensor:
        real = inputs["attention_mask"].bool()
        counted = real[:, 1:] & real[:, :-1]
        losses = nn.functional.cross_entropy(
            output.logits[:, :-1].transpose(1, 2), inputs["input_ids"][:, 1:], reduction="none"
        )
        return losses[counted]

    keeps = {id(b.inputs): b.keep for b in some}
    other = loss_recovered(
        host,
        "transformer.h.1",
        [b.inputs for b in some],
        loss,
        model.reconstruct,
        keep=lambda inputs: keeps[id(inputs)],
    )
    assert result.n == 2 * 4 * 11 + 3 * 11 + 6
    for name, value in (
        ("clean", other.clean),
        ("spliced", other.replaced),
        ("zero", other.zero),
        ("mean", other.mean),
    ):
        assert getattr(result, name).cross_entropy == pytest.approx(value, rel=1e-6)
    assert result.recovered == pytest.approx(other.recovered, rel=1e-4)
    assert result.from_mean == pytest.approx(other.recovered_from_mean, rel=1e-4)
    assert result.clean.kl == 0
    assert min(result.spliced.kl, result.zero.kl, result.mean.kl) > 0
    assert result.kl_recovered == pytest.approx(1 - result.spliced.kl / result.zero.kl)


def test_a_perfect_reconstruction_recovers_everything(host: nn.Module) -> None:
    model = (
        Amortised(n_code=16, activation=TopK(k=16), decoder=BiasedDictionary(bias="zero")).build((8,), seed=0).eval()
    )
    with torch.no_grad():  # codes max(x, 0) and max(-x, 0)
        both = torch.cat([torch.eye(8), -torch.eye(8)])
        cast("Tensor", model.encoder.weight).copy_(both)
        cast("Tensor", model.decoder.atoms).copy_(both)
    some = batches()
    result = recovered_losses(host, model, ("transformer.h.0",), lambda: some)["transformer.h.0"]
    assert result.recovered == pytest.approx(1, abs=1e-5)
    assert result.kl_recovered == pytest.approx(1, abs=1e-5)


def test_transcoders_and_crosscoders_are_measured_where_they_predict(host: nn.Module) -> None:
    spec = Amortised(n_code=32, activation=TopK(k=4), task=Predict(), encoder=Affine(centred=False, start="uniform"))
    transcoder, some = spec.build((8,), seed=0, target=(8,)).eval(), batches()
    points = ("transformer.h.0.ln_2", "transformer.h.0.mlp")
    assert [*recovered_losses(host, transcoder, points, lambda: some)] == [points[1]]
    crosscoder = (
        Amortised(n_code=32, activation=TopK(k=4), decoder=BiasedDictionary(sites=True)).build((2, 8), seed=0).eval()
    )
    sites = ("transformer.h.0", "transformer.h.1")
    result = recovered_losses(host, crosscoder, sites, lambda: some)
    assert [*result] == ["all sites", *sites]
    both, first, last = (loss.spliced.cross_entropy for loss in result.values())
    assert both == pytest.approx(last)  # which overwrites all that the first has changed
    assert first != pytest.approx(last)


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    shards = ["extract", str(folder / "gpt"), str(folder / "text.txt"), "--hook-point", "h.1", "--length", "12"]
    assert main([*shards, "--out", str(folder / "acts"), "--valid", "0.2", "--test", "0.2"]) == 0
    data = json.dumps({"type": "shards", "path": str(folder / "acts")})
    train = ["train", "acts-topk", "--set", f"data={data}", "--set", "model.n_code=32", "--set", "model.activation.k=4"]
    options = ["--train.epochs", "5", "--train.batch-size", "64", "--no-figures", "--out", str(folder / "run")]
    assert main([*train, *options]) == 0
    return folder / "run"


def test_the_command_reads_the_hook_point_from_the_data(
    run: Path, folder: Path, capsys: Capture, tmp_path: Path
) -> None:
    call = [
        "recovered",
        str(run),
        str(folder / "gpt"),
        str(folder / "text.txt"),
        "--length",
        "12",
        "--json",
        str(tmp_path / "r.json"),
    ]
    assert main(call) == 0
    said = capsys.readouterr().out
    assert "loss of gpt recovered" in said
    report = json.loads((tmp_path / "r.json").read_text())["spec"]
    assert report["hook_points"] == ["transformer.h.1"]
    losses = report["losses"]["transformer.h.1"]
    assert losses["clean"]["cross_entropy"] < losses["spliced"]["cross_entropy"]
    assert f"{losses['spliced']['cross_entropy']:.4f}" in said
    assert main(call) == 3  # the file is there


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--length", "99"], 1, "length 99: expected at most 16"),
        (["--hook-point", "h.9"], 1, "no such submodule"),
        (["--bos", "--tokenizer", "nowhere"], 1, "nowhere"),
        (["--spans", "0"], 2, "--spans 0: expected at least 1"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str], code: int, message: str, run: Path, folder: Path, capsys: Capture
) -> None:
    call = ["recovered", str(run), str(folder / "gpt"), str(folder / "text.txt")]
    assert main([*call, *(["--length", "12"] if "--length" not in arguments else []), *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_model_folder_does_not_say_its_hook_point(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    save_model(sae(), tmp_path / "model", {})
    call = ["recovered", str(tmp_path / "model"), str(folder / "gpt"), str(folder / "text.txt"), "--length", "12"]
    assert main(call) == 2
    assert "--hook-point: expected the submodule" in capsys.readouterr().err
    assert main([*call, "--hook-point", "h.1"]) == 0


def test_no_share_without_a_baseline() -> None:
    from sparsecode.evaluate.reconstruction.host_loss import HostLoss, _result

    clean, worse = HostLoss(2.0, 0.0), HostLoss(2.5, 0.3)
    result = _result(("h",), 10, clean, worse, HostLoss(2.0, 0.0), HostLoss(1.9, 0.1))
    assert result.recovered is None
    assert result.from_mean is None
    assert result.kl_recovered is None
    assert "-, -, -" in str(RecoveredLoss.table("loss", {"h": result}).rows)
