"""The command line, in process: what it prints, what it refuses, how it exits."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.torch import load_file
from toys import SHORT
from waiting import PATIENCE

from sparsecode.cli import main
from sparsecode.cli.main import COMMANDS
from sparsecode.cli.train import config_of
from sparsecode.data import Digits
from sparsecode.models.iterative import Iterative
from sparsecode.recipes import RECIPES
from sparsecode.records import Event
from sparsecode.runs import RunFolder
from sparsecode.train.observers import Observer
from sparsecode.train.trackers import TRACKERS

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["runs", "ls"], ["runs", "compare"]])
def test_help_is_there(command: list[str], capsys: Capture) -> None:
    assert main([*command, "--help"]) == 0
    assert "sparsecode" in capsys.readouterr().out


# One recipe for each way to infer a code: the options of all are derived alike.
WAYS = {type(recipe().model): name for name, recipe in reversed(RECIPES.items())}.values()


@pytest.mark.parametrize("name", [n if n in WAYS else pytest.param(n, marks=pytest.mark.slow) for n in RECIPES])
def test_every_recipe_has_an_option_per_number(name: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["train", name, "--help"]) == 0
    text, config = capsys.readouterr().out, RECIPES[name]()
    rates = [f"--optim.groups.{pattern}.lr" for pattern in config.optim.groups if pattern.isidentifier()]
    weight = ["--model.weight"] if hasattr(config.model, "weight") else []
    assert max(map(len, text.splitlines())) <= 80
    for option in ("--seed", "--model.n-code", "--train.epochs", "--out", *rates, *weight):
        assert option in text


def test_a_run_folder_holds_what_it_should(trained: Path) -> None:
    names = {str(p.relative_to(trained)) for p in trained.rglob("*") if p.is_file()}
    assert {
        "config.json", "metrics.jsonl", "eval.json", "resume/state.safetensors", "model/cfg.json",
        "model/sae_weights.safetensors", "figures/atoms.png", "figures/curves.png", "figures/denoising.png",
        "figures/reconstructions.png",
    } <= names  # fmt: skip


def test_options_and_variants_reach_the_config(tmp_path: Path) -> None:
    arguments = ["--train.epochs", "0.2", "--model.weight", "0.5", "--optim.groups.decoder.lr", "0.01", "--seed", "3"]
    variants = [
        "--set",
        'model.inference.solver={"type":"ista"}',
        "evaluate.theta=0.25",
        "--accelerator",
        "cpu",
        "--no-figures",
    ]
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), *arguments, *variants]) == 0
    config = RunFolder(tmp_path / "run").config()
    raw = msgspec.to_builtins(config)
    assert isinstance(config.model, Iterative)
    assert (config.model.weight, config.seed, config.evaluate.theta) == (0.5, 3, 0.25)
    assert raw["optim"]["groups"]["decoder"]["lr"] == 0.01
    assert raw["model"]["inference"]["solver"]["type"] == "ista"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.weight", "-1"], "$.model.weight"),
        (["--train.batch-size", "0"], "$.train.batch_size"),
        (
            ["--set", "model.penalty.nothing=1"],
            "model.penalty.nothing: no such place in the config; choose from positive",
        ),
        (["--set", 'model.penalty={"type":"l7"}'], "model.penalty.type is 'l7'; expected l1, elastic_net"),
        (["--set", "model.penalty.positive=false"], "encoder.positive is True and penalty.positive is False"),
        (["--train.epochs", "many"], "many"),
    ],
)
def test_wrong_values_are_usage_errors_that_name_the_place(
    arguments: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_data_fails_before_training(tmp_path: Path, capsys: Capture) -> None:
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), "--train.batch-size", "9999"]) == 1
    assert "train.batch_size is 9999, and there are 1437 training samples" in capsys.readouterr().err


def test_unknown_commands_and_recipes_list_what_there_is(capsys: Capture) -> None:
    assert main(["learn"]) == 2
    assert main(["train", "nothing"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"sparsecode: no command 'learn'; choose from {', '.join(COMMANDS)}",
        f"sparsecode train: no recipe 'nothing'; choose from {', '.join(RECIPES)}",
    ]


def test_every_seed_is_checked_alike(capsys: Capture) -> None:
    words = {
        "path": ["x.npy", "--dictionary", "d.npy"],
        "patches": [],
        "denoise": ["x.npy"],
        "convert": ["a", "b", "--to", "saelens"],
        "extract": ["m", "t.txt", "--out", "o"],
    }
    seen: list[str] = []
    for name, command in COMMANDS.items():
        home = import_module(f"sparsecode.cli.arguments.{command.arguments or 'using'}")
        if "seed" in getattr(getattr(home, f"{name.capitalize()}Arguments", None), "_fields", ()):
            seen.append(name)
            for seed in (-1, 2**32):
                assert main([name, *words.get(name, ["run"]), "--seed", str(seed)]) == 2
                wanted = f"sparsecode {name}: --seed {seed}: expected a whole number from 0 to 4294967295\n"
                assert capsys.readouterr().err == wanted
    assert {"analyse", "attack", "features", "latents", "restore", "traverse", "units", *words} == {*seen}


def test_an_accelerator_that_is_refused_is_not_offered(tmp_path: Path, capsys: Capture) -> None:
    for command in (["train", "digits-sdl"], ["sweep", "digits-sdl"]):
        assert main([*command, "--out", str(tmp_path / "run"), "--accelerator", "mps"]) == 2
        message = " ".join(capsys.readouterr().err.replace("│", " ").split())
        assert "invalid choice 'mps' for argument '--accelerator'. Expected one of ('auto', 'cpu', 'cuda')" in message
    assert not (tmp_path / "run").exists()


def test_help_shows_early_stopping_by_an_example_that_is_accepted(capsys: Capture) -> None:
    assert main(["train", "digits-topk", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert (
        "early stopping: validations without an improvement after which training ends, such as 5 with --train.select encode/psnr"
        in text
    )
    config, _ = config_of("digits-topk", ["--train.patience", "5", "--train.select", "encode/psnr"])
    assert (config.train.patience, config.train.select) == (5, "encode/psnr")


def test_a_finished_run_is_reported_and_left_alone(trained: Path, capsys: Capture) -> None:
    before = (trained / "resume/state.safetensors").read_bytes()
    assert main(["train", "digits-sdl", "--out", str(trained), *SHORT]) == 0
    text = capsys.readouterr().out.replace("\n", " ")
    assert "had already finished" in text
    assert (trained / "resume/state.safetensors").read_bytes() == before


def test_another_config_in_the_same_folder_is_refused_with_a_choice(trained: Path, capsys: Capture) -> None:
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    assert main(["train", "digits-sdl", "--out", str(trained), *SHORT, "--model.weight", "0.7"]) == 3
    text = capsys.readouterr().err
    for part in ("model.weight: 0.32 -> 0.7", f"--out {trained}-2", f"--resume {trained}", "Nothing was changed"):
        assert part in text
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before


def test_a_folder_of_other_things_is_refused(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["train", "digits-sdl", "--out", str(tmp_path), *SHORT]) == 3
    assert "thesis.txt" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_eval_scores_the_run_again(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["eval", str(trained), "--json", str(tmp_path / "scores.json")]) == 0
    assert (tmp_path / "scores.json").read_bytes() == (trained / "eval.json").read_bytes()
    assert main(["eval", str(trained), "--split", "valid", "--sigmas", "0.1", "0.2", "--unit", "range"]) == 0
    assert "valid split, 179 samples" in capsys.readouterr().out


@pytest.mark.parametrize("coder", ["encode", "amortised"])
def test_encode_writes_the_models_codes(trained: Path, tmp_path: Path, coder: str) -> None:
    x = Digits().load().test.x
    np.save(tmp_path / "x.npy", x.numpy())
    out = tmp_path / "codes.npz"
    assert main(["encode", str(trained), str(tmp_path / "x.npy"), "--out", str(out), "--coder", coder]) == 0
    expected = RunFolder(trained).best_model().coders()[coder](x).detach()
    np.testing.assert_array_equal(np.load(out)["z"], expected)


@pytest.mark.parametrize(
    ("shape", "arguments", "code", "message"),
    [
        ((3, 8, 8), ["--out", "codes.txt"], 2, "ends in .npz"),
        ((3, 8, 8), ["--out", "there.npz"], 3, "exists already"),
        (
            (3, 8, 8),
            ["--out", "codes.npz", "--coder", "magic"],
            2,
            "coder is 'magic'; this model has encode, amortised",
        ),
        ((3, 9, 9), ["--out", "codes.npz"], 1, "samples of shape (9, 9); this run was trained on (8, 8)"),
    ],
)
def test_encode_refuses(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    shape: tuple[int, ...],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros(shape, np.float32))
    Path("there.npz").write_bytes(b"precious")
    assert main(["encode", str(trained), "x.npy", *arguments]) == code
    assert message in capsys.readouterr().err
    assert Path("there.npz").read_bytes() == b"precious"
    assert not Path("codes.npz").exists()


def test_plot_draws_again(trained: Path, capsys: Capture) -> None:
    (trained / "figures/atoms.png").unlink()
    assert main(["plot", str(trained)]) == 0
    assert (trained / "figures/atoms.png").exists()
    assert "atoms.png" in capsys.readouterr().out


def test_runs_are_listed_shown_and_compared(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["runs", "ls", str(trained.parent)]) == 0
    assert "14 of 14" in capsys.readouterr().out
    assert main(["runs", "show", str(trained)]) == 0
    text = capsys.readouterr().out
    assert '"n_code": 64' in text
    assert "lowest validation encode/objective" in text
    other = tmp_path / "other"
    assert main(["train", "digits-sdl", "--out", str(other), *SHORT, "--model.weight", "0.7"]) == 0
    capsys.readouterr()
    assert main(["runs", "compare", str(trained), str(other)]) == 0
    assert "model.weight: 0.32 -> 0.7" in capsys.readouterr().out
    assert main(["runs", "ls", str(tmp_path / "nowhere")]) == 1
    assert main(["runs", "show", str(tmp_path)]) == 1
    assert "not a run folder" in capsys.readouterr().err


def test_recipes_are_listed_and_printed(capsys: Capture) -> None:
    assert main(["recipes"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in RECIPES)
    assert main(["recipes", "mnist-sdl"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["spec"]["model"]["n_code"] == 128


@pytest.mark.parametrize("cut", [10, 1000, -1])
def test_a_truncated_checkpoint_is_named_and_nothing_is_lost(
    trained: Path, tmp_path: Path, cut: int, capsys: Capture
) -> None:
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    (out / "eval.json").unlink()  # or the run has finished, and its checkpoint is not read
    state = out / "resume/state.safetensors"
    state.write_bytes(state.read_bytes()[:cut])
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != ".lock"}
    capsys.readouterr()
    assert main(["train", "--resume", str(out), "--no-figures"]) == 1
    assert f"{state}: damaged or cut short" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != ".lock"} == before


def test_nan_in_the_data_is_refused_with_its_row(tmp_path: Path, capsys: Capture) -> None:
    x = np.random.default_rng(0).random((200, 8, 8), np.float32)
    x[17, 3, 3] = np.nan
    np.save(tmp_path / "x.npy", x)
    data = f'data={{"type":"arrays","path":"{tmp_path / "x.npy"}"}}'
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), "--set", data]) == 1
    assert "first in row 17" in capsys.readouterr().err


def test_a_diverging_run_stops_with_the_step_and_keeps_the_batch(tmp_path: Path, capsys: Capture) -> None:
    x = np.random.default_rng(0).random((200, 8, 8), np.float32)
    x[:, 0, 0] = 3e38  # its square is infinite in float32
    np.save(tmp_path / "x.npy", x)
    data = f'data={{"type":"arrays","path":"{tmp_path / "x.npy"}"}}'
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), "--set", data, "--accelerator", "cpu"]) == 1
    assert "step 0: the loss is not finite" in capsys.readouterr().err
    assert load_file(tmp_path / "run/resume/nonfinite-0.safetensors")["x"].shape == (100, 8, 8)


def test_tensorboard_gets_the_scalars(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["train", "digits-sdl", "--out", str(out), *SHORT, "--tensorboard"]) == 0
    assert list((out / "tensorboard").glob("events.out.tfevents*"))


def test_a_tracker_is_an_observer_and_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    events: list[tuple[Path, str]] = []

    def watching(folder: Path) -> Observer:
        def see(event: Event) -> None:
            events.append((folder, event.kind))

        return see

    monkeypatch.setitem(TRACKERS, "list", watching)
    out = tmp_path / "run"
    assert main(["train", "digits-sdl", "--out", str(out), *SHORT, "--track", "list"]) == 0
    assert {folder for folder, _ in events} == {out / "list"}
    assert {"start", "train", "evaluate", "end"} <= {kind for _, kind in events}
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "other"), *SHORT, "--track", "none"]) == 2
    assert (
        "--track is 'none'; expected one of tensorboard, wandb, trackio, swanlab, mlflow, list"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "other").exists()


def test_importing_the_package_stays_light() -> None:
    code = (
        "import sys, sparsecode; heavy = {'torch', 'sklearn', 'matplotlib', 'lightning_fabric', 'tyro', 'rich'};"
        "print(sorted(heavy & set(sys.modules))); sparsecode.sparse_encode; print(sorted(heavy & set(sys.modules)));"
        "import sparsecode.cli.report; print('matplotlib' in sys.modules)"  # a report's charts are drawn without it
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout.splitlines() == ["[]", "['torch']", "False"]


def test_objectives_of_two_definitions_are_marked_in_one_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("digits-sdl", "digits-topk"):
        assert main(["train", name, *SHORT, "--out", str(tmp_path / name)]) == 0
        out = " ".join(capsys.readouterr().out.split())
        half = "1/2 " if name == "digits-sdl" else ""
        assert f"objective: {half}|x - decode(z)|^2" in out
        assert "in model space, mean over samples" in out
    for asked in (["ls", str(tmp_path)], ["compare", str(tmp_path / "digits-sdl"), str(tmp_path / "digits-topk")]):
        assert main(["runs", *asked]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert "objective a: 1/2 |x - decode(z)|^2 + weight" in out
        assert "objective b: |x - decode(z)|^2 in model space" in out
        assert "alone can be compared" in out
