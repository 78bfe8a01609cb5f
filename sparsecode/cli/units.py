"""`sparsecode units`: activity and receptive fields of units of noise-trained networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsecode.cli.arguments import UsageError, scoring
from sparsecode.cli.console import Console, described
from sparsecode.cli.paths import refuse_file, refuse_to_overwrite, run_labels, run_names
from sparsecode.cli.unit_pictures import density, pictured
from sparsecode.cli.unit_tables import activity_table, fields_table, terms_table
from sparsecode.data import Splits
from sparsecode.data.splits import Split
from sparsecode.data.synthetic import Part
from sparsecode.evaluate.units.activity import Activity, NoiseSource, activity, noise_source
from sparsecode.evaluate.units.receptive_fields import FieldsSummary
from sparsecode.files import write_atomic
from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.capabilities import one_layer
from sparsecode.plots import ablation_lines, active_over_epochs, pre_activation_densities
from sparsecode.plots.saving import save_figure
from sparsecode.runs import Run, RunFolder
from sparsecode.specs import Spec, to_json
from sparsecode.train.plan import clock

__all__ = ["Units", "UnitsReport", "units_command"]

STEPS = (0.25, 0.5, 1.0, 2.0, 4.0)  # noise levels in a picture, times that of training
FIXED = (0.1, 0.3, 0.8, 1.5, 3.0)  # and where that is 0
WORDS = 30  # columns of a table before the runs


class Units(Spec, tag="units"):
    """Measurements of one run: activity, a summary of the receptive fields of the most active units, and the mean of their largest cosines
    to a training image. The last two are None where samples are no pictures.
    """

    run: str
    split: Part
    activity: Activity
    fields: FieldsSummary | None = None
    nearest_cosine: float | None = None


class UnitsReport(Spec, tag="units_report"):
    """What `--json` writes: folders of the runs by name, and the measurements of each."""

    runs: dict[str, str]
    units: tuple[Units, ...]


class _Opened(NamedTuple):
    """A run, the samples it is measured on, and the noise."""

    folder: RunFolder
    config: Run
    model: AmortisedModel
    splits: Splits
    samples: Split
    noise: NoiseSource
    theta: float
    seed: int


def units_command(args: scoring.UnitsArguments) -> None:
    """Activity of units with noise on and off, the error that noise adds, and receptive fields of noise-trained networks."""
    run, others, split, sigma, theta, samples, seed, units, query, sigmas, json, out, force, moved = args
    for option, value, least in (("samples", samples, 1), ("units", units, 1), ("query", query, 0)):
        if value < least:
            raise UsageError(f"--{option} {value}: expected at least {least}")
    for option, level in [("sigma", sigma), ("theta", theta), *(("sigmas", level) for level in sigmas or ())]:
        if level is not None and not 0 <= level < float("inf"):
            raise UsageError(f"--{option} {level:g}: expected a finite number, at least 0")
    refuse_to_overwrite("--json", json, force)
    refuse_file("--out", out)
    paths, console = (run, *others), Console()
    opened: dict[str, _Opened] = {}
    loaded: dict[bytes, Splits] = {}
    for name, path in zip(run_labels(paths, console), paths, strict=True):
        opened[name] = _open(path, split, sigma, theta, samples, seed, loaded, moved)
        if query >= opened[name].samples.n:
            raise UsageError(f"--query {query}: expected below {opened[name].samples.n}, the number of samples")
    reports: dict[str, Units] = {}
    pictures: list[Path] = []
    for (name, one), place in zip(opened.items(), run_names(paths), strict=True):
        with console.status(f"{described(name)}: coding, fitting and drawing"):
            result = activity(one.model, one.samples, one.noise.sigma, one.seed, one.theta)
            assert result is not None
            strongest = _strongest(one)
            levels = sigmas or tuple(strongest * step for step in STEPS if strongest) or FIXED
            seen = pictured(
                name,
                one.model,
                one.splits,
                one.samples,
                one.noise,
                levels,
                units=units,
                query=query,
                theta=one.theta,
                seed=one.seed,
            )
            if isinstance(seen, str):
                reports[name] = Units(name, split, result)
                console.print(f"note: {name}: {seen}", highlight=False, markup=False, soft_wrap=True)
                continue
            reports[name] = Units(name, split, result, seen.fields, seen.cosine)
            target = one.folder.figures if out is None else out / place if others else out
            pictures += _save(seen.figures, target)
    _print(reports, console)
    pictures += _save(_comparisons(opened, reports), RunFolder(run).figures if out is None else out)
    if json is not None:
        write_atomic(
            json, to_json(UnitsReport({n: str(o.folder.path) for n, o in opened.items()}, tuple(reports.values())))
        )
        console.print(f"report   {json}", highlight=False, soft_wrap=True)
    for path in pictures:
        console.print(f"picture  {path}", highlight=False, soft_wrap=True)


def _open(
    path: Path,
    part: Part,
    sigma: float | None,
    theta: float | None,
    most: int,
    seed: int | None,
    loaded: dict[bytes, Splits],
    moved: Path | None,
) -> _Opened:
    folder = RunFolder(path)
    config, model = folder.config(), folder.best_model()
    layer = one_layer(model)
    if layer is None or noise_source(model, 0.0) is None:
        raise ValueError(
            f"{path}: its code is not an activation of one affine map of the input, so that it has no keys to look at"
        )
    noise = noise_source(model, sigma)
    if noise is None:
        raise ValueError(f"{path}: trained without noise; set --sigma to the noise to measure with (0 for none)")
    splits = folder.splits(moved, loaded)
    weights, whole = next(model.parameters()), getattr(splits, part)
    samples = whole.take(slice(most)).to(weights.device, weights.dtype)
    level = config.evaluate.theta if theta is None else theta
    return _Opened(folder, config, layer.model, splits, samples, noise, level, config.seed if seed is None else seed)


def _strongest(one: _Opened) -> float:
    """The noise of training, where it was annealed the most there was."""
    source = one.model.corruption
    return one.noise.sigma if source is None or source.noise is None else source.strongest


def _print(reports: Mapping[str, Units], console: Console) -> None:
    if len(reports) > 1 and sum(len(name) + 1 for name in reports) > console.width - WORDS:  # numbers for heads
        for number, name in enumerate(reports, start=1):
            console.print(f"{number:3}  {name}", highlight=False, markup=False, soft_wrap=True)
        reports = {str(number): report for number, report in enumerate(reports.values(), start=1)}
    console.print(activity_table({name: report.activity for name, report in reports.items()}))
    terms = {name: report.activity.terms for name, report in reports.items()}
    if (table := terms_table({name: result for name, result in terms.items() if result is not None})) is not None:
        console.print(table)
    fields = {name: report.fields for name, report in reports.items() if report.fields is not None}
    nearest = {name: report.nearest_cosine for name, report in reports.items() if report.nearest_cosine is not None}
    if (table := fields_table(fields, nearest)) is not None:
        console.print(table)


def _comparisons(opened: Mapping[str, _Opened], reports: Mapping[str, Units]) -> dict[str, Figure]:
    lines: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    for name, one in opened.items():
        lines[name if len(opened) > 1 else "noise off"] = density(one.model, one.samples, None, one.seed)
        if len(opened) == 1 and one.noise.sigma:
            lines[f"noise on, sigma {one.noise.sigma:.3g}"] = density(one.model, one.samples, one.noise, one.seed)
    figures = {
        "pre_activations": pre_activation_densities(
            lines,
            "pre-activations of all units, noise off"
            if len(opened) > 1
            else f"{next(iter(opened))}: pre-activations of all units",
        )
    }
    courses = {name: course for name, one in opened.items() if (course := _course(one))[0]}
    if courses:
        ends = {name: reports[name].activity.active_clean for name in courses}
        figures["dynamics"] = active_over_epochs(
            courses, "units active in training; ring: held-out samples, noise off", ends
        )
    levels = sorted({one.noise.sigma for one in opened.values()})
    if len(levels) > 1:
        results = [report.activity for report in reports.values()]
        shares = {
            words: [[getattr(a, field) for a in results if a.sigma == level] for level in levels]
            for words, field in (("noise on", "active_noisy"), ("noise off", "active_clean"))
        }
        figures["ablation"] = ablation_lines(levels, shares, title="active units by noise")
    return figures


def _course(one: _Opened) -> tuple[list[float], list[float]]:
    """Epochs and the share of units active in training batches, noise on."""
    per_epoch = clock(one.config.train, one.splits.training.n, 1).steps_per_epoch
    records = [record for record in one.folder.metrics() if record["kind"] == "train" and record.get("l0") is not None]
    return [r["step"] / per_epoch for r in records], [r["l0"] / one.model.spec.n_code for r in records]


def _save(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    paths = [folder / f"units_{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        save_figure(path, figure)
    return paths
