"""`sparsecode anomaly`: samples of classes that training has not seen, ranked by how badly a model explains them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from sparsecode.cli.arguments import UsageError, comparing
from sparsecode.cli.console import Console, described
from sparsecode.cli.paths import begun, refuse_file, refuse_to_overwrite, run_labels, written_together
from sparsecode.data import Splits
from sparsecode.data.without_classes import WithoutClasses
from sparsecode.evaluate.reconstruction.anomaly import (
    Anomalies,
    anomalies,
    anomaly_scores,
    reference_anomaly_scores,
    roc,
)
from sparsecode.files import printable, write_atomic
from sparsecode.plots.roc import roc_curves
from sparsecode.plots.saving import save_figure
from sparsecode.runs import RunFolder
from sparsecode.specs import Spec, to_json

__all__ = ["AnomalyReport", "anomaly_command"]


class AnomalyReport(Spec, tag="anomaly_report"):
    """What `--json` writes: folders of the runs by name, and how well the scores of each, and of references, detect anomalies."""

    runs: dict[str, str]
    anomalies: Anomalies


def anomaly_command(args: comparing.AnomalyArguments) -> None:
    """Detection of test samples of classes that training has not seen, by the scores of runs and of references."""
    run, others, scores, json, out, force, moved = args
    files = [file for file in (scores, json) if file is not None]
    for option, file in (("--scores", scores), ("--json", json)):
        refuse_to_overwrite(option, file, force or begun(files))
    refuse_file("--out", out)
    if scores is not None and scores.suffix != ".npz":
        raise UsageError(f"--scores {scores}: expected a name that ends in .npz")
    paths, console = (run, *others), Console()
    names = run_labels(paths, console)
    data = RunFolder(run).config().data
    loaded: dict[bytes, Splits] = {}
    by_coder: dict[str, NDArray[np.float64]] = {}
    for name, path in zip(names, paths, strict=True):
        folder = RunFolder(path)
        config = folder.config()
        if not isinstance(config.data, WithoutClasses):
            raise UsageError(
                f"{path}: trained on all classes; expected data of type 'without_classes', by --set "
                '\'data={"type":"without_classes","source":{"type":"digits"},"classes":[0]}\''
            )
        if config.data != data:
            raise UsageError(
                f"{path}: trained on other data, or without other classes, than {run}; compare runs of the same"
            )
        model, splits = folder.best_model(), folder.splits(moved, loaded)
        weights = next(model.parameters())
        test = splits.test.to(weights.device, weights.dtype)
        try:
            with console.status(f"{described(name)}: scoring {test.n} samples"):
                each = anomaly_scores(model, test)
        except ValueError as problem:
            raise UsageError(f"{path}: {problem}") from None
        same = np.allclose(_ranks(each["error"]), _ranks(each["objective"]))
        by_coder |= {f"{name}, {kind}": score for kind, score in each.items() if kind == "error" or not same}
    assert isinstance(data, WithoutClasses)
    splits = RunFolder(run).splits(moved, loaded)
    assert splits.test.label is not None  # all sources of `without_classes` have labels
    label = np.asarray(splits.test.label.cpu())
    by_coder |= reference_anomaly_scores(splits.train.x, splits.test.x)
    report = anomalies(by_coder, label, data.classes)
    anomalous = np.isin(label, data.classes)
    classes = ", ".join(map(str, data.classes))
    table = Table(
        title=f"test split: {report.n_anomalous} samples of class {classes} among {report.n_normal} others",
        title_justify="left",
        caption="AUC: probability that an anomaly has the higher score; detected: share of anomalies above\n"
        "the threshold that 5 % of the others exceed. error: mean squared error of the reconstruction",
        caption_justify="left",
    )
    for column in ("score", "AUC", "detected"):
        table.add_column(column, justify="left" if column == "score" else "right", overflow="fold")
    for name, one in report.by.items():
        table.add_row(name, f"{one.auc:.4f}", f"{one.detected:.1%}")
    console.print(table)
    lines = {f"{name}: AUC {report.by[name].auc:.3f}": roc(score, anomalous) for name, score in by_coder.items()}
    picture: Path = (RunFolder(run).figures if out is None else out) / "roc.png"
    save_figure(picture, roc_curves(lines, f"class {classes} against the others, test split"))
    console.print(f"picture  {picture}", highlight=False, soft_wrap=True)
    with written_together(files):
        if json is not None:
            folders = {n: printable(str(p)) for n, p in zip(names, paths, strict=True)}
            write_atomic(json, to_json(AnomalyReport(folders, report)))
            console.print(f"report   {json}", highlight=False, soft_wrap=True)
        if scores is not None:
            write_atomic(scores, _packed({"label": label, "anomalous": anomalous, **by_coder}))
            console.print(f"scores   {scores}", highlight=False, soft_wrap=True)


def _ranks(score: NDArray[np.float64]) -> NDArray[np.intp]:
    return score.argsort().argsort()


def _packed(arrays: dict[str, NDArray[Any]]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # pyright: ignore[reportArgumentType] - names are free
    return file.getvalue()
