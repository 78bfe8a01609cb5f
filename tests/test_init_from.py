"""Starting from parts of other models: which, from where, and frozen."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from toys import toy

from sparsecode import Run, RunFolder, run
from sparsecode.cli.main import main
from sparsecode.interop.formats import write
from sparsecode.interop.native import from_model
from sparsecode.models.amortised import Amortised
from sparsecode.models.storage import save_model
from sparsecode.nn.affine import BiasedDictionary
from sparsecode.nn.constraints import Free
from sparsecode.runs import InitFrom
from sparsecode.sweeps.jobs import Job
from sparsecode.sweeps.stacked import stacks_of

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, its model elsewhere, and the same in a format of another library."""
    root = tmp_path_factory.mktemp("source")
    config = toy("digits-topk", root, steps=2)
    assert isinstance(config.model, Amortised)
    free = replace(config.model, decoder=BiasedDictionary(constraint=Free()))
    folder = run(replace(config, model=free, seed=9), root / "run", accelerator="cpu", figures=False).folder
    model = folder.best_model()
    save_model(model, root / "model", {})
    write(from_model(model), root / "foreign", "saelens")
    return root


def started(source: Path, out: Path, steps: int = 2, base: str = "digits-topk", **init: Any) -> tuple[Run, Path]:
    config = toy(base, out.parent, steps=steps)
    if isinstance(config.model, Amortised):
        config = replace(config, model=replace(config.model, decoder=BiasedDictionary(constraint=Free())))
    config = replace(config, init_from=InitFrom(run=str(source), **init))
    run(config, out, accelerator="cpu", figures=False)
    return config, out


@pytest.mark.parametrize("kind", ["model", "foreign", pytest.param("run", marks=pytest.mark.slow)])
def test_all_parts_from_anywhere_are_taken_and_frozen_ones_keep_their_bits(
    kind: str, source: Path, tmp_path: Path
) -> None:
    _, out = started(source / kind, tmp_path / "run", parts=("decoder", "encoder"), frozen=True)
    ours = RunFolder(out).best_model().state_dict()
    theirs = RunFolder(source / "run").best_model().state_dict()
    for name in ("encoder.weight", "encoder.bias", "decoder.atoms", "decoder.bias"):
        if kind == "foreign" and name.endswith("bias"):  # folded in float64
            torch.testing.assert_close(ours[name], theirs[name])
        else:
            assert torch.equal(ours[name], theirs[name]), name
    assert not [name for name in load_file(out / "resume/state.safetensors") if name.startswith("optim/")]


@pytest.mark.parametrize("parts", [("encoder",), ("decoder",), ("all",)])
def test_what_is_frozen_alone_is_left_out_of_training(parts: tuple[str, ...], source: Path, tmp_path: Path) -> None:
    config, out = started(source / "run", tmp_path / "run", 4, parts=parts, frozen=True)
    state = load_file(out / "resume/state.safetensors")
    theirs = RunFolder(source / "run").best_model().state_dict()
    for name in theirs:
        if name.startswith(("encoder.", "decoder.")):
            held = parts == ("all",) or name.startswith(parts)
            assert torch.equal(state[f"model/{name}"], theirs[name]) == held, name
            assert any(key.startswith(f"optim/{name}/") for key in state) != held, name
    assert run(config, out, accelerator="cpu", figures=False).state.finished


def test_a_frozen_part_is_held_against_constraints_and_goes_on(source: Path, tmp_path: Path) -> None:
    """Unit norms would move atoms that are free where they come from."""
    config = toy("digits-topk", tmp_path, steps=6)
    config = replace(config, init_from=InitFrom(run=str(source / "run"), parts=("decoder",), frozen=True))
    theirs = RunFolder(source / "run").best_model().state_dict()["decoder.atoms"]
    halt = run(
        config,
        tmp_path / "run",
        observers=[lambda e: "enough" if e.step == 3 else None],
        accelerator="cpu",
        figures=False,
    )
    assert halt.state.step == 3
    run(config, tmp_path / "run", accelerator="cpu", figures=False)
    run(config, tmp_path / "whole", accelerator="cpu", figures=False)
    ours, whole = (load_file(tmp_path / name / "resume/state.safetensors") for name in ("run", "whole"))
    assert all(torch.equal(ours[k], whole[k]) for k in whole)
    assert torch.equal(ours["model/decoder.atoms"], theirs)


@pytest.mark.slow
def test_solved_codes_start_from_a_dictionary(tmp_path: Path) -> None:
    before = toy("digits-sdl", tmp_path, steps=2)
    run(before, tmp_path / "before", accelerator="cpu", figures=False)
    theirs = RunFolder(tmp_path / "before").best_model().state_dict()["decoder.atoms"]
    for frozen in (True, False):
        config = replace(
            before, seed=5, init_from=InitFrom(run=str(tmp_path / "before"), parts=("decoder",), frozen=frozen)
        )
        out = tmp_path / str(frozen)
        run(config, out, accelerator="cpu", figures=False)
        assert torch.equal(load_file(out / "resume/state.safetensors")["model/decoder.atoms"], theirs) == frozen


def test_what_cannot_be_started_from_is_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match=r"init_from\.run .*nothing: no such file or folder; expected a run"):
        started(tmp_path / "nothing", out)
    with pytest.raises(ValueError, match="its activation is topk, and this model's relu; expected the same"):
        started(source / "run", out, base="digits-dae", parts=("activation",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"init_from\.run .*empty: no autoencoder that can be read"):
        started(tmp_path / "empty", out)
    with pytest.raises(ValueError, match=r"InitFrom\.parts"):
        InitFrom(run="x", parts=())
    assert not (out / "config.json").exists()


def test_a_model_of_another_library_is_trained_on_with_the_settings_that_the_refusal_names(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = f'init_from={{"run":"{source / "foreign"}","parts":["all"]}}'
    command = ("train", "digits-topk", "--out", str(tmp_path / "run"), "--train.epochs", "0.02", "--no-figures")
    command = (*command, "--accelerator", "cpu", "--set", start, "model.n_code=50")
    assert main([*command, "model.encoder.centred=false", 'model.normaliser={"type":"standardise"}']) == 1
    error = capsys.readouterr().err
    assert "its encoder.centred is True, and this model's False; its normaliser is identity" in error
    assert not (tmp_path / "run/config.json").exists()
    settings = shlex.split(error.partition("expected the same: --set ")[2])
    assert settings[-1].startswith("model.n_code=")
    assert main([*command, *settings]) == 0
    atoms = RunFolder(tmp_path / "run").best_model().state_dict()["decoder.atoms"]
    theirs = load_file(source / "foreign/sae_weights.safetensors")["W_dec"]
    assert float((torch.nn.functional.normalize(atoms) - torch.nn.functional.normalize(theirs)).abs().max()) < 0.05


def test_members_of_stacks_are_not_frozen(source: Path, tmp_path: Path) -> None:
    config = replace(toy("digits-dae", tmp_path), init_from=InitFrom(run=str(source / "run"), frozen=True))
    stacks, apart = stacks_of([Job("digits-dae", {}, config, tmp_path / "run", {})])
    assert (stacks, list(apart)) == ([], ["init_from is frozen"])


def test_an_encoder_is_trained_to_a_frozen_decoder_extended_and_started_from_by_command(tmp_path: Path) -> None:
    """The commands in docs/sparse-coding.md."""
    dec, enc, both = (str(tmp_path / name) for name in ("dec", "enc", "both"))
    short = ("--no-figures", "--accelerator", "cpu", "--train.epochs", "0.1", "--set", "evaluate.sigmas=[]")
    decoder = 'optim={"groups":{"decoder":{"type":"adam","lr":0.003}}}'
    alone = ("model.encoder=null", "model.proximity=0", 'model.inference={"start":"zero"}', decoder)
    assert main(["train", "digits-sdl", "--out", dec, *short, *alone]) == 0
    frozen = f'init_from={{"run":"{dec}","parts":["decoder"],"frozen":true}}'
    fitted = ("model.proximity=0", "train.select=amortised/objective", frozen)
    assert main(["train", "digits-sdl", "--out", enc, *short, *fitted]) == 0
    before = RunFolder(enc).best_model().state_dict()
    assert main(["train", "--resume", enc, "--extend", "0.1", *short[:3]]) == 0
    after = RunFolder(enc).best_model().state_dict()
    assert torch.equal(after["decoder.atoms"], RunFolder(dec).best_model().state_dict()["decoder.atoms"])
    assert not torch.equal(after["encoder.weight"], before["encoder.weight"])
    start = f'init_from={{"run":"{enc}","parts":["all"]}}'
    assert main(["train", "digits-sdl", "--out", both, *short, start]) == 0
    started = RunFolder(both).best_model().state_dict()
    assert float((started["decoder.atoms"] - after["decoder.atoms"]).abs().max()) < 0.02  # one step away
