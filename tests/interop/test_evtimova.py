"""Checkpoints of sparse coding with multi-layer decoders, written by modules of a few lines of torch, independent of the package."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sparsecode.cli import main
from sparsecode.init_from import InitFrom
from sparsecode.interop import FORMATS, CannotExpressError, SparseCoderRecord, convert, detect, read, read_any, to_model
from sparsecode.models.iterative import Iterative, IterativeModel
from sparsecode.models.storage import load_model
from sparsecode.nn.constraints import Free
from sparsecode.nn.decoders import OneHidden as OneHiddenSpec
from sparsecode.nn.encoders import LISTAModule
from sparsecode.nn.normalisers import Standardise
from sparsecode.runs import RunFolder

P, L, H = 64, 24, 40
NAME = "one_hidden_decoder_MNIST_fn_x_s31_1650000000_a1b"


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(L, P, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        return self.decoder(z)


class OneHidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer2 = nn.Linear(L, H), nn.Linear(H, P, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        return self.layer2(torch.relu(self.layer1(z)))


class Encoder(nn.Module):
    def __init__(self, n_iter: int) -> None:
        super().__init__()
        self.W, self.S, self.n_iter = nn.Linear(P, L), nn.Linear(L, L, bias=False), n_iter

    def forward(self, y: Tensor) -> Tensor:
        drive = self.W(y)
        z = torch.relu(drive)
        for _ in range(self.n_iter):
            z = torch.relu(drive + self.S(z))
        return z


def original(folder: Path, hidden: bool, encoder: bool = True, n_iter: int = 3) -> tuple[nn.Module, Encoder]:
    """The files of a run: checkpoints, and its arguments where the original keeps them, unless n_iter is 3."""
    torch.manual_seed(hidden)
    dec, enc = OneHidden() if hidden else Linear(), Encoder(n_iter)
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(dec.state_dict(), folder / "checkpoints" / f"{NAME}_DEC_best.pth")
    if encoder:
        torch.save(enc.state_dict(), folder / "checkpoints" / f"{NAME}_ENC_best.pth")
    if n_iter != 3:
        (folder / "final").mkdir()
        kind = "one_hidden_decoder" if hidden else "linear_decoder"
        said = {
            "num_iter_LISTA": n_iter,
            "decoder": kind,
            "code_dim": L,
            "sparsity_reg": 0.005,
            "lrt_Z": 1.0,
            "noise": "[1]",
        }
        (folder / "final" / "1650000000_a1b.json").write_text(json.dumps(said))
    return dec, enc


@pytest.mark.parametrize(("hidden", "n_iter"), [(False, 3), (True, 5)])
def test_models_compute_what_the_modules_that_wrote_the_files_compute(
    tmp_path: Path, hidden: bool, n_iter: int
) -> None:
    decoder, encoder = original(tmp_path, hidden, n_iter=n_iter)
    for path in (tmp_path / "checkpoints", *(tmp_path / "checkpoints").iterdir()):  # the folder, and either file
        assert detect(path) == "evtimova"
        coder = read_any(path)
        assert isinstance(coder, SparseCoderRecord)
        model = to_model(coder)
        assert isinstance(model.encoder, LISTAModule)
        assert model.encoder.spec.n_iter == n_iter
        x, z = torch.randn(50, P), torch.randn(50, L).relu()
        with torch.no_grad():
            torch.testing.assert_close(model.predict_code(x), encoder(x))
            torch.testing.assert_close(model.decode(z), decoder(z))
        if n_iter == 5:
            assert float(model.weight) == pytest.approx(0.005 * P / 2)


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("encoder", [False, True])
def test_there_and_back_with_a_proof_and_the_same_bits(tmp_path: Path, hidden: bool, encoder: bool) -> None:
    original(tmp_path / "theirs", hidden, encoder, n_iter=4)
    source = tmp_path / "theirs" / "checkpoints"
    ours = convert(source, tmp_path / "ours", "sparsecode")
    back = convert(tmp_path / "ours", tmp_path / "back", "evtimova")
    for done in (ours, back):
        assert done.proof.codes <= 1e-12
        assert done.proof.outputs <= 1e-12
        assert done.proof.largest_code > 0.1
        assert done.proof.largest_output > 0.1
    names = {"DEC", "ENC"} if encoder else {"DEC"}
    for name in names:
        one = torch.load(source / f"{NAME}_{name}_best.pth", weights_only=True)
        other = torch.load(tmp_path / "back" / f"model_{name}_best.pth", weights_only=True)
        assert list(one) == list(other)
        assert all(torch.equal(one[key], other[key]) for key in one)
    arguments = json.loads((tmp_path / "back" / "arguments.json").read_text())
    assert arguments["sparsity_reg"] == pytest.approx(0.005)
    assert arguments.get("num_iter_LISTA") == (4 if encoder else None)
    assert (len(list((tmp_path / "back").glob("*.pth")))) == len(names)


def test_a_transposed_matrix_would_not_pass_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The formula of the files takes no part in reading them: what a reader does that swaps the sides of S is refused."""
    original(tmp_path, True)
    sound = FORMATS["evtimova"]

    def swapped(path: Path, ignore: Collection[str]) -> SparseCoderRecord:
        coder = sound.read(path, ignore)
        assert isinstance(coder, SparseCoderRecord)
        assert coder.encoder is not None
        return replace(coder, encoder=replace(coder.encoder, S=coder.encoder.S.T))

    monkeypatch.setitem(FORMATS, "evtimova", sound._replace(read=swapped))
    with pytest.raises(ValueError, match="not written, because it does not compute what its source does"):
        convert(tmp_path / "checkpoints", tmp_path / "ours", "sparsecode")
    assert not (tmp_path / "ours").exists()


def test_what_files_of_a_run_must_be_is_said(tmp_path: Path) -> None:
    original(tmp_path, True, n_iter=4)
    folder, file = tmp_path / "checkpoints", tmp_path / "final" / "1650000000_a1b.json"
    said = json.loads(file.read_text())
    for change, problem in (
        ({"code_dim": 25}, "code_dim is 25, and the decoder has 24; give files of one run"),
        ({"decoder": "linear_dictionary"}, "holds a one_hidden_decoder; give files of one run"),
        ({"num_iter_LISTA": 0}, "num_iter_LISTA is 0; expected a whole number of at least 1"),
        ({"momentum": 0.9}, "unknown key 'momentum'"),
        ({"encoder": "fc_encoder"}, "encoder is 'fc_encoder'; expected 'lista_encoder'"),
    ):
        file.write_text(json.dumps({**said, **change}))
        with pytest.raises(ValueError, match=problem):
            read_any(folder)
    file.write_text(json.dumps({**said, "momentum": 0.9}))
    assert read_any(folder, ignore=["momentum"]).n_code == L
    with pytest.raises(CannotExpressError, match="read it with read_any"):
        read(folder, ignore=["momentum"])
    file.write_text(json.dumps(said))
    with pytest.raises(
        CannotExpressError,
        match="saelens has no place for codes from a solver or a LISTA encoder; choose --to sparsecode or evtimova",
    ):
        convert(folder, tmp_path / "out", "saelens")
    torch.save(Encoder(3).state_dict() | {"more": torch.ones(2)}, folder / f"{NAME}_ENC_best.pth")
    with pytest.raises(ValueError, match=r"ENC_best\.pth: unknown more; expected W.weight, W.bias, S.weight"):
        read_any(folder)
    torch.save(Linear().state_dict(), folder / "other_DEC_best.pth")
    with pytest.raises(ValueError, match=r"expected one decoder's checkpoint; there are: .*: name one of them"):
        read_any(folder)


def test_the_command_makes_a_run_on_the_data_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original(tmp_path, False)
    folder, run = tmp_path / "checkpoints", tmp_path / "run"
    assert main(["convert", str(folder), str(run), "--to", "sparsecode", "--like", "digits-sdl"]) == 0
    assert "LISTA (3)" in " ".join(capsys.readouterr().out.split())
    model, config = load_model(run / "model"), RunFolder(run).config()
    assert isinstance(model, IterativeModel)
    assert isinstance(config.model, Iterative)
    assert model.shape == (8, 8)
    assert model.spec == config.model
    assert model.spec.normaliser == Standardise(mean=0.3053, std=0.3760)
    assert main(["convert", str(folder), str(tmp_path / "no"), "--to", "sparsecode", "--like", "digits-topk"]) == 1
    assert "--like: its model has no solver" in capsys.readouterr().err


def test_trainings_start_from_the_files(tmp_path: Path) -> None:
    decoder, encoder = original(tmp_path, True)
    model = Iterative(n_code=L, weight=0.1, decoder=OneHiddenSpec(H, Free())).build((8, 8), seed=1)
    InitFrom(run=str(tmp_path / "checkpoints"), parts=("encoder", "decoder")).apply_(model)
    x, z = torch.randn(5, P), torch.rand(5, L)
    with torch.no_grad():
        torch.testing.assert_close(model.predict_code(x.reshape(5, 8, 8)), encoder(x))
        torch.testing.assert_close(model.decode(z).flatten(1), decoder(z))
