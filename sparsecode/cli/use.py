"""`sparsecode eval`, `encode` and `plot`: what one does with a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import track

from sparsecode.cli.options import UsageError
from sparsecode.cli.tables import denoising_table, scores_table
from sparsecode.data.arrays import read_array
from sparsecode.evaluate.denoise import NoiseUnit
from sparsecode.files import save_atomic, write_atomic
from sparsecode.runner import draw, evaluate_model
from sparsecode.runs import RunFolder
from sparsecode.specs import to_json

__all__ = ["encode_command", "eval_command", "plot_command"]

RunPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="run folder", metavar="RUN")]
CHUNK = 1000


def eval_command(argv: list[str]) -> int:
    tyro.cli(_eval, args=argv, prog="sparsecode eval")
    return 0


def encode_command(argv: list[str]) -> int:
    tyro.cli(_encode, args=argv, prog="sparsecode encode")
    return 0


def plot_command(argv: list[str]) -> int:
    tyro.cli(_plot, args=argv, prog="sparsecode plot")
    return 0


def _eval(
    run: RunPath,
    /,
    split: Literal["test", "valid", "train"] = "test",
    sigmas: tuple[float, ...] | None = None,
    unit: NoiseUnit | None = None,
    theta: float | None = None,
    json: Path | None = None,
    force: bool = False,
) -> None:
    """Score the run's best model.

    Args:
        run: run folder
        split: which samples
        sigmas: noise levels; default those of the run
        unit: sigma in the model's normalised input, or in fractions of the data range
        theta: a code is active above this magnitude
        json: also write the scores to this file
        force: write over an existing file
    """
    folder = RunFolder(run)
    config, console = folder.config(), Console()
    asked = {name: value for name, value in (("sigmas", sigmas), ("unit", unit), ("theta", theta)) if value is not None}
    try:
        how = msgspec.structs.replace(config.evaluate, **asked)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if json is not None:
        _refuse_to_overwrite("--json", json, force)
    model, splits = folder.best_model(), config.data.load()
    folder.check_data(splits)
    state = folder.state()
    if state is not None and state.step < state.total_steps:
        console.print(f"{run} is unfinished, at step {state.step} of {state.total_steps}", highlight=False)
    evaluation = evaluate_model(model, splits, how, config.seed, split)
    console.print(scores_table(evaluation, f"{run.name}:"))
    if any(evaluation.denoising.values()):
        console.print(denoising_table(evaluation))
    if json is not None:
        write_atomic(json, to_json(evaluation))
        console.print(f"scores {json}", highlight=False)


def _encode(
    run: RunPath,
    samples: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SAMPLES")],
    /,
    out: Path,
    coder: str | None = None,
    key: str | None = None,
    force: bool = False,
) -> None:
    """Code the rows of an array; writes `z` [N, n_code] to an .npz file.

    Args:
        run: run folder
        samples: .npy or .npz file with samples [N, ...] in data space, as the run was trained on
        out: the .npz file to write
        coder: which of the model's coders; default its first (for sparse coding: solver)
        key: array in the .npz file
        force: write over an existing file
    """
    if out.suffix != ".npz":
        raise UsageError(f"--out {out}: expected a name that ends in .npz")
    _refuse_to_overwrite("--out", out, force)
    folder = RunFolder(run)
    model = folder.best_model()
    coders = model.coders()
    if coder is not None and coder not in coders:
        raise UsageError(f"--coder {coder}: this model has {', '.join(coders)}")
    name = coder or next(iter(coders))
    x = read_array(samples, key)
    if x.shape[1:] != model.shape:
        raise ValueError(f"{samples}: samples of shape {x.shape[1:]}; this run was trained on {model.shape}")
    low, high = folder.provenance()["data_range"]
    beyond = 0.1 * (high - low)
    console = Console()
    if x.min() < low - beyond or x.max() > high + beyond:
        console.print(
            f"warning: values from {x.min():.4g} to {x.max():.4g}, and the run was trained on {low:.4g} to {high:.4g}: "
            "are they in the same units?",
            highlight=False,
            soft_wrap=True,
        )
    weights = next(model.parameters())
    parts = [
        coders[name](torch.from_numpy(x[start : start + CHUNK]).to(weights.dtype)).numpy()
        for start in track(range(0, len(x), CHUNK), description="encoding")
    ]
    z = np.concatenate(parts)
    save_atomic(out, lambda file: np.savez_compressed(file, z=z))
    gap = model.gap(torch.from_numpy(x).to(weights.dtype), torch.from_numpy(z))
    certificate = "" if gap is None else f", largest relative gap {float(gap.max()):.1e}"
    console.print(
        f"{out}: z {z.shape} {z.dtype} by {name}, {np.count_nonzero(z) / len(z):.2f} of {z.shape[1]} active per "
        f"sample{certificate}",
        highlight=False,
        soft_wrap=True,
    )


def _refuse_to_overwrite(option: str, path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise UsageError(f"{option} {path}: exists already; choose another name, or write over it with --force")


def _plot(run: RunPath, /) -> None:
    """Draw the run's figures again.

    Args:
        run: run folder
    """
    folder = RunFolder(run)
    config = folder.config()
    splits = config.data.load()
    folder.check_data(splits)
    for path in draw(folder, folder.best_model(), splits, config):
        Console().print(str(path), highlight=False, soft_wrap=True)
