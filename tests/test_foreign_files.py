"""Commands that write where somebody else's files are: they are refused, and nothing is changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from toys import SHORT

from sparsecode.cli import main
from sparsecode.interop import convert, write

Capture = pytest.CaptureFixture[str]

HUGGING_FACE = b'{"architectures": ["BertModel"], "model_type": "bert"}'
PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)


def files(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def refused(command: list[str], place: Path, named: str, capsys: Capture) -> None:
    """The command ends with the code for conflicts and one line about the file, and changes nothing in `place`."""
    before = files(place)
    capsys.readouterr()
    assert main(command) == 3
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") <= 2
    assert files(place) == before


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("config.json", HUGGING_FACE),
        ("config.json", b"{not json"),
        ("config.json", b""),
        ("ae.pt", b"weights"),
        ("config.json.partial", b"a download"),
    ],
)
def test_a_folder_of_somebody_else_is_not_trained_in(name: str, data: bytes, tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "model"
    place.mkdir()
    (place / name).write_bytes(data)
    (place / "notes.txt").write_bytes(b"precious")
    refused(["train", "digits-topk", *SHORT, "--out", str(place)], place, str(place), capsys)


@pytest.mark.parametrize(
    "name",
    ["metrics.jsonl", "eval.json", "model/cfg.json", "model/sae_weights.safetensors", "figures/atoms.png"],
)
def test_files_of_somebody_else_in_a_run_are_not_replaced(
    name: str, run: Path, tmp_path: Path, capsys: Capture
) -> None:
    (run / name).write_bytes(PNG if name.endswith("png") else HUGGING_FACE)
    (run / "resume" / "state.safetensors").unlink()  # or it has finished, and nothing is written
    refused(["train", "digits-sdl", *SHORT, "--out", str(run)], run, f"{run / name}: is there already", capsys)


@pytest.mark.parametrize("name", ["results.jsonl", "frontier.json", "frontier.png"])
def test_a_sweep_replaces_no_such_file(name: str, tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "sweep"
    place.mkdir()
    (place / name).write_bytes(PNG if name.endswith("png") else HUGGING_FACE)
    command = ["sweep", "digits-sdl", "--over", "seed=0,1", "--out", str(place)]
    refused(command, place, f"{place / name}: is there already", capsys)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["eval", "RUN", "--json", "PLACE/a.json", "--force"], "a.json"),
        (["latents", "RUN", "--json", "PLACE/a.json", "--force"], "a.json"),
        (["units", "RUN", "--json", "PLACE/a.json", "--force"], "a.json"),
        (["attack", "RUN", "--json", "PLACE/a.json", "--force"], "a.json"),
        (["analyse", "RUN", "--json", "PLACE/a.json", "--force"], "a.json"),
        (["encode", "RUN", "--split", "test", "--out", "PLACE/z.safetensors", "--force"], "z.safetensors"),
        (["probe", "RUN", "--out", "PLACE", "--force"], "probe.json"),
        (["probe", "RUN", "--out", "PLACE", "--force"], "probe.png"),
        (["denoise", "IMAGE", "--dictionary", "RUN", "--sigma", "0.1", "--out", "PLACE", "--force"], "comparison.png"),
        (["eval", "RUN", "--json", "RUN/config.json", "--force"], "is part of the run"),
        (["analyse", "RUN", "--json", "RUN/eval.json", "--force"], "is part of the run"),
        (["denoise", "PLACE/image.npy", "--dictionary", "RUN", "--sigma", "0.1", "--out", "PLACE", "--force"], "image.npy"),
        (["convert", "RUN", "PLACE", "--to", "saelens", "--force"], "was not written by sparsecode"),
        (["convert", "RUN", "RUN", "--to", "saelens", "--force"], ""),
    ],
)  # fmt: skip
def test_force_does_not_replace_them_either(
    command: list[str], name: str, trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    if "." in name and name != "image.npy":
        (place / name).write_bytes(PNG if name.endswith("png") else HUGGING_FACE)
    else:
        (place / "cfg.json").write_bytes(HUGGING_FACE)
    image = tmp_path / "image.npy"
    np.save(image, np.ones((16, 16), np.float32))
    shutil.copy(image, place / "image.npy")
    words = {"RUN": str(trained), "PLACE": str(place), "IMAGE": str(image)}
    for word, meant in words.items():
        command = [part.replace(word, meant) for part in command]
    before = files(trained)
    if not name:
        assert main(command) == 2
    else:
        refused(command, place, name, capsys)
    assert files(trained) == before


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        *([name, "RUN"] for name in ("analyse", "anomaly", "curves", "forgetting", "probe", "restore", "threshold", "traverse", "units")),
        ["denoise", "ARRAY"], ["path", "ARRAY", "--dictionary", "ARRAY"], ["patches"],
    ],
)  # fmt: skip
def test_a_file_in_the_place_of_a_folder_is_refused_before_any_work(
    command: list[str], below: bool, trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    array, file = tmp_path / "array.npy", tmp_path / "file"
    np.save(array, np.ones((16, 16), np.float32))
    file.write_bytes(b"mine")
    before = files(tmp_path)
    words = [part.replace("RUN", str(trained)).replace("ARRAY", str(array)) for part in command]
    assert main([*words, "--out", str(file / "below" if below else file)]) == 3
    told = capsys.readouterr()
    assert f"{file} is a file; expected a folder" in told.err
    assert not told.out
    assert files(tmp_path) == before


@pytest.mark.slow
def test_figures_of_somebody_else_are_not_replaced(run: Path, capsys: Capture) -> None:
    (run / "figures" / "density.png").write_bytes(PNG)
    refused(["analyse", str(run), "--samples", "20"], run, f"{run / 'figures' / 'density.png'}: is there", capsys)


def test_what_was_converted_is_converted_again_and_nothing_else(tmp_path: Path) -> None:
    source = Path(__file__).with_name("interop") / "fixtures" / "dictionary_learning" / "BatchTopKSAE" / "model"
    out, empty = tmp_path / "sae", tmp_path / "empty"
    empty.mkdir()
    done = convert(source, out, "saelens")
    assert done.noted == out / "cfg.json"
    (out / "README.md").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="exists already"):
        convert(source, out, "saelens")
    with pytest.raises(FileExistsError, match="exists already"):
        write(done.source, out, "saelens")
    convert(source, out, "saelens", force=True)
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "cfg.json", "sae_weights.safetensors"]
    convert(source, empty, "saelens")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "sae"]
