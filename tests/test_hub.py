"""Runs on the Hugging Face hub: the real huggingface_hub talks to a stand-in of the hub on this machine."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hub_server import READ, Hub, files_below, local_hub

import sparsecode as sc
from sparsecode.cli import main
from sparsecode.hub import HubPlace, file_here, hub_place, local_path
from sparsecode.interop import read
from sparsecode.models import Amortised, save_model
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.storage import build_model
from sparsecode.nn import TopK
from sparsecode.publishing import prepare_folder
from sparsecode.recipes import RECIPES

ModelCard = pytest.importorskip("huggingface_hub").ModelCard
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub about httpx2


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = RECIPES["digits-topk"]()
    config = msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, epochs=0.5))
    folder = tmp_path_factory.mktemp("runs") / "digits"
    sc.run(config, folder, accelerator="cpu", figures=False)
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Hub]:
    """A hub of this test, which the process may write to, with a cache of its own."""
    with local_hub(tmp_path / "home", monkeypatch) as server:
        monkeypatch.chdir(tmp_path)
        yield server


def small(folder: Path, seed: int = 0) -> Path:
    save_model(Amortised(n_code=12, activation=TopK(k=3)).build((8,), seed=seed), folder, {})
    return folder


def atoms(model: AbstractSparseModel) -> torch.Tensor:
    return model.state_dict()["decoder.atoms"]


def test_places_are_read_in_both_spellings_and_others_are_paths() -> None:
    assert hub_place("hf://org/repo") == HubPlace("org/repo")
    assert hub_place("hf://org/repo/a/b@v1") == HubPlace("org/repo", "a/b", "v1")
    assert hub_place("hf://org/repo@v1/a/b") == HubPlace("org/repo", "a/b", "v1")
    assert hub_place("hf://org/repo/a@refs/pr/1") == HubPlace("org/repo", "a", "refs/pr/1")
    assert hub_place("hf://org/repo@refs/pr/1") == HubPlace("org/repo", "", "refs/pr/1")
    assert hub_place("hf://datasets/org/repo/x") == HubPlace("org/repo", "x", None, "dataset")
    assert hub_place(Path("hf://org/repo/a")) == HubPlace("org/repo", "a")  # a path has one slash less
    for plain in ("runs/a", "/tmp/hf", "hf", Path("hfs://x")):
        assert hub_place(plain) is None
    for place in (
        HubPlace("org/repo", "a", "v1"),
        HubPlace("o/r", "", "refs/pr/1"),
        HubPlace("o/r", "x", None, "dataset"),
    ):
        assert hub_place(str(place)) == place
    for wrong in ("hf://org", "hf://", "hf://org/repo@", "hf://org/repo/../other", "hf://org@v1/repo"):
        with pytest.raises(ValueError, match="expected hf://ORGANISATION/REPOSITORY"):
            hub_place(wrong)


def test_a_run_is_pushed_and_used_from_the_hub_by_every_door(
    hub: Hub, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(run_folder), "org/digits", "--licence", "mit"]) == 0
    assert "hf://org/digits: 8 files in commit" in " ".join(capsys.readouterr().out.split())
    there = hub.repos["org/digits"]["main"]
    assert "org/digits" in hub.private  # unless --public
    assert {"config.json", "eval.json", "model/sae_weights.safetensors", "saelens/cfg.json", "README.md"} <= {*there}
    assert there["model/sae_weights.safetensors"] == (run_folder / "model/sae_weights.safetensors").read_bytes()

    x = np.random.default_rng(0).uniform(0, 16, (5, 8, 8)).astype(np.float32)
    wanted = sc.RunFolder(run_folder).best_model().encode(x)
    model = sc.load_model("hf://org/digits/model")
    np.testing.assert_array_equal(model.encode(x), wanted)
    np.testing.assert_array_equal(sc.RunFolder("hf://org/digits").best_model().encode(x), wanted)
    theirs = read("hf://org/digits/saelens")
    np.testing.assert_allclose(theirs.encode(torch.from_numpy(x).flatten(1)).numpy(), wanted, rtol=1e-3, atol=1e-3)

    assert main(["eval", "hf://org/digits"]) == 0
    assert "digits: test split" in " ".join(capsys.readouterr().out.split())
    assert main(["convert", "hf://org/digits", "again", "--to", "saelens"]) == 0
    np.save("x.npy", x)
    assert main(["encode", "hf://org/digits", "x.npy", "--out", "z.npz"]) == 0
    with np.load("z.npz") as codes:
        np.testing.assert_array_equal(codes["z"], wanted)
    start = sc.InitFrom(run="hf://org/digits", parts=("all",))
    assert start.run == "hf://org/digits"
    fresh = build_model(model.spec, (8, 8), 5)  # pyright: ignore[reportArgumentType] - one of its union
    start.apply_(fresh)
    assert fresh.state_dict().keys() == model.state_dict().keys()
    torch.testing.assert_close(atoms(fresh), atoms(model))
    assert not (tmp_path / "hf:").exists()


def test_a_card_has_its_front_matter_its_scores_and_code_that_runs(hub: Hub, run_folder: Path, tmp_path: Path) -> None:
    config = json.loads((run_folder / "config.json").read_text())
    private = tmp_path / "run"
    shutil.copytree(run_folder, private)
    config["spec"]["init_from"] = {"type": "init_from", "run": "/home/someone/secret/runs/first"}
    (private / "config.json").write_text(json.dumps(config))
    files = prepare_folder(private, "org/digits/layer", tmp_path / "up", licence="cc-by-4.0", name="Digits | <b>")
    assert files == tuple(sorted(files_below(tmp_path / "up")))
    card = (tmp_path / "up" / "README.md").read_text()
    parsed = ModelCard(card)
    body = parsed.text
    assert parsed.data.to_dict() == {
        "library_name": "sparsecode",
        "license": "cc-by-4.0",
        "tags": ["sparsecode", "sparse-autoencoder", "saelens", "interpretability"],
    }
    assert "# Digits \\| &lt;b>" in body
    evaluation = sc.RunFolder(run_folder).evaluation()
    assert evaluation is not None
    score = evaluation.scores["encode"]
    assert f"| {score.l0:.2f} |" in body
    assert "EV: explained variance" in body
    assert f"`{sc.RunFolder(run_folder).provenance().data}`" in body
    assert 'SAE.from_pretrained("org/digits", "layer/saelens")' in body
    every = b"".join(files_below(tmp_path / "up").values())
    assert b"secret" not in every
    assert str(tmp_path).encode() not in every
    assert str(run_folder.parent).encode() not in every
    hub.commit("org/digits", {f"layer/{name}": data for name, data in files_below(tmp_path / "up").items()})
    code = body.split("```python\n")[1].split("```")[0]
    x = np.zeros((2, 8, 8), np.float32)
    names = {"x": x}
    exec(code, names)
    assert names["x_hat"].shape == x.shape
    with pytest.raises(FileExistsError, match="not empty"):
        prepare_folder(private, "org/digits", tmp_path / "up")
    with pytest.raises(ValueError, match="licence is 'MIT License'"):
        prepare_folder(private, "org/digits", tmp_path / "other", licence="MIT License")
    (private / "model/sae_weights.safetensors").write_bytes(b"cut short")
    with pytest.raises(ValueError, match="damaged"):
        prepare_folder(private, "org/digits", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_dry_run_writes_the_folder_and_asks_no_hub(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small(tmp_path / "model")
    assert main(["push", "model", "org/small", "--out", "up"]) == 0
    assert "nothing was uploaded" in " ".join(capsys.readouterr().out.split())
    assert sorted(files_below(tmp_path / "up")) == [
        "README.md",
        "model/cfg.json",
        "model/sae_weights.safetensors",
        "saelens/cfg.json",
        "saelens/sae_weights.safetensors",
    ]
    assert hub.requests == []


def test_revisions_and_what_is_there_already(hub: Hub, tmp_path: Path) -> None:
    first, second = small(tmp_path / "one", 1), small(tmp_path / "two", 2)
    old = hub.commit("org/m", files_below(first))
    hub.commit("org/m", files_below(second))
    hub.repos["org/m"]["v1"] = hub.repos["org/m"][old]
    for name, folder in (("hf://org/m", second), (f"hf://org/m@{old}", first), ("hf://org/m@v1", first)):
        assert torch.equal(atoms(sc.load_model(name)), atoms(sc.load_model(folder)))
    with pytest.raises(FileNotFoundError, match=r"hf://org/m@v2: no such revision"):
        sc.load_model("hf://org/m@v2")
    pushed = sc.push(first, "org/m/deep")
    assert pushed.address == "hf://org/m/deep"
    assert pushed.commit == hub.head("org/m", "main")
    before = hub.repos["org/m"]["main"]
    assert main(["push", "two", "org/m/deep"]) == 3
    assert hub.repos["org/m"]["main"] is before
    assert main(["push", "two", "org/m/deep", "--force"]) == 0
    assert hub.repos["org/m"]["main"]["deep/model/cfg.json"] == (second / "cfg.json").read_bytes()
    assert hub.repos["org/m"]["main"]["cfg.json"] == (second / "cfg.json").read_bytes()


def test_without_a_connection_the_cache_serves(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("org/m", {f"a/{name}": data for name, data in files_below(small(tmp_path / "one")).items()})
    assert file_here("hf://org/m/a", "cfg.json") is None
    assert not hub.requests
    folder = local_path("hf://org/m/a")
    n = len(hub.requests)
    assert local_path("hf://org/m/a") == folder
    assert file_here("hf://org/m/a", "cfg.json") == folder / "cfg.json"
    assert file_here("hf://org/m/a", "other.json") is None
    assert len(hub.requests) == n
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert local_path("hf://org/m/a") == folder
    assert len(hub.requests) == n
    with pytest.raises(ConnectionError, match="the cache does not have all of it"):
        local_path("hf://org/other")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    assert local_path("hf://org/m/a") == folder
    with pytest.raises(ConnectionError, match="the cache does not have all of it"):
        local_path("hf://org/other")


def test_errors_name_the_place_and_no_token(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_below(small(tmp_path / "one"))
    for repo in ("org/private", "org/open"):
        hub.commit(repo, {f"{sub}/{name}": data for sub in ("a", "b") for name, data in files.items()})
    hub.private.add("org/private")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(FileNotFoundError, match=r"hf://org/private/a: no such repository, or a private one"):
        sc.load_model("hf://org/private/a")
    with pytest.raises(FileNotFoundError, match="no such folder in the repository; there are a, b"):
        sc.load_model("hf://org/open/c")
    with pytest.raises(ValueError, match="holds several models; name one of its folders: a, b"):
        sc.load_model("hf://org/open")
    monkeypatch.setenv("HF_TOKEN", READ)
    sc.load_model("hf://org/private/a")
    assert main(["push", "one", "org/open/new"]) == 1  # a token that may read alone
    assert main(["push", "one", "org/new"]) == 1
    said = capsys.readouterr()
    assert "no permission (403)" in said.err
    assert "org/new" in said.err
    assert READ not in said.err + said.out
    assert hub.url not in said.err
    assert "org/new" not in hub.repos
    hub.status = 404
    with pytest.raises(FileNotFoundError):
        local_path("hf://org/gone")
    assert main(["push", "one", "org"]) == 1
    assert main(["train", "digits-topk", "--out", "hf://org/new"]) == 1
    assert main(["convert", "one", "hf://org/new", "--to", "saelens"]) == 1
    assert "sparsecode push" in capsys.readouterr().err


def test_a_connection_that_breaks_off_leaves_nothing_half_and_the_next_call_completes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between huggingface_hub's attempts
    one = small(tmp_path / "one")
    hub.commit("org/m", files_below(one))
    hub.drop = "sae_weights"
    with pytest.raises(ConnectionError, match="broke off"):
        sc.load_model("hf://org/m")
    hub.drop = ""
    assert torch.equal(atoms(sc.load_model("hf://org/m")), atoms(sc.load_model(one)))
    hub.drop = "/large/"
    with pytest.raises(ConnectionError, match="broke off"):
        sc.push(one, "org/new")
    assert {*hub.repos["org/new"]["main"]} == {".gitattributes"}
    hub.drop = ""
    sc.push(one, "org/new")
    assert "model/sae_weights.safetensors" in hub.repos["org/new"]["main"]


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'sparsecode\[hub\]'"):
        local_path("hf://org/repo")
