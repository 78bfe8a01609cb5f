"""`sparsecode denoise`: whole images with a dictionary of patches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from sparsecode.cli.arguments import UsageError, using
from sparsecode.cli.outputs import refuse_to_overwrite, run_labels
from sparsecode.data.arrays import read_array
from sparsecode.evaluate.images import CODERS, data_space_atoms, denoise_image
from sparsecode.evaluate.metrics import PSNR_CAP
from sparsecode.files import save_atomic
from sparsecode.plots import images_beside
from sparsecode.runs import RunFolder

__all__ = ["denoise_command"]

SEEDS = 2**31

Pixels = NDArray[Any]


def denoise_command(asked: using.Denoise) -> None:
    """Remove white Gaussian noise from images by sparse codes of their overlapping patches."""
    images, dictionary, sigma, out, method, stride, blend, add_noise, seed, force = asked
    if not images:
        raise UsageError("which images? name at least one file")
    if not 0 <= seed < SEEDS:
        raise UsageError(f"--seed {seed}: expected a whole number from 0 to {SEEDS - 1}")
    targets = [out / path.with_suffix(".npy" if path.suffix == ".npy" else ".png").name for path in images]
    picture = out / "comparison.png"
    if len({*targets, picture}) <= len(targets):
        raise UsageError("two of the images would be written to the same file; denoise them into different folders")
    for target in (*targets, picture):
        refuse_to_overwrite("--out", target, force)
    console = Console()
    (called,) = run_labels((dictionary,), console)
    atoms = _atoms(dictionary)
    rows: dict[str, list[Pixels]] = {}
    for number, (path, target) in enumerate(zip(images, targets, strict=True)):
        given = _read(path)
        noisy = given.astype(np.float32)
        peak = float(np.iinfo(given.dtype).max) if given.dtype.kind == "u" else float(np.ptp(given.astype(np.float64)))
        if add_noise:
            if not peak:
                raise ValueError(
                    f"{path}: all values are {given.min():g}: no range to measure a PSNR by; take another image"
                )
            noisy = given + sigma * np.random.RandomState(seed + number).standard_normal(given.shape)
        channels = np.atleast_3d(noisy)
        found = [
            denoise_image(channels[..., c], atoms, sigma, coder=CODERS[method], stride=stride, blend=blend)
            for c in track(range(channels.shape[2]), description=path.name, transient=True)
        ]
        clean = np.stack(found, axis=2).reshape(given.shape)
        _write(target, clean, given.dtype)
        words = ""
        shown = [noisy, clean]
        if add_noise:
            words = f"PSNR {_psnr(given, noisy, peak):.2f} -> {_psnr(given, clean, peak):.2f} dB (peak {peak:g})"
            shown = [given, *shown]
        rows[path.name] = shown
        console.print(f"{target}  {words}".rstrip(), highlight=False, soft_wrap=True)
    labels = ["clean", "noisy", "denoised"] if add_noise else ["given", "denoised"]
    figure = images_beside(rows, labels, f"sigma {sigma:g}, {method}, dictionary {called}")
    save_atomic(picture, lambda file: figure.savefig(file, dpi=120))
    console.print(f"picture  {picture}", highlight=False, soft_wrap=True)


def _atoms(dictionary: Path) -> NDArray[np.float32]:
    if dictionary.is_dir():
        model = RunFolder(dictionary).best_model()
        try:
            return data_space_atoms(model)
        except ValueError as error:
            raise ValueError(f"{dictionary}: {error}") from None
    return read_array(dictionary)


def _read(path: Path) -> Pixels:
    """Grey [h, w] or colour [h, w, 3] values as they stand in the file."""
    if path.suffix == ".npy":
        array = read_array(path)
        if array.ndim != 2:
            raise ValueError(f"{path}: shape {array.shape}; expected one grey image [h, w]")
        return array
    try:
        with Image.open(path) as image:
            if "A" in image.getbands() or "transparency" in image.info:
                raise ValueError(f"{path}: is partly transparent; flatten it first")
            if image.mode.startswith("I;16"):
                return np.asarray(image).astype(np.uint16)
            return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected a picture or a .npy file") from None
    except OSError as error:
        raise ValueError(f"{path}: not a picture that can be read ({error})") from None


def _write(path: Path, values: Pixels, kind: np.dtype[Any]) -> None:
    if path.suffix == ".npy":
        save_atomic(path, lambda file: np.save(file, values))
        return
    whole = np.clip(np.rint(values), 0, np.iinfo(kind).max).astype(kind)
    save_atomic(path, lambda file: Image.fromarray(whole).save(file, "PNG"))


def _psnr(clean: Pixels, other: Pixels, peak: float) -> float:
    ratio = float(np.mean((clean.astype(np.float64) - other) ** 2)) / peak**2
    return -10 * math.log10(max(ratio, 10 ** (-PSNR_CAP / 10)))
