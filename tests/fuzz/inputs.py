"""What is given to the command line: damaged configs, arrays, foreign folders and command lines, each near one that works."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.campaign import Input, Make
from fuzz.mutations import damaged_bytes, damaged_json, damaged_npy, damaged_npz, odd_word

from sparsecode.cli import main
from sparsecode.cli.main import COMMANDS
from sparsecode.data import Digits
from sparsecode.recipes import RECIPES
from sparsecode.specs import pack

__all__ = ["kinds", "prepare"]

FIXTURES = Path(__file__).parent.parent / "interop/fixtures"
FORMATS = ("saelens", "dictionary_learning", "sparsify", "openai", "sparsecode")
IMPORTED_WHEN_USED = ("sparsecode.train.fit", "torch._dynamo", "matplotlib.pyplot")  # torch makes a folder for itself
SMALL = ("digits-sdl", "digits-topk", "digits-lista", "digits-dae", "digits-satlin", "digits-vsc")


def kinds(run: Path) -> dict[str, Make]:
    """The makers of inputs by kind; `run` is a finished run on digits."""
    return {
        "config": lambda rng: _config(rng, run),
        "arrays": lambda rng: _arrays(rng, run),
        "foreign": _foreign,
        "argv": lambda rng: _argv(rng, run),
    }


def _config(rng: random.Random, run: Path) -> Input:
    if rng.random() < 0.5:  # of a run to begin: a step or two of it
        raw = _short(rng.choice([name for name in SMALL if name in RECIPES]))
        data = damaged_json(raw, rng)
        if rng.random() < 0.3:
            return Input(("train", "--resume", "run", "--accelerator", "cpu"), {"run/config.json": data})
        return Input(("runs", rng.choice(["show", "show", "ls"]), rng.choice(["run", "."])), {"run/config.json": data})
    file, commands = rng.choice(
        [
            (
                "config.json",
                ["eval run", "encode run --split test --out z.npz", "runs show run", "runs ls .", "train --resume run"],
            ),
            ("eval.json", ["runs ls .", "runs show run", "runs compare run run", "train --resume run"]),
            ("metrics.jsonl", ["plot run"]),
            (
                "model/cfg.json",
                ["eval run", "convert run o --to saelens", "encode run --split test --out z.npz", "analyse run"],
            ),
        ]
    )
    data = (run / file).read_bytes()
    if file == "metrics.jsonl":
        lines = data.splitlines(keepends=True)
        at = rng.randrange(len(lines))
        lines[at] = damaged_json(json.loads(lines[at]), rng).replace(b"\n", b" ") + b"\n"
        changed = b"".join(lines)
    else:
        changed = damaged_json(json.loads(data), rng)
    return Input(tuple(rng.choice(commands).split()), {f"run/{file}": changed}, {"run": run})


@cache
def _short(name: str) -> dict[str, Any]:
    raw: Any = pack(RECIPES[name]())
    raw["spec"]["train"] |= {"epochs": 0.02, "batch_size": 20}
    raw["spec"]["evaluate"]["sigmas"] = []
    return json.loads(json.dumps(raw))


def _arrays(rng: random.Random, run: Path) -> Input:
    name, data = ("x.npz", damaged_npz(rng)) if rng.random() < 0.4 else ("x.npy", damaged_npy(rng))
    key = rng.choice([[], [], ["--key", "x"], ["--key", odd_word(rng)]])
    source = json.dumps({"type": "arrays", "path": name})
    command = rng.choice(
        [
            ["encode", "run", name, "--out", "z.npz", *key],
            ["encode", "run", name, "--out", "z.safetensors"],
            ["denoise", name, "--dictionary", "run", "--sigma", "0.1", "--out", "o", "--stride", "4"],
            ["denoise", "image.npy", "--dictionary", name, "--sigma", "0.1", "--out", "o", "--stride", "4"],
            ["train", "digits-sdl", "--out", "o", "--train.epochs", "0.01", "--accelerator", "cpu", "--set", f"data={source}"],
        ]
    )  # fmt: skip
    image = io.BytesIO()
    np.save(image, np.random.RandomState(0).rand(16, 16))
    return Input(tuple(command), {name: data, "image.npy": image.getvalue()}, {"run": run})


@cache
def _models() -> list[Path]:
    return sorted(path for path in FIXTURES.glob("*/*") if path.is_dir())


def _foreign(rng: random.Random) -> Input:
    source = rng.choice(_models())
    files = {
        str(p.relative_to(source)): p for p in sorted(source.rglob("*")) if p.is_file() and "expected" not in p.name
    }
    content = {name: path.read_bytes() for name, path in files.items()}
    changed = rng.choice(list(content))
    match rng.randrange(8):
        case 0:
            del content[changed]
        case 1:
            content[changed + rng.choice(["x", ".bak"])] = content.pop(changed)
        case 2:
            content[changed] = rng.choice(
                [b"", b"{}", b"[]", b"null", damaged_npy(rng), damaged_npz(rng), content[rng.choice(list(content))]]
            )
        case 3 if changed.endswith(".safetensors"):
            content[changed] = _damaged_header(content[changed], rng)
        case _ if changed.endswith(".json"):
            with contextlib.suppress(ValueError):
                content[changed] = damaged_json(json.loads(content[changed]), rng)
        case _:
            content[changed] = damaged_bytes(content[changed], rng)
    model = "src/model" if any(name.startswith("model/") for name in files) else "src"
    at = rng.choice([model, model, model, model, "src", f"src/{changed}"])
    dtype = rng.choice([[], [], ["--dtype", rng.choice(["float16", "float64"])]])
    like = ["--like", "digits-sdl"] if rng.random() < 0.05 else []
    argv = ("convert", at, rng.choice(["o", "o.pt"]), "--to", rng.choice(FORMATS), *dtype, *like)
    return Input(argv, {f"src/{name}": data for name, data in content.items()})


def _damaged_header(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file that says other things of its tensors."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    tensors = [value for name, value in header.items() if name != "__metadata__"]
    tensor = rng.choice(tensors)
    match rng.randrange(4):
        case 0:
            tensor["dtype"] = rng.choice(["F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "F8_E8M0", "C64", "X"])
        case 1:
            tensor["shape"] = rng.choice([tensor["shape"][::-1], [], [0], [-1], [2**62, 4], tensor["shape"] + [1], "x"])
        case 2:
            name = rng.choice([n for n in header if n != "__metadata__"])
            header[name + "_"] = header.pop(name)
        case _:
            tensor["data_offsets"] = rng.choice([[0, 0], [0, 2**62], [8, 4], tensors[0]["data_offsets"]])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


TEMPLATES = [
    "runs ls .", "runs show run", "runs compare run two", "eval run", "eval run --split valid --json s.json", "plot run",
    "encode run --split test --out z.npz", "encode run x.npy --out z.safetensors", "convert run o --to saelens",
    "denoise image.npy --dictionary run --sigma 0.1 --out o --stride 4", "recipes", "recipes digits-sdl", "analyse run",
    "analyse run two", "probe run --labels-per-class 1 --seeds 1 --out o", "latents run", "traverse run", "units run", "attack run",
    "forgetting run", "extract model text.txt --layer 1 --out o", "sweep digits-sdl --over seed=0,1 --epochs 0.01 --out o",
    "sweep --list", "train digits-sdl --out o --train.epochs 0.01 --accelerator cpu", "train --resume run", "train",
    "train digits-topk --out o --train.epochs 0.01 --set model.n_code=16", "",
]  # fmt: skip


@cache
def _options(command: str) -> list[str]:
    """The options that the help of a command names."""
    said = io.StringIO()
    argv = {"train": ["train", "digits-sdl"], "runs": ["runs", "ls"]}.get(command, [command])
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        main([*argv, "--help"])
    return sorted(set(re.findall(r"--[a-z][\w.-]*", said.getvalue()))) or ["--help"]


def prepare(run: Path, folder: Path) -> None:
    """Import and compile what the commands need, before processes are forked."""
    for command in COMMANDS:
        _options(command)
    for module in IMPORTED_WHEN_USED:
        importlib.import_module(module)
    (folder / "x.npy").write_bytes(_npy(Digits().load().test.x.numpy()[:20]))
    (folder / "image.npy").write_bytes(_npy(np.random.RandomState(0).rand(16, 16)))
    for command in WARM:
        words = {"RUN": str(run), "FOLDER": str(folder)}
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            main([words.get(word, word).replace("FOLDER", str(folder)) for word in command.split()])


WARM = [
    "eval RUN", "encode RUN FOLDER/x.npy --out FOLDER/z.npz", "denoise FOLDER/image.npy --dictionary RUN --sigma 0.1 --out FOLDER/o --stride 4",
    "train digits-sdl --out FOLDER/t --train.epochs 0.01 --accelerator cpu --evaluate.sigmas 0.5",
]  # fmt: skip


def _argv(rng: random.Random, run: Path) -> Input:
    words = rng.choice(TEMPLATES).split()
    options = _options(words[0]) if words and words[0] in COMMANDS else ["--help", "--version"]
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(words)) if words else 0
        match rng.randrange(7):
            case 0 if words:
                del words[at]
            case 1 if words:
                words.insert(at, words[at])
            case 2:
                words.insert(at, odd_word(rng))
            case 3 if words:
                words[at] = odd_word(rng)
            case 4:
                option = rng.choice(options)
                words += [f"{option}={_value(rng)}"] if rng.random() < 0.3 else [option, _value(rng)]
            case 5:
                words += [rng.choice(options)]
            case _:
                words += [
                    "--set",
                    f"{rng.choice(['model.n_code', 'data', 'train', 'model', 'x', 'seed', ''])}={odd_word(rng)}",
                ]
    files = {
        "x.npy": _npy(Digits().load().test.x.numpy()[:20]),
        "image.npy": _npy(np.zeros((16, 16))),
        "text.txt": b"a b c\n",
    }
    return Input(tuple(words), files, {"run": run, "two": run})


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _value(rng: random.Random) -> str:
    return rng.choice(
        ["0", "1", "2", "-1", "0.5", "nan", "inf", "1e400", "run", "o", ".", "x.npy", odd_word(rng), odd_word(rng)]
    )
