"""Features of image models as shards: splits and labels kept, hook points, preprocessing, going on, and training on them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sparsecode.cli import main
from sparsecode.cli.image_models import Preprocessing, batches_of, image_model
from sparsecode.data import CIFAR10, ClassTasks, Digits, Shards, ShardWriter
from sparsecode.data.shard_index import read_index

DIGITS = Digits().load()
MODULE = """
import torch
from torch import nn

def network():
    torch.manual_seed(7)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 6))

fixed = nn.Flatten()
text = "no module"

def vectors():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
"""


def network() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 6))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


EXTRACT = [
    "extract",
    "mine:network",
    "digits",
    "--out",
    "acts",
    "--size",
    "8",
    "--dtype",
    "float32",
    "--batch-size",
    "100",
]


def sorted_rows(x: Tensor, label: Tensor | None) -> Tensor:
    assert label is not None
    rows = torch.cat([label[:, None].to(x), x], dim=1)
    return torch.from_numpy(np.array(sorted(rows.tolist())))


@torch.no_grad()
def test_features_keep_their_splits_and_labels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(EXTRACT) == 0
    assert (
        f"{DIGITS.train.n} train, {DIGITS.valid.n} valid, {DIGITS.test.n} test, with labels" in capsys.readouterr().out
    )
    loaded = Shards(path="acts").load()
    module = network()
    for part in ("train", "valid", "test"):
        mine, theirs = getattr(loaded, part), getattr(DIGITS, part)
        expected = sorted_rows(module(theirs.x[:, None]), theirs.label)
        torch.testing.assert_close(sorted_rows(mine.x, mine.label), expected, rtol=1e-4, atol=1e-5)
    assert loaded.stream is not None
    batch = loaded.stream.reader(0)(0, 0, loaded.stream.n)
    torch.testing.assert_close(
        sorted_rows(batch.x, batch.label), sorted_rows(loaded.train.x, loaded.train.label), rtol=0, atol=0
    )
    index = read_index(folder / "acts")
    assert (index.provenance["model"], index.provenance["hook_point"]) == ("mine:network", "output")
    assert '"type":"digits"' in index.provenance["data"].replace(" ", "")
    assert main(EXTRACT) == 3  # it is there


def test_classifiers_and_continual_learning_train_on_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(EXTRACT) == 0
    shards = '{"type":"shards","path":"acts"}'
    settings = ["model.n_code=12", "evaluate.sigmas=[]", "--no-figures"]
    assert (
        main(["train", "noise-latents-classify", "--set", f"data={shards}", "train.epochs=1", *settings, "--out", "a"])
        == 0
    )
    tasks = f'data={{"type":"class_tasks","source":{shards},"epochs_per_task":1}}'
    capsys.readouterr()
    rest = ["train.batch_size=50", "train.evaluate_every=1", "train.epochs=5", *settings, "--out", "b"]
    assert main(["train", "noise-latents-classify", "--set", tasks, *rest]) == 0
    assert main(["forgetting", "b"]) == 0
    with pytest.raises(ValueError, match=rf"held is 100, and there are {DIGITS.train.n} training rows"):
        ClassTasks(source=Shards(path="acts", held=100)).load()


def test_an_interrupted_extraction_goes_on_to_the_same_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sparsecode.data.shard_writer.BLOCK", 3000)  # so that some batches are on disk
    assert main(EXTRACT) == 0
    calls, append = 0, ShardWriter.append

    def breaks(self: ShardWriter, *arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise OSError("the test")
        append(self, *arguments)  # pyright: ignore[reportArgumentType]

    again = ["other" if word == "acts" else word for word in EXTRACT]
    with monkeypatch.context() as patched:
        patched.setattr(ShardWriter, "append", breaks)
        assert main(again) == 1
    capsys.readouterr()
    assert main(again) == 0
    assert "going on with other after" in capsys.readouterr().out
    for file in (folder / "acts").iterdir():
        assert file.read_bytes() == (folder / "other" / file.name).read_bytes()


def test_hook_points_weights_and_values_as_the_model_takes_them(folder: Path) -> None:
    module = network()
    with torch.no_grad():
        for param in module.parameters():
            param.mul_(2)
    save_file({**module.state_dict(), "head.weight": torch.ones(2, 2)}, folder / "w.safetensors")
    torch.save({"state_dict": module.state_dict()}, folder / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        loaded = image_model("mine:network", name, 0).module
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), module.parameters(), strict=True))
    command = ["extract", "mine:network", "digits", "--out", "acts", "--size", "8", "--mean", "0.5", "--std", "0.25"]
    assert main([*command, "--hook-point", "0", "3", "--weights", "w.pt"]) == 0
    index = read_index(folder / "acts")
    assert {site.name: site.shape for site in index.sites} == {"0": (4, 6, 6), "3": (6,)}
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    takes = Preprocessing(2, 3, (0.0, 1.0, 2.0), (1.0, 2.0, 4.0))
    assert takes(x).shape == (1, 3, 2, 2)
    assert torch.equal(takes(x)[0, 1], (takes(x)[0, 0] - 1) / 2)
    assert float(takes(x)[0, 0].mean()) == pytest.approx(7.5)
    assert Preprocessing()(x) is x
    counted = [(b.part, b.group[0].item(), len(b.x)) for b in batches_of(DIGITS, Preprocessing(), 1000)]
    sizes = [DIGITS.train.n - 1000, DIGITS.valid.n, DIGITS.test.n]
    starts = [1000, DIGITS.train.n, DIGITS.train.n + DIGITS.valid.n]
    assert counted == [("train", 0, 1000), *zip(("train", "valid", "test"), starts, sizes, strict=True)]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["mine:nothing", "digits"], 1, "mine:nothing: module 'mine' has no attribute 'nothing'"),
        (["nowhere.at:all", "digits"], 1, "nowhere.at:all: No module named 'nowhere'"),
        (["mine:text", "digits"], 1, "mine:text: is str; expected an nn.Module"),
        (["mine:network", "nothing"], 1, "DATA: type is 'nothing'; expected digits, "),
        (
            ["mine:network", "x.npy"],
            1,
            "DATA is 'x.npy'; expected a data source by its name, or as JSON: a .npy or .npz file is "
            """'{"type": "arrays", "path": "x.npy"}'""",
        ),
        (["mine:network", "."], 1, """a folder of images is '{"type": "image_folder", "path": "."}'"""),
        (["mine:network", '{"type":"arrays","path":"x.npy"}'], 1, "x.npy: no such file; expected a .npy or .npz file"),
        (["mine:network", '{"type":"arrays","path":"mine.py"}'], 1, "mine.py: not a .npy or .npz file"),
        (["mine:network", "digits", "--window", "2"], 2, "--window is of a language model"),
        (
            ["mine:network", "digits", "--valid", "0.3"],
            2,
            "--valid is of a language model; an image model's data keep their splits",
        ),
        (["mine:network", "digits", "--weights", "w.pt"], 1, "--weights w.pt: no such file"),
        (["mine:network", "digits", "--weights", "mine.py"], 1, "--weights mine.py: "),
        (["mine:network", "digits", "--std", "0"], 2, "--std: expected numbers other than 0"),
        (["mine:network", "digits", "--size", "8", "--mean", "1", "2"], 1, "--mean has 2 values"),
        (["mine:network", "digits", "--size", "8", "--hook-point", "9"], 1, "hook_point '9': no such submodule"),
        (["bert", "text.txt", "--hook-point", "a", "--size", "3"], 2, "--size is of an image model"),
        (["bert", "text.txt"], 2, "--hook-point: expected the names"),
    ],
)
def test_what_cannot_be_is_named(
    arguments: list[str], code: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["extract", *arguments, "--out", "acts"]) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.strip().count("\n") == 0
    assert not (folder / "acts" / "index.json").exists()


def test_all_rows_have_labels_or_none(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "acts") as writer:
        for part in ("train", "valid", "test"):
            writer.append(torch.rand(3, 2), 0, None, part)
        with pytest.raises(ValueError, match="some rows have labels and some have none"):
            writer.append(torch.ones(3, 2), 0, torch.zeros(3))
    with pytest.raises(ValueError, match="shards has no labels here; expected samples with labels"):
        ClassTasks(source=Shards(path=str(tmp_path / "acts"))).load()


@pytest.mark.slow
def test_a_timm_model_at_its_start_gives_features_of_cifar(tmp_path: Path) -> None:
    """In an environment with timm (extra `timm`) and CIFAR-10 (SPARSECODE_DATA)."""
    pytest.importorskip("timm")
    CIFAR10(n_train=1, n_valid=1, n_test=1).load()
    data = '{"type":"cifar10","n_train":64,"n_valid":32,"n_test":32}'
    command = [
        "extract",
        "timm:convmixer_768_32",
        data,
        "--weights",
        "random",
        "--size",
        "32",
        "--out",
        str(tmp_path / "acts"),
    ]
    assert main(command) == 0
    loaded = Shards(path=str(tmp_path / "acts")).load()
    assert (loaded.shape, loaded.train.n, loaded.valid.n, loaded.test.n) == ((768,), 64, 32, 32)
    assert loaded.train.label is not None
    assert math.isfinite(loaded.low)
