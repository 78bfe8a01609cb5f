"""Killed at any write, every command leaves what the same command makes whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from killing import Ended, call, prepare
from matplotlib.figure import Figure
from safetensors import safe_open
from serving import remote, serving
from toys import toy

from sparsecode.data import ClassTasks, Digits
from sparsecode.data.catalogue import Dataset
from sparsecode.models import Amortised, save_model
from sparsecode.nn import TopK
from sparsecode.runs import Run
from sparsecode.specs import to_json

pytestmark = [pytest.mark.slow, pytest.mark.draws, pytest.mark.filterwarnings("ignore")]

SHORT = (
    "--train.epochs", "0.3", "--train.log-every", "3", "--train.batch-size", "100", "--train.evaluate-every", "0.15",
    "--train.checkpoint-every", "0.1", "--accelerator", "cpu",
)  # fmt: skip
TRAIN = {
    "sdl": ("train", "digits-sdl", "--out", "sdl", *SHORT, "--model.n-code", "8", "--evaluate.sigmas", "0.5"),
    "topk": ("train", "digits-topk", "--out", "topk", *SHORT, "--evaluate.sigmas", "0.5"),
    "noise": ("train", "noise-digits", "--out", "noise", *SHORT, "--model.n-code", "16", "--evaluate.sigmas", "0.5"),
    "vsc": ("train", "digits-vsc", "--out", "vsc", *SHORT, "--model.n-code", "3"),
    "classify": ("train", "noise-digits-classify", "--out", "classify", *SHORT, "--model.n-code", "16"),
    "denoiser": (
        "train",
        "digits-satlin",
        "--out",
        "denoiser",
        *SHORT,
        "--model.n-code",
        "16",
        "--no-figures",
        "--evaluate.sigmas",
        "0.5",
        "--set",
        'data={"type":"without_classes","source":{"type":"digits"},"classes":[0]}',
        'model.corruption={"type":"gaussian","sigma":0.3}',
    ),
}
SWEEP = (
    "sweep",
    "digits-topk",
    "--over",
    "seed=0,1",
    "--set",
    "train.epochs=0.2",
    "--set",
    "train.checkpoint_every=0.1",
)
SWEPT = (*SWEEP, "--set", "evaluate.sigmas=[]", "--accelerator", "cpu", "--out", "sweep")
EXTRACT = (
    "extract", "bert", "text.txt", "--hook-point", "encoder.layer.0", "--out", "acts", "--length", "12", "--max-norm", "2", "--batch-size",
    "8", "--valid", "0.2", "--test", "0.2", "--dtype", "float32", "--rows-per-shard", "150",
)  # fmt: skip


class Case(NamedTuple):
    """A command, and the folders and files that it needs."""

    argv: tuple[str, ...]
    needs: tuple[str, ...] = ()


COMMANDS = {
    **{f"train-{name}": Case(TRAIN[name]) for name in ("sdl", "topk", "vsc")},
    "train-jumprelu": Case(("train", "acts-jumprelu", "--out", "run", "--set", "data={\"type\":\"digits\"}", *SHORT, "--evaluate.sigmas", "0.5", "--model.n-code", "32")),
    "train-extend": Case(("train", "--resume", "topk", "--accelerator", "cpu", "--no-figures", "--extend", "0.2"), ("topk",)),
    "train-host": Case(("train", "acts-topk", "--out", "run", "--data.type", "host", "--data.model", "gpt", "--data.text", "text.txt", "--data.hook-point", "h.0", "--data.length", "12", "--data.valid", "0.2", "--data.test", "0.2", "--data.buffer", "100", "--data.batch-size", "4", "--model.n-code", "16", "--model.activation.k", "2", *SHORT), ("gpt", "text.txt")),
    "train-config": Case(("train", "--resume", "tasks"), ("tasks",)),
    "train-tensorboard": Case(("train", "digits-topk", "--out", "run", "--tensorboard", *SHORT)),
    "train-patches": Case(("train", "patches-topk", "--out", "run", *SHORT, "--train.epochs", "0.02", "--data.n-train", "300", "--data.n-valid", "50", "--data.n-test", "50", "--model.n-code", "64", "--evaluate.sigmas", "0.5")),
    "sweep-serial": Case((*SWEPT, "--backend", "serial")),
    "sweep-stacked": Case((*(word.replace("digits-topk", "noise-digits") for word in SWEPT), "--backend", "stacked", "--set", "model.n_code=16")),
    "sweep-shared": Case((*SWEPT, "--backend", "shared")),
    "patches": Case(("patches", "--out", "out/patches", "--size", "10", "--resize", "128", "--n-train", "260", "--n-valid", "30", "--n-test", "20")),
    "extract": Case(EXTRACT, ("bert", "text.txt")),
    "eval": Case(("eval", "sdl", "--json", "out/eval.json"), ("sdl",)),
    "plot": Case(("plot", "sdl"), ("sdl",)),
    "encode-npz": Case(("encode", "sdl", "--split", "test", "--out", "out/z.npz"), ("sdl",)),
    "encode-safetensors": Case(("encode", "sdl", "--split", "test", "--out", "out/z.safetensors"), ("sdl",)),
    "encode-npz-csr": Case(("encode", "sdl", "--split", "test", "--csr", "--out", "out/z.npz"), ("sdl",)),
    "encode-folder": Case(("encode", "sdl", "--split", "test", "--rows-per-shard", "100", "--out", "out/codes"), ("sdl",)),
    "analyse": Case(("analyse", "sdl", "topk", "--samples", "5", "--json", "out/analysis.json"), ("sdl", "topk")),
    "probe": Case(("probe", "sdl", "--labels-per-class", "1", "--seeds", "2", "--references", "pixels", "--out", "out"), ("sdl",)),
    "units": Case(("units", "noise", "--units", "2", "--samples", "50", "--json", "out/units.json"), ("noise",)),
    "attack": Case(("attack", "classify", "--samples", "20", "--steps", "2", "--json", "out/attack.json"), ("classify",)),
    "latents": Case(("latents", "vsc", "--draws", "2", "--samples", "50", "--json", "out/latents.json"), ("vsc",)),
    "traverse": Case(("traverse", "vsc", "--samples", "0", "1", "--frames", "3", "--gif", "--html"), ("vsc",)),
    "denoise": Case(("denoise", "image.npy", "picture.png", "--dictionary", "sdl", "--sigma", "0.1", "--stride", "4", "--out", "out"), ("sdl", "image.npy", "picture.png")),
    "denoise-alone": Case(("denoise", "picture.png", "--out", "out"), ("picture.png",)),
    "path": Case(("path", "x.npy", "--dictionary", "atoms.npy", "--n-alphas", "4", "--out", "out"), ("x.npy", "atoms.npy")),
    "recovered": Case(("recovered", "model", "gpt", "text.txt", "--hook-point", "h.0", "--length", "12", "--spans", "8", "--json", "out/recovered.json"), ("gpt", "model", "text.txt")),
    "threshold": Case(("threshold", "sdl", "topk", "--samples", "20", "--json", "out/threshold.json"), ("sdl", "topk")),
    "curves": Case(("curves", "sdl", "topk", "--json", "out/curves.json"), ("sdl", "topk")),
    "restore": Case(("restore", "denoiser", "--samples", "10", "--json", "out/restore.json"), ("denoiser",)),
    "anomaly": Case(("anomaly", "denoiser", "--scores", "out/scores.npz", "--json", "out/anomaly.json"), ("denoiser",)),
    "data-get": Case(("data", "get", "mnist")),
    "forgetting": Case(("forgetting", "tasks", "--out", "out"), ("tasks",)),
    "convert-saelens": Case(("convert", "topk", "sae", "--to", "saelens"), ("topk",)),
    "convert-dictionary_learning": Case(("convert", "topk", "sae", "--to", "dictionary_learning"), ("topk",)),
    "convert-openai": Case(("convert", "noise", "sae.pt", "--to", "openai"), ("noise",)),
    "convert-again": Case(("convert", "topk", "sae", "--to", "dictionary_learning", "--force"), ("topk", "sae")),
    "convert-run": Case(("convert", "sae", "run", "--to", "sparsecode", "--like", "digits-topk"), ("sae",)),
}  # fmt: skip
UNDRAWN = (  # train-topk and plot have the figures of runs
    "train-sdl", "train-vsc", "train-jumprelu", "train-config", "train-tensorboard", "train-patches", "sweep-serial",
    "sweep-stacked",
)  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What commands start from: runs, a conversion, pictures, a language model and a text; made as they are asked for."""
    folder = tmp_path_factory.mktemp("inputs")
    before = Figure.savefig
    prepare()
    yield folder
    Figure.savefig = before


def make(name: str, folder: Path) -> None:
    """`folder/name`, unless it is there."""
    if (folder / name).exists():
        return
    digit = Digits().load().test.x[0]
    if name in TRAIN:
        done(call(TRAIN[name], folder))
    elif name == "sae":
        make("topk", folder)
        done(call(("convert", "topk", "sae", "--to", "dictionary_learning"), folder))
    elif name == "tasks":
        config = toy("noise-mnist-continual", folder, steps=20)
        (folder / name).mkdir()
        (folder / name / "config.json").write_bytes(to_json(tasks(config)))
        done(call(("train", "--resume", name), folder))
    elif name == "image.npy":
        np.save(folder / name, digit.repeat(1, 2, 2)[0].numpy() if digit.ndim == 3 else digit.repeat(2, 2).numpy())
    elif name == "picture.png":
        from PIL import Image

        Image.fromarray((np.random.default_rng(0).random((16, 16)) * 255).astype(np.uint8)).save(folder / name)
    elif name in ("x.npy", "atoms.npy"):
        np.save(folder / name, np.random.default_rng(len(name)).normal(size=(30, 12)))
    elif name == "model":
        save_model(Amortised(n_code=32, activation=TopK(k=4)).build((8,), seed=0), folder / name, {})
    elif name == "gpt":
        from test_extract_text import GPT2, save_tokenizer, transformers

        torch.manual_seed(0)
        transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)).save_pretrained(folder / name)
        save_tokenizer(folder / name)
    elif name == "text.txt":
        (folder / name).write_text("\n".join(" ".join(f"w{(i * j) % 40}" for j in range(10)) for i in range(60)))
    elif name == "bert":
        from test_extract import tokenizer, transformers

        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=44, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=32,
        )  # fmt: skip
        transformers.BertModel(config).save_pretrained(folder / name)
        tokenizer(special=True).save_pretrained(folder / name)


def tasks(config: Run) -> Any:
    """A run of continual learning that is validated at the end of each task."""
    import msgspec

    replace = msgspec.structs.replace
    epochs = {"epochs": 5.0, "evaluate_every": 1.0, "checkpoint_every": 1.0}
    return replace(
        config,
        train=replace(config.train, **epochs),
        data=replace(cast(ClassTasks, config.data), epochs_per_task=1),
        init_from=None,
    )


def done(ended: Ended) -> Ended:
    assert ended.code == 0, ended.said
    return ended


def content(path: Path) -> Any:
    """What of a file has to be the same."""
    if path.suffix == ".safetensors":  # the order of its metadata is anybody's
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return file.metadata(), {name: file.get_tensor(name).numpy().tobytes() for name in names}
    if path.name == "metrics.jsonl":
        return re.sub(r'"seconds":[^,}]*', "", path.read_text())
    return path.read_bytes()


def files(folder: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(folder)): content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name != ".lock" and "tfevents" not in path.name
    }


def campaign(name: str, inputs: Path, place: Path) -> tuple[int, list[str]]:
    """How many writes a command makes, and what went wrong when it was killed at each of them and called again."""
    argv, needs = COMMANDS[name]
    if name in UNDRAWN:
        argv = (*argv, "--no-figures")
    cache = inputs.parent / "cache"
    os.environ["SPARSECODE_CACHE"] = str(cache)  # of what commands compile, too
    for needed in needs:
        make(needed, inputs)
    root = place / "run"

    def fresh() -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for needed in needs:
            source = inputs / needed
            shutil.copytree(source, root / needed) if source.is_dir() else shutil.copy(source, root / needed)
        if name == "train-config":  # its config alone
            for path in (root / "tasks").iterdir():
                if path.name != "config.json":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        if name in ("train-patches", "data-get"):  # whose data are built into the cache, or downloaded into it
            os.environ["SPARSECODE_CACHE"] = str(root / "cache")

    fresh()
    writes = done(call(argv, root)).writes
    expected = files(root)
    problems = [f"left over: {path}" for path in expected if "partial" in path]
    last = len(writes) + ("--extend" not in argv)  # once it has finished, a run is extended further
    for number in range(1, last + 1):
        fresh()
        killed = call(argv, root, number)
        again = call(argv, root)
        result = files(root)
        different = [path for path in expected | result if expected.get(path) != result.get(path)]
        right = killed.code == (-9 if number <= len(writes) else 0) and again.code in (0, 3)
        if not right or different or "Traceback" in again.said:
            at = f"{number} of {len(writes)}, {(*writes, 'the end')[number - 1]}"
            problems.append(f"killed at {at}: {killed.code}, {again.code}, {different[:6]}: {again.said[-300:]}")
    return len(writes), problems


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_write_the_same_command_goes_on(
    name: str,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setenv("SPARSECODE_CACHE", "")  # put back at the end
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("SPARSECODE_DATA", raising=False)
    with serving() as server:
        sets = {"mnist": Dataset((remote(server, "a.npz"), remote(server, "b.npz")))}
        monkeypatch.setattr("sparsecode.cli.data.datasets", lambda: sets)
        writes, problems = campaign(name, inputs, tmp_path)
    record_property("writes", writes)
    assert writes
    assert not problems, f"{len(problems)} of {writes + 1} kills: " + "\n".join(problems)
