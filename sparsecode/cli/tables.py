"""Results as rich tables."""

from __future__ import annotations

from rich import box
from rich.table import Table

from sparsecode.runs import Evaluation, Summary

__all__ = ["denoising_table", "runs_table", "scores_table"]


def scores_table(evaluation: Evaluation, title: str = "") -> Table:
    """A row per coder."""
    any_score = next(iter(evaluation.scores.values()))
    table = Table(title=f"{title} {evaluation.split} split, {any_score.n} samples".strip(), title_justify="left")
    for column in ("codes by", "PSNR", "EV", "objective", "gap", "L0", "active", "dead", "on"):
        table.add_column(column, justify="left" if column == "codes by" else "right", no_wrap=True)
    for name, s in evaluation.scores.items():
        table.add_row(
            name,
            f"{s.psnr:.2f}",
            "-" if s.explained_variance is None else f"{s.explained_variance:.4f}",
            f"{s.objective:.4g}",
            "-" if s.gap_max is None else f"{s.gap_max:.1e}",
            f"{s.l0:.2f}",
            f"{s.active_fraction:.1%}",
            str(s.dead),
            str(s.always_on),
        )
    table.caption = (
        f"PSNR in dB for a data range of {any_score.data_range:.3g}; EV: explained variance; gap: the largest,\n"
        f"relative; active: |z| > {any_score.theta:g}; dead, on: of {any_score.n_code} codes, active on no, on every sample"
    )
    table.caption_justify = "left"
    return table


def denoising_table(evaluation: Evaluation) -> Table:
    """A row per noise level: PSNR of the noisy input, and what each coder gains."""
    rows = list(evaluation.denoising.values())
    unit = rows[0][0].unit if rows and rows[0] else "input"
    words = {"input": "of the model's normalised input", "range": "as a fraction of the data range"}[unit]
    table = Table(title=f"denoising: PSNR in dB (gain); sigma {words}", title_justify="left")
    for column in ("sigma", "noisy input", *(f"by {name}" for name in evaluation.denoising)):
        table.add_column(column, justify="right")
    for levels in zip(*rows, strict=True):
        cells = [f"{level.psnr:.2f} ({level.margin:+.2f})" for level in levels]
        table.add_row(f"{levels[0].sigma:.3g}", f"{levels[0].noisy_psnr:.2f}", *cells)
    return table


def runs_table(summaries: list[Summary]) -> Table:
    """A row per run, scored by its first coder."""
    table = Table(box=box.SIMPLE)
    for column in ("run", "data", "steps", "by", "PSNR", "objective", "L0"):
        justify = "left" if column in ("run", "data", "by") else "right"
        table.add_column(column, justify=justify, no_wrap=True)
    for s in summaries:
        if s.problem:
            table.add_row(s.name, "unreadable")
            continue
        steps = f"{s.step} of {s.total_steps}" if s.total_steps else "not begun"
        scored = ["", "", "", ""]
        if s.evaluation:
            coder, first = next(iter(s.evaluation.scores.items()))
            scored = [coder, f"{first.psnr:.2f}", f"{first.objective:.4g}", f"{first.l0:.1f}"]
        table.add_row(s.name, s.data, steps, *scored)
    return table
