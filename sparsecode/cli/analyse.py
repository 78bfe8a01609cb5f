"""`sparsecode analyse`: runs compared with references, with the true dictionary and with each other."""

from __future__ import annotations

import itertools
from pathlib import Path

from matplotlib.figure import Figure

from sparsecode.cli.analysis_tables import (
    cosines_table,
    density_table,
    gaps_table,
    recovery_table,
    references_table,
    stability_table,
)
from sparsecode.cli.arguments import UsageError, scoring
from sparsecode.cli.console import Console, described
from sparsecode.cli.paths import refuse_file, refuse_to_overwrite, run_labels, run_names
from sparsecode.cli.tables import rich_table
from sparsecode.data import Splits
from sparsecode.data.synthetic import Part
from sparsecode.evaluate.analysis import Analysed, Analysis, analyse
from sparsecode.evaluate.dictionary.stability import Stability, stability
from sparsecode.evaluate.reconstruction.score import scores_table
from sparsecode.files import printable, write_atomic
from sparsecode.plots import equal_l0, firing_density, matched_cosines
from sparsecode.plots.saving import save_figure
from sparsecode.runs import Run, RunFolder
from sparsecode.specs import Spec, to_json

__all__ = ["AnalysisReport", "analyse_command"]

GAP_BARS = {
    "coder_error": "the coder",
    "refitted": "its support, best amplitudes",
    "lasso": "L1 optimum",
    "lasso_refitted": "L1 support, best amplitudes",
    "pursuit": "OMP",
}


class AnalysisReport(Spec, tag="analysis_report"):
    """What `--json` writes: folders of the runs by name, an analysis of each, a comparison of each pair."""

    runs: dict[str, str]
    analyses: tuple[Analysis, ...]
    stability: tuple[Stability, ...]


def analyse_command(args: scoring.AnalyseArguments) -> None:
    """Scores and use of the codes of each run, references at equal L0, and the similarity of several runs."""
    run, others, split, theta, samples, seed, json, out, force, moved = args
    if samples < 1:
        raise UsageError(f"--samples {samples}: expected at least 1")
    if theta is not None and theta < 0:
        raise UsageError(f"--theta {theta:g}: expected at least 0")
    refuse_to_overwrite("--json", json, force)
    refuse_file("--out", out)
    paths, console = (run, *others), Console()
    names = run_labels(paths, console)
    configs = [RunFolder(path).config() for path in paths]
    loaded: dict[bytes, Splits] = {}
    results: dict[str, Analysed] = {}
    figures: list[Path] = []
    for name, place, path, config in zip(names, run_names(paths), paths, configs, strict=True):
        splits = RunFolder(path).splits(moved, loaded)
        done = _one(name, path, config, splits, split, theta, samples, seed, console)
        results[name] = done
        target = RunFolder(path).figures if out is None else out / place if others else out
        figures += _draw(done, target)
    reports = [done.report for done in results.values()]
    for table_of in (density_table, cosines_table, references_table, gaps_table, recovery_table):
        if (table := table_of(reports)) is not None:
            console.print(table)
    pairs: dict[str, tuple[Stability, list[float]]] = {}
    try:
        pairs = _compared(results, console)
    except ValueError as problem:
        console.print(f"note: {problem}", highlight=False, markup=False, soft_wrap=True)
    if pairs:
        target = RunFolder(run).figures if out is None else out
        curves = {label: cosine for label, (_, cosine) in pairs.items()}
        figures.append(_save(matched_cosines(curves, "atoms of different runs, matched"), target / "matched.png"))
    if json is not None:
        report = AnalysisReport(
            {n: printable(str(p)) for n, p in zip(names, paths, strict=True)},
            tuple(reports),
            tuple(report for report, _ in pairs.values()),
        )
        write_atomic(json, to_json(report))
        console.print(f"report   {json}", highlight=False, soft_wrap=True)
    for path in figures:
        console.print(f"picture  {path}", highlight=False, soft_wrap=True)


def _one(
    name: str,
    path: Path,
    config: Run,
    splits: Splits,
    part: Part,
    theta: float | None,
    samples: int,
    seed: int,
    console: Console,
) -> Analysed:
    folder = RunFolder(path)
    model = folder.best_model()
    level = config.evaluate.theta if theta is None else theta
    with console.status(f"{described(name)}: coding and solving"):
        done = analyse(model, splits, part, name=name, theta=level, samples=samples, seed=seed, source=config.data)
    report = done.report
    table = scores_table(report.scores)
    console.print(rich_table(table, f"{name}: {part} split, {table.title}"))
    for note in report.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    return done


def _compared(analysed: dict[str, Analysed], console: Console) -> dict[str, tuple[Stability, list[float]]]:
    """Each pair of runs by a label, with the cosines of their matched atoms; nothing of a single run."""
    if len(analysed) < 2:
        return {}
    signed = any(done.signed for done in analysed.values())
    dictionaries = {name: done.dictionary.atoms for name, done in analysed.items() if done.dictionary is not None}
    if without := [name for name in analysed if name not in dictionaries]:
        raise ValueError(
            f"{without[0]}: its decoder is not linear, so that it has no atoms to compare with those of other runs"
        )
    widths = {name: atoms.shape[1] for name, atoms in dictionaries.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(
            "runs on samples of different sizes have no atoms to compare: "
            + ", ".join(f"{name} has {width} features" for name, width in widths.items())
        )
    compared: dict[str, tuple[Stability, list[float]]] = {}
    for first, second in itertools.combinations(dictionaries, 2):
        report, pairs = stability(dictionaries[first], dictionaries[second], (first, second), signed)
        compared[f"{first}, {second}"] = report, pairs.cosine.tolist()
    console.print(stability_table([report for report, _ in compared.values()]))
    return compared


def _draw(done: Analysed, target: Path) -> list[Path]:
    report = done.report
    n = next(iter(report.scores.values())).n
    nearest = None if done.nearest is None else done.nearest.tolist()
    title = f"{report.run}, {report.split} split"
    figures = {"density": firing_density(report.density, n, nearest, title=title)}
    panels: dict[str, dict[str, float]] = {}
    for coder, points in report.references.items():
        if coder in report.gaps:
            gap = report.gaps[coder]
            bars = {words: getattr(gap, field) for field, words in GAP_BARS.items()}
            panels[f"{coder}, L0 {gap.l0:.1f}: its own dictionary (model space)"] = bars
        known = {name: p.normalised_mse for name, p in points.items() if p.normalised_mse is not None}
        if known:
            panels[f"{coder}: references (data space)"] = known
    if panels:
        figures["equal_l0"] = equal_l0(panels, f"{title}: errors at equal L0")
    if done.matched is not None:
        figures["recovered"] = matched_cosines(
            {"true atoms": done.matched.tolist()}, f"{title}: true atoms and learned ones"
        )
    return [_save(figure, target / f"{name}.png") for name, figure in figures.items()]


def _save(figure: Figure, path: Path) -> Path:
    save_figure(path, figure)
    return path
