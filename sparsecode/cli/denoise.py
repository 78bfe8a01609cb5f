"""`sparsecode denoise`: whole images with a dictionary of patches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparsecode.cli.arguments import UsageError, using
from sparsecode.cli.console import Console
from sparsecode.cli.paths import refuse_to_overwrite_all, run_labels, written_together
from sparsecode.data.arrays import read_array
from sparsecode.data.pictures import file_bytes, read_picture
from sparsecode.evaluate.metrics import PSNR_CAP
from sparsecode.evaluate.reconstruction.image_denoising import data_space_atoms, denoise_image
from sparsecode.evaluate.reconstruction.noise_level import estimate_sigma
from sparsecode.evaluate.reconstruction.patch_coders import CODERS
from sparsecode.files import save_atomic
from sparsecode.plots import images_beside
from sparsecode.plots.saving import save_figure
from sparsecode.runs import RunFolder
from sparsecode.specs import SEEDS

__all__ = ["denoise_command"]

KEPT = (".npy", ".png", ".tif", ".tiff", ".bmp")  # others are written as .png

Pixels = NDArray[Any]


def denoise_command(args: using.DenoiseArguments) -> None:
    """Remove white Gaussian noise from images by sparse codes of their overlapping patches."""
    images, dictionary, sigma, out, method, stride, blend, background, add_noise, seed, mask, force = args
    if not images:
        raise UsageError("which images? name at least one file")
    if add_noise and sigma is None:
        raise UsageError("--add-noise without --sigma; expected the standard deviation of the noise to add")
    if mask is not None and (dictionary is None or sigma is None):
        raise UsageError(
            "--mask needs --dictionary and --sigma; expected both: neither is learned from incomplete images"
        )
    if background is not None and not 0 <= background <= 1:
        raise UsageError(f"--background {background:g}: expected a grey level from 0 (black) to 1 (white)")
    targets = [out / (path.name if path.suffix.lower() in KEPT else path.with_suffix(".png").name) for path in images]
    picture = out / "comparison.png"
    if len({*targets, picture}) <= len(targets):
        raise UsageError("two of the images would be written to the same file; denoise them into different folders")
    if same := [path for path, target in zip(images, targets, strict=True) if path.resolve() == target.resolve()]:
        raise FileExistsError(
            f"--out {out}: {same[0]} would be overwritten by its denoised image; choose another folder"
        )
    files = (*targets, picture)
    refuse_to_overwrite_all("--out", files, force)
    observed = None if mask is None else _observed(mask)
    for path, target in zip(images, targets, strict=True):  # before the first of them takes minutes
        source = _read(path, background)
        _require_room(source, target)
        if observed is not None and source.pixels.shape[:2] != observed.shape:
            raise ValueError(
                f"{mask}: {observed.shape[0]} x {observed.shape[1]} pixels, and {path} has {source.pixels.shape[0]} x "
                f"{source.pixels.shape[1]}; expected a mask of the same size: crop or resize it"
            )
    console = Console()
    called = "of the image itself" if dictionary is None else run_labels((dictionary,), console)[0]
    atoms = None if dictionary is None else _atoms(dictionary)
    rows: dict[str, list[Pixels]] = {}
    with written_together(files):
        for number, (path, target) in enumerate(zip(images, targets, strict=True)):
            source = _read(path, background)
            given = source.pixels
            noisy = given.astype(np.float32)
            peak = source.white or float(np.ptp(given.astype(np.float64)))
            if add_noise and sigma is not None:
                if not peak:
                    raise ValueError(
                        f"{path}: all values are {given.min():g}: no range to measure a PSNR by; take another image"
                    )
                noisy = given + sigma * np.random.RandomState((seed + number) % SEEDS).standard_normal(given.shape)
            if observed is not None:
                noisy = np.where(observed if noisy.ndim == 2 else observed[..., None], noisy, 0)
            words = source.kind if observed is None else f"{source.kind}, {100 * (1 - observed.mean()):.3g} % missing"
            clean, level = noisy, sigma
            if level is None:
                level = _estimated(path, noisy)
                words += f"  sigma {level:.3g} (estimated)"
            if level or sigma is not None:
                clean = denoise_image(
                    noisy,
                    atoms,
                    level,
                    coder=CODERS[method],
                    stride=stride,
                    blend=blend,
                    mask=observed,
                    seed=seed,
                    progress=path.name,
                )
            _write(target, clean, source)
            shown = [noisy, clean]
            if add_noise:
                words += f"  PSNR {_psnr(given, noisy, peak):.2f} -> {_psnr(given, clean, peak):.2f} dB (peak {peak:g})"
                shown = [given, *shown]
            rows[path.name] = shown
            console.print(f"{target}  {words}", highlight=False, soft_wrap=True)
        labels = ["clean", "noisy", "denoised"] if add_noise else ["given", "denoised"]
        figure = images_beside(
            rows, labels, f"sigma {'estimated' if sigma is None else f'{sigma:g}'}, {method}, dictionary {called}"
        )
        save_figure(picture, figure)
    console.print(f"picture  {picture}", highlight=False, soft_wrap=True)


def _estimated(path: Path, image: Pixels) -> float:
    try:
        return estimate_sigma(image)
    except ValueError as error:
        raise ValueError(f"{path}: {error}, or a given --sigma") from None


def _atoms(dictionary: Path) -> NDArray[np.float32]:
    if dictionary.is_dir():
        model = RunFolder(dictionary).best_model()
        try:
            return data_space_atoms(model)
        except ValueError as error:
            raise ValueError(f"{dictionary}: {error}") from None
    return read_array(dictionary)


class _PictureSource(NamedTuple):
    """Grey [h, w] or colour [h, w, 3] values as they stand in a file, and what else is to be written again."""

    pixels: Pixels
    white: float | None
    kind: str
    profile: bytes | None = None


def _read(path: Path, background: float | None) -> _PictureSource:
    if path.suffix.lower() == ".npy":
        array = read_array(path)
        if array.ndim != 2:
            raise ValueError(f"{path}: shape {array.shape}; expected one grey image [h, w]")
        return _PictureSource(array, None, "array, float32")
    result = read_picture(path, lambda: file_bytes(path), background)
    pixels = result.pixels()
    written = f"{'colour' if pixels.ndim == 3 else 'grey'}, {pixels.dtype}, {pixels.min():.9g} to {pixels.max():.9g}"
    return _PictureSource(pixels, result.white, f"{written} (file: {result.mode}, {result.bits} bits)", result.profile)


def _observed(path: Path) -> NDArray[np.bool_]:
    """Where pixels are observed: all values but 0 of a mask."""
    values = read_array(path) if path.suffix.lower() == ".npy" else _read(path, None).pixels
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2:
        raise ValueError(f"{path}: shape {values.shape}; expected a grey mask [h, w]")
    levels = np.unique(values)
    if len(levels) != 2 or levels[0] != 0:
        raise ValueError(
            f"{path}: {len(levels)} different values, {levels[0]:g} to {levels[-1]:g}; expected two: 0 (black) where a pixel is "
            "missing and one more elsewhere: save the mask without lossy compression"
        )
    return values != 0


def _require_room(source: _PictureSource, target: Path) -> None:
    """Raise UsageError if the file to be written cannot hold such values."""
    kind = source.pixels.dtype
    kinds = {".npy": kind, ".tif": kind, ".tiff": kind, ".png": np.uint16, ".bmp": np.uint8}
    if not np.can_cast(kind, kinds[target.suffix.lower()]):
        raise UsageError(
            f"{target}: cannot hold values of type {kind}; expected a name that ends in .tif: rename the image"
        )


def _write(path: Path, values: Pixels, source: _PictureSource) -> None:
    if path.suffix.lower() == ".npy":
        save_atomic(path, lambda file: np.save(file, values), checked=True)
        return
    kind = source.pixels.dtype
    if kind.kind != "f":
        low = min(0, int(source.pixels.min()))  # signed only where the file is
        values = np.clip(np.rint(values.astype(np.float64)), low, np.iinfo(kind).max)
    image = Image.fromarray(values.astype(kind))
    form = {".png": "PNG", ".bmp": "BMP"}.get(path.suffix.lower(), "TIFF")
    save_atomic(path, lambda file: image.save(file, form, icc_profile=source.profile), checked=True)


def _psnr(clean: Pixels, other: Pixels, peak: float) -> float:
    ratio = float(np.mean((clean.astype(np.float64) - other) ** 2)) / peak**2
    return -10 * math.log10(max(ratio, 10 ** (-PSNR_CAP / 10)))
