"""`sparsecode restore`: models that remove corruptions beside classical methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor

from sparsecode.cli.arguments import UsageError, comparing
from sparsecode.cli.console import Console, described
from sparsecode.cli.paths import refuse_file, refuse_to_overwrite, run_labels
from sparsecode.data import Splits
from sparsecode.data.splits import Split
from sparsecode.evaluate.base import CHUNK, in_parts
from sparsecode.evaluate.metrics import mean_squared_error, psnr, sees_structure, ssim, wape
from sparsecode.evaluate.reconstruction.classical import NEEDS_SKIMAGE, Pairs, classical, has_skimage, linear_map
from sparsecode.evaluate.reconstruction.restoration import corrupted
from sparsecode.files import printable, write_atomic
from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.rng import generator
from sparsecode.plots import image_grid, is_grey_image
from sparsecode.plots.saving import save_figure
from sparsecode.runs import Run, RunFolder
from sparsecode.specs import Spec, to_json

__all__ = ["RestoreReport", "RestoredBy", "restore_command"]

TUNED = 200  # validation samples on which parameters are chosen
FITTED = 5000  # training samples of the linear map
PICTURED = 10


class RestoredBy(Spec, tag="restored_by"):
    """Errors of one method against clean samples in data space: mean squared error per feature, mean PSNR in dB, `wape` (`metrics.wape`), and mean
    SSIM of images of at least 11 x 11 pixels. `method`: its parameters."""

    method: str
    mse: float
    psnr: float
    wape: float
    ssim: float | None


class RestoreReport(Spec, tag="restore_report"):
    """What `--json` writes: folders of the runs by name, the number of samples, and errors by method and run."""

    runs: dict[str, str]
    split: str
    n: int
    by: dict[str, RestoredBy]
    left_out: tuple[str, ...]


def restore_command(args: comparing.RestoreArguments) -> None:
    """Errors of runs and of classical methods on the same corrupted samples."""
    run, others, split, samples, seed, json, out, force, moved = args
    if samples < 1:
        raise UsageError(f"--samples {samples}: expected at least 1")
    refuse_to_overwrite("--json", json, force)
    refuse_file("--out", out)
    paths, console = (run, *others), Console()
    names = run_labels(paths, console)
    loaded: dict[bytes, Splits] = {}
    models = {name: RunFolder(path).best_model() for name, path in zip(names, paths, strict=True)}
    _comparable(paths)
    for path, each in zip(paths, models.values(), strict=True):
        if not each.reconstructs:
            raise UsageError(f"{path}: its model gives no images; choose one that is no classifier or transcoder")
    model, splits = models[names[0]], RunFolder(run).splits(moved, loaded)
    if not is_grey_image(model.shape) or model.n_sites > 1:
        raise UsageError(f"{run}: its samples have shape {model.shape}; expected grey images [h, w] or [1, h, w]")
    part = {"test": splits.test, "valid": splits.valid}[split]
    test = _pairs(model, part, samples, seed, run)
    valid = _pairs(model, splits.valid, TUNED, seed + 1, run)
    train = _pairs(model, splits.train, FITTED, seed + 2, run)
    restored: dict[str, tuple[str, NDArray[Any]]] = {"corrupted": ("", test.corrupted)}
    with console.status("classical methods: parameters on the validation split"):
        chosen = {**classical(valid), "linear map of training samples": linear_map(train, valid)}
        restored |= {name: (one.method, one.restore(test.corrupted)) for name, one in chosen.items()}
    for name, each in models.items():
        with console.status(f"{described(name)}: restoring"):
            restored[name] = ("", _by_model(each, test))
    by = {name: _errors(test.clean, y, method, splits.data_range) for name, (method, y) in restored.items()}
    console.print(_table(by, f"{split} split: {len(test.clean)} samples corrupted as in training"))
    left_out = () if has_skimage() else NEEDS_SKIMAGE
    if left_out:
        console.print(
            f"left out: {', '.join(left_out)}, which need scikit-image; pip install 'sparsecode[restoration]'",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    rows = {"clean": test.clean[:PICTURED]} | {name: y[:PICTURED] for name, (_, y) in restored.items()}
    picture = (RunFolder(run).figures if out is None else out) / "classical.png"
    title = f"{split} split: restored by classical methods and by models"
    save_figure(picture, image_grid(rows, model.shape, splits.low, splits.high, title))
    console.print(f"picture  {picture}", highlight=False, soft_wrap=True)
    if json is not None:
        folders = {n: printable(str(p)) for n, p in zip(names, paths, strict=True)}
        write_atomic(json, to_json(RestoreReport(folders, split, len(test.clean), by, left_out)))
        console.print(f"errors   {json}", highlight=False, soft_wrap=True)


def _comparable(paths: tuple[Path, ...]) -> None:
    def task(config: Run) -> tuple[Any, ...]:
        model = config.model
        return config.data, getattr(model, "corruption", None), getattr(model, "normaliser", None)

    first = task(RunFolder(paths[0]).config())
    if first[1] is None:
        raise UsageError(
            f"{paths[0]}: trained on clean samples; expected a model with a corruption, such as digits-dae"
        )
    for path in paths[1:]:
        if task(RunFolder(path).config()) != first:
            raise UsageError(
                f"{path}: other data, corruption or normaliser than {paths[0]}; compare runs of the same in one table"
            )


@torch.no_grad()
def _pairs(model: AbstractSparseModel, split: Split, most: int, seed: int, path: Path) -> Pairs:
    """Up to `most` first samples [n, h, w], clean and corrupted, in data space; a function of the seed."""
    weights = next(model.parameters())
    x = split.x[:most].to(weights)
    seen: list[Tensor] = []
    for start in range(0, len(x), CHUNK):
        made = corrupted(model, x[start : start + CHUNK], generator(seed, "restore", start))
        if made is None:
            raise UsageError(
                f"{path}: its corruption is nothing at the end of training; expected one that changes samples"
            )
        seen.append(made[0])
    clean, noisy = (np.asarray(t.reshape(len(x), *x.shape[-2:]).cpu(), np.float64) for t in (x, torch.cat(seen)))
    return Pairs(clean, noisy)


@torch.no_grad()
def _by_model(model: AbstractSparseModel, pairs: Pairs) -> NDArray[Any]:
    noisy = torch.from_numpy(pairs.corrupted).reshape(len(pairs.corrupted), *model.shape).to(next(model.parameters()))
    made = in_parts(model.reconstruct, noisy, model.n_code)
    return np.asarray(made.cpu(), np.float64).reshape(pairs.clean.shape)


def _errors(clean: NDArray[Any], y: NDArray[Any], method: str, data_range: float) -> RestoredBy:
    a, b = torch.from_numpy(clean), torch.from_numpy(y)
    return RestoredBy(
        method=method,
        mse=float(mean_squared_error(a, b).mean()),
        psnr=float(psnr(a, b, data_range).mean()),
        wape=wape(a, b),
        ssim=float(ssim(a, b, data_range).mean()) if sees_structure(clean.shape[1:]) else None,
    )


def _table(by: dict[str, RestoredBy], title: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        caption="parameters of classical methods have the least squared error on the validation split;\n"
        "WAPE: sum |error| / sum |clean value|",
        caption_justify="left",
    )
    structured = any(one.ssim is not None for one in by.values())
    for column in ("by", "PSNR", "squared error", "WAPE", *(("SSIM",) if structured else ()), "parameters"):
        table.add_column(column, justify="left" if column in ("by", "parameters") else "right", overflow="fold")
    for name, one in by.items():
        cells = [f"{one.psnr:.2f}", f"{one.mse:.5f}", f"{one.wape:.1%}"]
        cells += [] if not structured else ["-" if one.ssim is None else f"{one.ssim:.3f}"]
        table.add_row(name, *cells, one.method)
    return table
