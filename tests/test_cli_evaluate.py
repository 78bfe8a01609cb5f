"""The commands that evaluate: probe, denoise, sweep and encode of splits: what they write, and what they refuse."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from sklearn.datasets import load_sample_image
from toys import SHORT

from sparsecode.cli import main
from sparsecode.data import Digits, Photos
from sparsecode.evaluate.probes.probe import ProbeReport
from sparsecode.runs import RunFolder
from sparsecode.specs import from_json

Capture = pytest.CaptureFixture[str]
PNG = b"\x89PNG"


def test_probe_writes_a_table_json_and_a_picture(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "probe"
    command = ["probe", str(trained), "--labels-per-class", "10", "2", "--seeds", "2", "--references", "pixels", "pca"]
    assert main([*command, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    report = from_json((out / "probe.json").read_bytes(), ProbeReport)
    assert report.runs == {"digits": str(trained)}
    assert list(dict.fromkeys(r.features for r in report.results)) == [
        "digits, encode",
        "digits, amortised",
        "pixels",
        "PCA, 64",
    ]
    for result in report.results:
        assert len(result.test) == 2
        assert result.n_features == 64
        assert f"{100 * result.mean:.1f}" in text
    assert [r.labels_per_class for r in report.results[:2]] == [2, 10]
    pixels = [r for r in report.results if r.features == "pixels"]
    assert pixels[1].mean > pixels[0].mean > 0.6
    assert (out / "probe.png").read_bytes().startswith(PNG)
    # a second time only by force
    assert main([*command, "--out", str(out)]) == 3
    assert "probe.json: exists already" in capsys.readouterr().err


def test_probe_chooses_coders_and_compares_runs(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    other = tmp_path / trained.name
    shutil.copytree(trained, other)
    command = ["probe", str(trained), str(other), "--labels-per-class", "1", "--seeds", "1", "--coders", "amortised"]
    assert main([*command, "--references", "lista"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "1: " in line]
    assert [line.partition("  1: ")[0] for line in lines] == [
        f"{trained}, amortised", f"{other}, amortised", "LISTA classifier, 64",
    ]  # fmt: skip
    assert lines[0].partition("  1: ")[2] == lines[1].partition("  1: ")[2]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--coders", "magic"], 2, "--coders magic: these runs have amortised, encode"),
        (["--labels-per-class", "0"], 2, "sparsecode probe: --labels-per-class: got (0,); Expected `int` >= 1"),
        (["--seeds", "0"], 2, "sparsecode probe: --seeds: got 0; Expected `int` >= 1"),
        (["--labels-per-class", "999"], 1, "labels_per_class is 999"),
    ],
)
def test_probe_refuses(trained: Path, arguments: list[str], code: int, message: str, capsys: Capture) -> None:
    assert main(["probe", str(trained), *arguments]) == code
    assert message in capsys.readouterr().err


def test_probe_needs_labels_and_the_same_data(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "x.npy", Digits().load().train.x[:300].numpy())
    data = f'data={{"type":"arrays","path":"{tmp_path / "x.npy"}"}}'
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), *SHORT, "--set", data]) == 0
    capsys.readouterr()
    assert main(["probe", str(tmp_path / "run")]) == 1
    assert "the data have no class labels" in capsys.readouterr().err
    assert main(["probe", str(trained), str(tmp_path / "run")]) == 1
    assert "has other data than" in capsys.readouterr().err


def test_encode_of_a_split_keeps_labels_and_says_whose_codes_they_are(trained: Path, tmp_path: Path) -> None:
    out, split = tmp_path / "codes.safetensors", Digits().load().valid
    assert main(["encode", str(trained), "--split", "valid", "--out", str(out), "--coder", "amortised"]) == 0
    folder = RunFolder(trained)
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
        assert torch.equal(file.get_tensor("z"), folder.best_model().coders()["amortised"](split.x))
        assert split.label is not None
        assert torch.equal(file.get_tensor("label"), split.label)
    assert (metadata["coder"], metadata["split"], metadata["run"]) == ("amortised", "valid", "digits")
    assert metadata["data"] == folder.provenance().data
    assert len(metadata["model"]) == 64
    assert main(["encode", str(trained), "--split", "test", "--out", str(tmp_path / "codes.npz")]) == 0
    assert set(np.load(tmp_path / "codes.npz").files) == {"z", "label"}


def test_a_key_without_an_archive_is_refused(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    x, run, none = tmp_path / "x.npy", str(trained), "or no --key"
    np.save(x, np.zeros((3, 8, 8), np.float32))
    alone, out = f"{x}: key is 'b', and a .npy file holds one array without a name; expected no key", ["--out", "z.npz"]
    for words, code, message in (
        (["encode", run, str(x), *out], 1, alone),
        (["features", run, str(x), "--out", "f.safetensors"], 1, alone),
        (["encode", run, "--split", "test", *out], 2, f"no SAMPLES is given; expected a .npz file as SAMPLES, {none}"),
        (["encode", run, str(tmp_path), *out], 2, f"{tmp_path} is a folder; expected a .npz file as SAMPLES, {none}"),
        (["features", run], 2, f"no DATA is given; expected a .npz file as DATA, {none}"),
        (["match", run, run], 2, f"no --data is given; expected a .npz file as --data, {none}"),
    ):
        assert main([*words, "--key", "b"]) == code
        assert ("--key b: " if none in message else "") + message in capsys.readouterr().err


def test_settings_are_named_by_their_options(trained: Path, capsys: Capture) -> None:
    for words, message in (
        (["eval", str(trained), "--sigmas", "0.5", "-1"], "--sigmas: got (0.5, -1.0); Expected `float` > 0.0"),
        (["eval", str(trained), "--theta", "-1"], "--theta: got -1.0; Expected `float` >= 0.0"),
        (["patches", "--size", "0"], "--size: got 0; Expected `int` >= 2"),
        (["patches", "--n-train", "0"], "--n-train: got 0; Expected `int` >= 1"),
        (["patches", "--kernel", "4"], "--kernel: got 4; expected an odd number"),
        (["features", str(trained), "--per-band", "-1"], "--per-band: got -1; Expected `int` >= 0"),
        (["concepts", str(trained), "--ks", "0"], "--ks: got (0,); Expected `int` >= 1"),
    ):
        assert main(words) == 2
        assert f"sparsecode {words[0]}: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["x.npy", "--split", "test"]])
def test_encode_takes_an_array_or_a_split(trained: Path, arguments: list[str], capsys: Capture) -> None:
    assert main(["encode", str(trained), *arguments, "--out", "codes.npz"]) == 2
    assert "either SAMPLES or --split" in capsys.readouterr().err


@pytest.fixture(scope="module")
def atoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 photograph patches as a dictionary."""
    x = Photos(size=6, n_train=100, n_valid=1, n_test=1).load().train.x.flatten(1)
    path = tmp_path_factory.mktemp("atoms") / "atoms.npy"
    np.save(path, x.numpy())
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "china.png"
    Image.fromarray(load_sample_image("china.jpg")[100:148, 560:600]).save(path)
    return path


def test_denoise_writes_pictures_of_the_same_kind(atoms: Path, picture: Path, tmp_path: Path, capsys: Capture) -> None:
    grey = tmp_path / "grey.png"
    with Image.open(picture) as colours:
        colours.convert("L").save(grey)
        np.save(tmp_path / "array.npy", np.asarray(colours.convert("L"), np.float64))
    out = tmp_path / "out"
    images = [str(picture), str(grey), str(tmp_path / "array.npy")]
    command = ["denoise", *images, "--dictionary", str(atoms), "--sigma", "25", "--out", str(out), "--stride", "2"]
    assert main([*command, "--add-noise"]) == 0
    text = capsys.readouterr().out
    for line in (line for line in text.splitlines() if "PSNR" in line):
        before, after = (float(word) for word in line.partition("PSNR ")[2].partition(" dB")[0].split(" -> "))
        assert after > before + 5
    assert text.count("PSNR") == 3
    for name in ("china.png", "grey.png"):
        with Image.open(out / name) as clean, Image.open(tmp_path / name) as given:
            assert (clean.mode, clean.size) == (given.mode, given.size)
    array = np.load(out / "array.npy")
    assert array.shape == (48, 40)
    assert (out / "comparison.png").read_bytes().startswith(PNG)
    assert main(command) == 3
    assert "exists already" in capsys.readouterr().err


def test_denoise_with_a_runs_dictionary(trained: Path, picture: Path, tmp_path: Path) -> None:
    command = ["denoise", str(picture), "--dictionary", str(trained), "--sigma", "25", "--out", str(tmp_path / "out")]
    assert main([*command, "--method", "lasso", "--stride", "4"]) == 0
    assert (tmp_path / "out" / "china.png").exists()


@pytest.mark.parametrize(("sigma", "least", "before"), [("2e29", 3.0, 11.4), ("1", 0.0, 100.0)])
def test_denoise_takes_any_units(
    atoms: Path, tmp_path: Path, sigma: str, least: float, before: float, capsys: Capture
) -> None:
    image = tmp_path / "image.npy"
    np.save(image, load_sample_image("china.jpg")[100:148, 560:600, 1] / 255 * 1e30)
    command = ["denoise", str(image), "--dictionary", str(atoms), "--sigma", sigma, "--out", str(tmp_path / "out")]
    assert main([*command, "--stride", "3", "--add-noise"]) == 0
    given, clean = capsys.readouterr().out.partition("PSNR ")[2].partition(" dB")[0].split(" -> ")
    assert float(given) == pytest.approx(before, abs=0.5)
    assert float(clean) >= float(given) + least
    assert np.isfinite(np.load(tmp_path / "out/image.npy")).all()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (["nowhere.png"], 1, "nowhere.png: no such file"),
        (["text.png"], 1, "text.png: not a readable image"),
        (["clear.png"], 1, "clear.png: partly transparent"),
        (["tiny.png"], 1, "smaller than the dictionary's patches of 6 x 6"),
        (["china.png", "a/china.png"], 2, "written to the same file"),
        (["china.png", "--sigma", "0"], 1, "sigma is 0.0"),
    ],
)
def test_denoise_refuses(
    atoms: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: list[str], code: int, message: str, capsys: Capture
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("not a picture")
    Image.new("RGBA", (20, 20)).save("clear.png")
    Image.new("L", (20, 5)).save("tiny.png")
    sigma = [] if "--sigma" in change else ["--sigma", "25"]
    assert main(["denoise", *change, "--dictionary", str(atoms), "--out", "out", *sigma]) == code
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


WATCHED_HERE = ("objective", "psnr", "l0")


def test_sweep_reports_failures_and_draws_the_frontier(tmp_path: Path, capsys: Capture) -> None:
    command = [
        "sweep",
        "digits-sdl",
        "--set",
        "train.epochs=0.2",
        "--set",
        "evaluate.sigmas=[]",
        "--no-figures",
        "--out",
        str(tmp_path / "s"),
    ]
    assert main([*command, "--over", "model.weight=0.5x,2x", "--over", "seed=0,1", "--accelerator", "cpu"]) == 0
    text = capsys.readouterr().out
    watched = [line for line in text.splitlines() if line.startswith("step ")]
    assert len(watched) == 4
    assert all(
        f"{coder}/{name} " in line for line in watched for coder in ("encode", "amortised") for name in WATCHED_HERE
    )
    rows = [line.split() for line in text.splitlines() if line.strip().startswith("digits-sdl, encode")]
    assert [row[2:4] for row in rows] == [["0.16", "2"], ["0.64", "2"]]
    assert float(rows[0][4]) > float(rows[1][4])  # a larger weight, fewer active codes
    assert (tmp_path / "s" / "frontier.png").read_bytes().startswith(PNG)
    assert len((tmp_path / "s" / "results.jsonl").read_bytes().splitlines()) == 4
    assert main([*command, "--over", "train.batch_size=9999", "--accelerator", "cpu"]) == 1
    assert "failed   " in capsys.readouterr().out
    assert main([*command, "--over", "model.wait=1"]) == 2
    assert main(["sweep"]) == 2


def test_probe_json_opens_without_the_library(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    command = ["probe", str(trained), "--labels-per-class", "1", "--seeds", "1", "--references", "pixels"]
    capsys.readouterr()
    assert main([*command, "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "one subset of labels" in text
    assert "±" not in text  # one value has no deviation
    raw = msgspec.json.decode((tmp_path / "probe.json").read_bytes())
    assert {"features", "labels_per_class", "test", "valid", "mean", "sd"} <= set(raw["spec"]["results"][0])
