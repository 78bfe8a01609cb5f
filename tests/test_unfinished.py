"""Commands on a run whose training has not ended say so, in tables and figures too; those on other runs do not."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from safetensors import safe_open

from sparsecode.cli import main
from sparsecode.recipes import RECIPES
from sparsecode.runner import prepare
from sparsecode.runs import RunFolder
from sparsecode.train.checkpoint import save_state
from sparsecode.train.fit_state import STATE_FILE, FitState

Capture = pytest.CaptureFixture[str]
STANDS = "step 3 of 9"


def stopped(recipe: str, path: Path, step: int = 3) -> Path:
    """A run that was stopped at a step, with its first weights."""
    config, folder = RECIPES[recipe](), RunFolder(path)
    config = msgspec.structs.replace(config, evaluate=msgspec.structs.replace(config.evaluate, sigmas=()))
    splits = config.data.load()
    fingerprint = splits.fingerprint()
    prepared = prepare(config, folder, splits, fingerprint)
    prepared.model.initialise_(splits.train.x[:500])
    prepared.keep(prepared.model)
    folder.metrics_file.write_text('{"kind":"train","step":2,"loss":1.5,"l0":4.0}\n')
    save_state(folder.resume / STATE_FILE, FitState(step, 9, 1, fingerprint), prepared.model, [])
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("stopped")
    return {name: stopped(name, root / name) for name in ("digits-dae", "digits-vsc", "noise-digits")}


def said_of(name: str, folders: dict[str, Path], command: list[str], capsys: Capture) -> str:
    run = str(folders[name])
    assert main([word.replace("RUN", run) for word in command]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("digits-dae", ["eval", "RUN", "--split", "valid"]),
        ("digits-dae", ["runs", "compare", "RUN", "RUN"]),
        ("digits-vsc", ["latents", "RUN", "--draws", "2", "--samples", "20"]),
    ],
)
def test_tables_say_so(
    name: str, command: list[str], folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert said_of(name, folders, command, capsys).count(f"({STANDS})") >= 2


@pytest.mark.draws
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("digits-dae", ["plot", "RUN"]),
        pytest.param("digits-dae", ["analyse", "RUN", "--samples", "30", "--split", "valid"], marks=pytest.mark.slow),
        pytest.param("digits-vsc", ["traverse", "RUN", "--frames", "2"], marks=pytest.mark.slow),
        pytest.param("noise-digits", ["units", "RUN", "--units", "2", "--samples", "50"], marks=pytest.mark.slow),
    ],
)
def test_figures_say_so(
    name: str, command: list[str], folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    texts: list[str] = []

    looked_at = Figure.savefig

    def savefig(figure: Figure, file: BytesIO, dpi: float) -> None:
        looked_at(figure, file, dpi=dpi)
        texts.append(" ".join(text.get_text() for text in figure.findobj(Text)))

    monkeypatch.setattr(Figure, "savefig", savefig)
    said_of(name, folders, command, capsys)
    assert len(texts) >= 2
    assert all(STANDS in text for text in texts), [text for text in texts if STANDS not in text]


def test_files_and_listings_say_so(folders: dict[str, Path], tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "codes.safetensors"
    text = said_of("digits-dae", folders, ["encode", "RUN", "--split", "valid", "--out", str(out)], capsys)
    assert f"is unfinished ({STANDS})" in text
    with safe_open(out, framework="np") as file:
        assert file.metadata()["run"] == f"digits-dae ({STANDS})"
    assert main(["runs", "ls", str(folders["digits-dae"].parent)]) == 0
    assert capsys.readouterr().out.count("3 of 9") == 3


def test_a_converted_model_is_listed_as_that(folders: dict[str, Path], tmp_path: Path, capsys: Capture) -> None:
    to, like = str(tmp_path / "converted"), ["--to", "sparsecode", "--like", "noise-digits"]
    text = said_of("noise-digits", folders, ["convert", "RUN", to, *like], capsys)
    assert f"is unfinished ({STANDS})" in text
    assert f"noise-digits ({STANDS})" in " ".join(text.split())
    assert main(["runs", "ls", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "converted" in listed.replace("converted", "", 1)
    assert "not begun" not in listed
    assert RunFolder(to).label == "converted"


def test_an_ended_run_goes_by_its_name(tmp_path: Path) -> None:
    assert RunFolder(stopped("digits-dae", tmp_path / "run", step=9)).label == "run"
