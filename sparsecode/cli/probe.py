"""`sparsecode probe`: low-label classification with the codes of trained runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.progress import Progress
from rich.table import Table

from sparsecode.cli.arguments import UsageError, option_error, scoring
from sparsecode.cli.console import Console, described
from sparsecode.cli.paths import refuse_to_overwrite_all, run_labels, written_together
from sparsecode.cli.probe_sweep import FigurePlace, Swept, points_of, read_sweep, swept_figure, swept_table
from sparsecode.cli.tables import with_deviation
from sparsecode.data import Splits
from sparsecode.evaluate.probes.lista_probe import lista_trials
from sparsecode.evaluate.probes.mlp_probe import mlp_trials
from sparsecode.evaluate.probes.probe import (
    Classifier,
    Probe,
    ProbeReport,
    ProbeResult,
    ProbeTask,
    Track,
    linear_trials,
    pca,
    probe_features,
    representations,
    summary,
)
from sparsecode.files import printable, write_atomic
from sparsecode.models.base import AbstractSparseModel
from sparsecode.plots import accuracy_curves
from sparsecode.plots.saving import save_figure
from sparsecode.runs import RunFolder
from sparsecode.specs import differences, to_json

__all__ = ["probe_command"]

TRIALS = {"linear": linear_trials, "mlp": mlp_trials}


def probe_command(args: scoring.ProbeArguments) -> None:
    """Test accuracy of classifiers on the runs' codes, given a few labels per class."""
    (
        runs,
        labels_per_class,
        all_labels,
        seeds,
        standardise,
        classifiers,
        coders,
        references,
        sweep,
        over,
        out,
        force,
        moved,
    ) = args
    try:
        labels = tuple(sorted(set(labels_per_class)))
        settings = Probe(labels_per_class=labels, seeds=seeds, all_labels=all_labels, standardise=standardise)
    except ValueError as error:
        raise option_error(error) from None
    files = (out / "probe.json", out / "probe.png") if out else ()
    refuse_to_overwrite_all("--out", files, force)
    if (sweep is None) == (not runs):
        raise UsageError("expected run folders, or --sweep FOLDER")
    swept = None if sweep is None else read_sweep(sweep, over)
    paths = runs if swept is None else tuple(each.path for each in swept)
    if references is None:
        references = ("pixels", "pca", "lista") if swept is None else ("pixels", "pca")
    console = Console()
    names = run_labels(paths, console)
    models = {name: RunFolder(path).best_model() for name, path in zip(names, paths, strict=True)}
    _check_coders(models, coders)
    splits = _same_data(paths, moved)
    task = ProbeTask.of(splits, settings)
    results: list[ProbeResult] = []
    places = _places(names, models, swept, over)
    report = ProbeReport(
        {n: printable(str(p)) for n, p in zip(names, paths, strict=True)}, settings, (), over if swept else ""
    )
    with written_together(files), Progress(console=console, transient=True) as bar:

        def track(name: str) -> Track:
            return lambda items, what: bar.track(items, description=f"{described(name)}: {what}")

        def add(measured: list[ProbeResult]) -> None:
            results.extend(measured)
            shown = "  ".join(f"{r.labels_per_class}: {r.mean:.1%}" for r in measured)
            bar.console.print(f"{measured[0].features}  {shown}", highlight=False, soft_wrap=True)
            if files:  # after each kind of features: what is done is kept
                so_far = msgspec.structs.replace(report, results=tuple(results), points=points_of(results, places))
                write_atomic(files[0], to_json(so_far))

        for name, transform in _transforms(models, coders, references, splits, task).items():
            measured, unlabelled = probe_features(transform, splits, task, track(name))
            for classifier in classifiers:
                trials = TRIALS[classifier](measured, unlabelled, task, settings, track(name))
                add(summary(_named(name, classifier), unlabelled.shape[1], trials, classifier))
        if "lista" in references:
            first = next(iter(models.values()))
            pixels, _ = probe_features(first.normalise, splits, task, track("lista"))
            for n_code in _code_sizes(models):
                name = f"LISTA classifier, {n_code}"
                add(summary(name, n_code, lista_trials(pixels, n_code, task, track(name))))
        points = points_of(results, places)
        if files:
            what = _over(settings) + ("; bands: one standard deviation each way" if settings.seeds > 1 else "")
            figure = swept_figure(points, over) if swept else accuracy_curves(_curves(results), what)
            save_figure(files[1], figure)
    console.print(swept_table(points, over) if swept else _table(results, settings))
    for what, path in zip(("scores", "picture"), files, strict=False):
        console.print(f"{what:8} {path}", highlight=False, soft_wrap=True)


def _check_coders(models: dict[str, AbstractSparseModel], coders: tuple[str, ...]) -> None:
    known = {name for model in models.values() for name in representations(model)}
    if unknown := [name for name in coders if known.isdisjoint(_today(name, model) for model in models.values())]:
        raise UsageError(f"--coders {' '.join(unknown)}: these runs have {', '.join(sorted(known))}")


def _today(coder: str, model: AbstractSparseModel) -> str:
    """The name of features of this model, by what earlier versions called them, too."""
    return coder if coder in representations(model) else model.coder_today(coder)


def _same_data(paths: tuple[Path, ...], moved: Path | None) -> Splits:
    first = RunFolder(paths[0]).config().data
    for path in paths[1:]:
        if changes := differences(first, RunFolder(path).config().data):
            raise ValueError(
                f"{path} has other data than {paths[0]}, so that their accuracies could not be compared: {'; '.join(changes)}"
            )
    loaded: dict[bytes, Splits] = {}
    return next(iter([RunFolder(path).splits(moved, loaded) for path in paths]))


def _named(features: str, classifier: Classifier) -> str:
    return features if classifier == "linear" else f"{features}, {classifier}"


def _places(
    names: list[str], models: dict[str, AbstractSparseModel], swept: list[Swept] | None, over: str
) -> dict[str, FigurePlace]:
    """Where features stand in the picture of a sweep; none without one."""
    if swept is None:
        return {}
    results = {
        f"{name}, {coder}": FigurePlace(f"{each.line}, {coder}", (each.at,))
        for name, each in zip(names, swept, strict=True)
        for coder in representations(models[name])
    }
    results["pixels"] = FigurePlace("pixels", tuple(sorted({each.at for each in swept})))
    if over == "model.n_code":
        results |= {f"PCA, {n_code}": FigurePlace("PCA", (float(n_code),)) for n_code in _code_sizes(models)}
    classifiers: tuple[Classifier, ...] = ("linear", "mlp")
    return {_named(n, c): FigurePlace(_named(p.line, c), p.at) for n, p in results.items() for c in classifiers}


def _code_sizes(models: dict[str, AbstractSparseModel]) -> list[int]:
    return sorted({int(msgspec.to_builtins(model.spec)["n_code"]) for model in models.values()})


def _transforms(
    models: dict[str, AbstractSparseModel],
    coders: tuple[str, ...],
    references: tuple[scoring.Reference, ...],
    splits: Splits,
    task: ProbeTask,
) -> dict[str, Any]:
    results: dict[str, Any] = {
        f"{name}, {coder}": transform
        for name, model in models.items()
        for coder, transform in representations(model).items()
        if not coders or coder in {_today(name, model) for name in coders}
    }
    first = next(iter(models.values()))
    if "pixels" in references:
        results["pixels"] = first.normalise
    if "pca" in references:
        results |= {f"PCA, {n_code}": pca(first.normalise, splits, task, n_code) for n_code in _code_sizes(models)}
    return results


def _over(settings: Probe) -> str:
    return (
        "one subset of labels"
        if settings.seeds == 1
        else f"mean and standard deviation over {settings.seeds} subsets of labels"
    )


def _table(results: list[ProbeResult], settings: Probe) -> Table:
    table = Table(
        box=box.SIMPLE,
        title="test accuracy in per cent, by labels per class",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("features", overflow="fold")
    for k in dict.fromkeys(r.labels_per_class for r in sorted(results, key=lambda r: r.labels_per_class)):
        table.add_column(str(k), justify="right", no_wrap=True)
    for name in dict.fromkeys(r.features for r in results):
        rows = [r for r in results if r.features == name]
        table.add_row(name, *(with_deviation(100 * r.mean, 100 * r.sd, len(r.test), 1) for r in rows))
    scale = "every feature standardised" if settings.standardise else "features scaled by one number"
    table.caption = f"{_over(settings)}; {scale}"
    return table


def _curves(results: list[ProbeResult]) -> dict[str, tuple[list[int], list[float], list[float]]]:
    return {
        name: tuple(
            [getattr(r, what) for r in results if r.features == name] for what in ("labels_per_class", "mean", "sd")
        )
        for name in dict.fromkeys(r.features for r in results)
    }  # pyright: ignore[reportReturnType] - three lists
