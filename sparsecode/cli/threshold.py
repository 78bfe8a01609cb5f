"""`sparsecode threshold`: reconstructions from codes above a threshold, and from the k largest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.table import Table

from sparsecode.cli.arguments import UsageError, comparing
from sparsecode.cli.console import Console, described
from sparsecode.cli.paths import refuse_file, refuse_to_overwrite, run_labels, run_names
from sparsecode.data import Splits
from sparsecode.data.splits import Split
from sparsecode.evaluate.units.thresholding import (
    KeptCodes,
    Thresholding,
    above,
    codes_of,
    filled,
    largest,
    thresholding,
)
from sparsecode.files import printable, write_atomic
from sparsecode.models.base import AbstractSparseModel
from sparsecode.plots import image_grid, is_grey_image
from sparsecode.plots.saving import save_figure
from sparsecode.plots.thresholding import KeptLine, threshold_curves
from sparsecode.runs import RunFolder
from sparsecode.specs import Spec, to_json

__all__ = ["ThresholdReport", "threshold_command"]

PICTURED = 10
MEANS = 2000  # training samples behind the means of dropped codes


class ThresholdReport(Spec, tag="threshold_report"):
    """What `--json` writes: folders of the runs by name, and the errors of each."""

    runs: dict[str, str]
    thresholding: dict[str, Thresholding]


def threshold_command(args: comparing.ThresholdArguments) -> None:
    """Error and number of active codes when codes below a threshold are set to 0, and of the k largest."""
    run, others, thresholds, k, at, split, samples, json, out, force, moved = args
    if samples < 1:
        raise UsageError(f"--samples {samples}: expected at least 1")
    if wrong := [t for t in (*(thresholds or ()), at) if not (math.isfinite(t) and t >= 0)]:
        raise UsageError(f"a threshold is {wrong[0]:g}; expected finite numbers of at least 0")
    refuse_to_overwrite("--json", json, force)
    refuse_file("--out", out)
    paths, console = (run, *others), Console()
    names = run_labels(paths, console)
    loaded: dict[bytes, Splits] = {}
    reports: dict[str, Thresholding] = {}
    figures: dict[Path, Figure] = {}
    for name, place, path in zip(names, run_names(paths), paths, strict=True):
        folder = RunFolder(path)
        model, splits = folder.best_model(), folder.splits(moved, loaded)
        weights, part = next(model.parameters()), {"train": splits.train, "valid": splits.valid, "test": splits.test}
        chosen = part[split].take(slice(samples)).to(weights.device, weights.dtype)
        train = splits.train.take(slice(MEANS)).to(weights.device, weights.dtype)
        try:
            with console.status(f"{described(name)}: decoding"):
                reports[name] = thresholding(model, chosen, train, thresholds, k, folder.config().seed)
        except ValueError as problem:
            raise UsageError(f"{path}: {problem}") from None
        if is_grey_image(model.shape) and model.n_sites == 1:
            target = folder.figures if out is None else out / place if others else out
            figures[target / "thresholded.png"] = _grid(model, chosen, train, splits, at, folder.config().seed, name)
    _print(reports, console)
    figures[(RunFolder(run).figures if out is None else out) / "threshold.png"] = threshold_curves(
        {name: _line(report.by_threshold) for name, report in reports.items()},
        {name: _line(report.by_count) for name, report in reports.items()},
        f"{split} split: reconstructions from some of the codes",
    )
    for path, figure in figures.items():
        save_figure(path, figure)
        console.print(f"picture  {path}", highlight=False, soft_wrap=True)
    if json is not None:
        report = ThresholdReport({n: printable(str(p)) for n, p in zip(names, paths, strict=True)}, reports)
        write_atomic(json, to_json(report))
        console.print(f"errors   {json}", highlight=False, soft_wrap=True)


def _line(kept: Sequence[KeptCodes]) -> KeptLine:
    return KeptLine([k.at for k in kept], [k.l0 for k in kept], [k.mse for k in kept], [k.mse_filled for k in kept])


def _print(reports: Mapping[str, Thresholding], console: Console) -> None:
    for name, report in reports.items():
        seen = "corrupted as in training" if report.corrupted else "not corrupted"
        table = Table(
            title=f"{name}: {report.n} samples, {seen}; {report.n_code} codes by {report.coder}",
            title_justify="left",
            caption="mean squared error per feature in data space against the clean sample; 'means': dropped\n"
            "codes at the mean of what the rule drops of them on training samples, in place of 0",
            caption_justify="left",
        )
        for column in ("kept", "L0", "error", "error, means"):
            table.add_column(column, justify="left" if column == "kept" else "right")
        for rule, kept in (("> ", report.by_threshold), ("largest ", report.by_count)):
            for one in kept:
                table.add_row(f"{rule}{one.at:g}", f"{one.l0:.2f}", f"{one.mse:.5f}", f"{one.mse_filled:.5f}")
        console.print(table)


@torch.no_grad()
def _grid(
    model: AbstractSparseModel, split: Split, train: Split, splits: Splits, at: float, seed: int, name: str
) -> Figure:
    """Rows of samples, what the encoder saw if that is not the same, and reconstructions from all codes and from some."""
    shown = split.take(slice(PICTURED))
    encode = next(iter(model.coders().values()))
    seen, z = codes_of(model, encode, shown.x, seed)
    known = codes_of(model, encode, train.x, seed)[1]
    keep = above(z, at)
    count = max(1, round(float((z * keep != 0).sum(dim=1).double().mean())))
    codes = {
        "all codes": z,
        f"codes > {at:g}": z * keep,
        f"codes > {at:g}, others at means": filled(z, keep, known, 1 - above(known, at)),
        f"{count} largest": z * largest(z, count),
        f"{count} largest, others at means": filled(z, largest(z, count), known, 1 - largest(known, count)),
    }
    rows = {"sample": shown.x} | ({} if bool((seen == shown.x).all()) else {"corrupted": seen})
    rows |= {words: model.denormalise(model.decode(c)) for words, c in codes.items()}
    pixels = {words: np.asarray(shown.pixels(x).cpu()) for words, x in rows.items()}
    return image_grid(pixels, model.shape, splits.low, splits.high, f"{name}: reconstructions from some of the codes")
