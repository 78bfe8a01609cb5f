"""`sparsecode encode`: codes as a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from sparsecode.cli.arguments import UsageError, using
from sparsecode.cli.console import Console
from sparsecode.cli.paths import refuse_to_overwrite, run_labels
from sparsecode.data.arrays import read_array
from sparsecode.data.splits import Split
from sparsecode.files import printable, save_atomic
from sparsecode.models.base import AbstractSparseModel
from sparsecode.runs import RunFolder
from sparsecode.version import __version__

__all__ = ["encode_command"]

CHUNK = 1000

NamedArrays = dict[str, NDArray[Any]]


@torch.no_grad()
def encode_command(asked: using.EncodeArguments) -> None:
    """Code the rows of an array, or of a split of the run's own data."""
    run, out, samples, split, coder, key, force, moved = asked
    if out.suffix not in WRITERS:
        raise UsageError(f"--out {out}: expected a name that ends in {' or '.join(WRITERS)}")
    if (samples is None) == (split is None):
        raise UsageError("expected either SAMPLES or --split, one of the two")
    refuse_to_overwrite("--out", out, force)
    folder, console = RunFolder(run), Console()
    model = folder.best_model()
    (called,) = run_labels((run,), console)
    try:
        name = model.coder_called(coder)
    except ValueError as error:
        raise UsageError(f"--{error}") from None
    encode = model.coders()[name]
    if samples is not None:
        x, label = _own(samples, key, folder, model, console), None
        origin = {"samples": printable(str(samples))}
    else:
        result: Split = getattr(folder.splits(moved), split or "")
        x, label = result.x, result.label
        origin = {"split": split or ""}
    weights = next(model.parameters())
    rows = [part.to(weights.dtype) for part in x.split(CHUNK)]
    z = torch.cat([encode(part) for part in track(rows, description="encoding", transient=True)])
    bounds = [model.gap(part, codes) for part, codes in zip(rows, z.split(CHUNK), strict=True)]
    gap = torch.cat([bound for bound in bounds if bound is not None] or [z.new_zeros(0)])
    _refuse_overflow(str(samples or f"{split} split"), z, gap)
    arrays: NamedArrays = {"z": z.numpy()} | ({} if label is None else {"label": label.numpy()})
    metadata = {
        "sparsecode": __version__,
        "run": called,
        "coder": name,
        "model": hashlib.sha256((folder.model / "sae_weights.safetensors").read_bytes()).hexdigest(),
        "data": folder.provenance().data,
        **origin,
    }
    save_atomic(out, lambda file: WRITERS[out.suffix](file, arrays, metadata), checked=True)
    certificate = f", largest relative gap {float(gap.max()):.1e}" if len(gap) else ""
    console.print(
        f"{out}: {', '.join(f'{n} {a.shape} {a.dtype}' for n, a in arrays.items())} by {name}, "
        f"{int((z != 0).sum()) / len(z):.2f} of {z.shape[1]} active per sample{certificate}",
        highlight=False,
        soft_wrap=True,
    )


def _write_npz(file: BytesIO, arrays: NamedArrays, _metadata: dict[str, str]) -> None:
    np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType] - the names are ours


def _write_safetensors(file: BytesIO, arrays: NamedArrays, metadata: dict[str, str]) -> None:
    from safetensors.numpy import save

    file.write(save(arrays, metadata))


WRITERS: dict[str, Callable[[BytesIO, NamedArrays, dict[str, str]], None]] = {
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
}


def _own(
    samples: Path, key: str | None, folder: RunFolder, model: AbstractSparseModel, console: Console
) -> torch.Tensor:
    x = read_array(samples, key)
    if x.shape[1:] != model.shape:
        raise ValueError(
            f"{samples}: samples of shape {x.shape[1:]}; this run was trained on {model.shape}: expected an array "
            f"[n, {', '.join(map(str, model.shape))}]" + (" (one sample: x[None])" if x.shape == model.shape else "")
        )
    low, high = folder.provenance().data_range
    beyond = 0.1 * (high - low)
    if x.min() < low - beyond or x.max() > high + beyond:
        console.print(
            f"warning: values from {x.min():.4g} to {x.max():.4g}, and the run was trained on {low:.4g} to {high:.4g}: "
            "are they in the same units?",
            highlight=False,
            soft_wrap=True,
        )
    return torch.from_numpy(x)


def _refuse_overflow(source: str, z: torch.Tensor, gap: torch.Tensor) -> None:
    sound = z.isfinite().all(dim=1)
    if len(gap):  # infinite for a sample of zeros; NaN where a square overflowed on the way
        sound &= ~gap.isnan()
    if not bool(sound.all()):
        raise ValueError(
            f"{source}: {int((~sound).sum())} samples too large to be coded in {str(z.dtype).removeprefix('torch.')}, first "
            f"in row {int(sound.int().argmin())}; scale them as the run's data were"
        )
