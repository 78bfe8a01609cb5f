"""`sparsecode probe`: low-label classification with the codes of trained runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tyro
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from sparsecode.cli.options import UsageError
from sparsecode.cli.outputs import refuse_to_overwrite, run_names
from sparsecode.data import Splits
from sparsecode.evaluate.lista_probe import lista_trials
from sparsecode.evaluate.probe import (
    Probe,
    ProbeReport,
    ProbeResult,
    Task,
    Track,
    features_of,
    linear_trials,
    pca,
    summary,
)
from sparsecode.files import save_atomic, write_atomic
from sparsecode.models.base import AbstractSparseModel
from sparsecode.plots import accuracy_curves
from sparsecode.runs import RunFolder
from sparsecode.specs import differences, to_json

__all__ = ["probe_command"]

Reference = Literal["pixels", "pca", "lista"]


def probe_command(argv: list[str]) -> int:
    tyro.cli(_probe, args=argv, prog="sparsecode probe")
    return 0


def _probe(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="run folder", metavar="RUN")],
    others: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(help="more run folders", metavar="RUN")
    ] = (),
    /,
    labels_per_class: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100),
    seeds: int = 5,
    standardise: bool = False,
    coders: tuple[str, ...] = (),
    references: tuple[Reference, ...] = ("pixels", "pca", "lista"),
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Test accuracy of a linear classifier on the runs' codes, given a few labels per class.

    Subsets of labelled samples are balanced, nested for each seed, and the same for all features. The strength of the
    classifier is chosen on the validation split; the test split decides nothing.

    Args:
        labels_per_class: labelled training samples per class
        seeds: random subsets for each number of labels
        standardise: scale every feature by itself; else all by one number (both from unlabelled samples)
        coders: which of the models' coders; default all
        references: normalised pixels; their principal components; a LISTA classifier trained end to end (slow)
        out: folder for probe.json and probe.png
        force: write over existing files
    """
    try:
        how = Probe(labels_per_class=tuple(sorted(set(labels_per_class))), seeds=seeds, standardise=standardise)
    except ValueError as error:
        raise UsageError(str(error)) from None
    table_file, picture_file = (out / "probe.json", out / "probe.png") if out else (None, None)
    for path in (table_file, picture_file):
        refuse_to_overwrite("--out", path, force)
    paths = (run, *others)
    names = run_names(paths)
    models = {name: RunFolder(path).best_model() for name, path in zip(names, paths, strict=True)}
    _check_coders(models, coders)
    splits = _same_data(paths)
    task = Task.of(splits, how)
    console = Console()
    results: list[ProbeResult] = []
    report = ProbeReport({n: str(p) for n, p in zip(names, paths, strict=True)}, how, ())
    with Progress(console=console, transient=True) as bar:

        def track(name: str) -> Track:
            return lambda items, what: bar.track(items, description=f"{name}: {what}")

        def add(found: list[ProbeResult]) -> None:
            results.extend(found)
            shown = "  ".join(f"{r.labels_per_class}: {r.mean:.1%}" for r in found)
            bar.console.print(f"{found[0].features}  {shown}", highlight=False, soft_wrap=True)
            if table_file:  # after each kind of features: what is done is kept
                write_atomic(table_file, to_json(msgspec.structs.replace(report, results=tuple(results))))

        for name, transform in _transforms(models, coders, references, splits, task).items():
            found, unlabelled = features_of(transform, splits, task, track(name))
            add(summary(name, unlabelled.shape[1], linear_trials(found, unlabelled, task, how, track(name))))
        if "lista" in references:
            first = next(iter(models.values()))
            pixels, _ = features_of(first.normalise, splits, task, track("lista"))
            for n_code in _code_sizes(models):
                name = f"LISTA classifier, {n_code}"
                add(summary(name, n_code, lista_trials(pixels, n_code, task, track(name))))
    console.print(_table(results, how))
    if table_file and picture_file:
        figure = accuracy_curves(_curves(results), f"linear classifiers, {how.seeds} subsets, one deviation each way")
        save_atomic(picture_file, lambda file: figure.savefig(file, dpi=120))
        for what, path in (("scores", table_file), ("picture", picture_file)):
            console.print(f"{what:8} {path}", highlight=False, soft_wrap=True)


def _check_coders(models: dict[str, AbstractSparseModel], coders: tuple[str, ...]) -> None:
    known = {name for model in models.values() for name in model.coders()}
    if unknown := [name for name in coders if name not in known]:
        raise UsageError(f"--coders {' '.join(unknown)}: these runs have {', '.join(sorted(known))}")


def _same_data(paths: tuple[Path, ...]) -> Splits:
    first = RunFolder(paths[0]).config().data
    for path in paths[1:]:
        if changes := differences(first, RunFolder(path).config().data):
            raise ValueError(
                f"{path} has other data than {paths[0]}, so that their accuracies could not be compared: {'; '.join(changes)}"
            )
    splits = first.load()
    for path in paths:
        RunFolder(path).check_data(splits)
    return splits


def _code_sizes(models: dict[str, AbstractSparseModel]) -> list[int]:
    return sorted({int(msgspec.to_builtins(model.spec)["n_code"]) for model in models.values()})


def _transforms(
    models: dict[str, AbstractSparseModel],
    coders: tuple[str, ...],
    references: tuple[Reference, ...],
    splits: Splits,
    task: Task,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"{name}, {coder}": transform
        for name, model in models.items()
        for coder, transform in model.coders().items()
        if not coders or coder in coders
    }
    first = next(iter(models.values()))
    if "pixels" in references:
        found["pixels"] = first.normalise
    if "pca" in references:
        found |= {f"PCA, {n_code}": pca(first.normalise, splits, task, n_code) for n_code in _code_sizes(models)}
    return found


def _table(results: list[ProbeResult], how: Probe) -> Table:
    table = Table(
        box=box.SIMPLE,
        title="test accuracy in per cent, by labels per class",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("features", overflow="fold")
    for k in how.labels_per_class:
        table.add_column(str(k), justify="right", no_wrap=True)
    for name, (_, means, sds) in _curves(results).items():
        table.add_row(name, *(f"{100 * m:.1f}\n±{100 * s:.1f}" for m, s in zip(means, sds, strict=True)))
    scale = "every feature standardised" if how.standardise else "features scaled by one number"
    table.caption = f"mean and deviation over {how.seeds} subsets; {scale}"
    return table


def _curves(results: list[ProbeResult]) -> dict[str, tuple[list[int], list[float], list[float]]]:
    return {
        name: tuple(
            [getattr(r, what) for r in results if r.features == name] for what in ("labels_per_class", "mean", "sd")
        )
        for name in dict.fromkeys(r.features for r in results)
    }  # pyright: ignore[reportReturnType] - three lists
