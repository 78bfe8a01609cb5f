"""Results as rich tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from sparsecode.evaluate.metrics import DENSE
from sparsecode.evaluate.restore import Restored
from sparsecode.runs import Evaluation, Summary

__all__ = ["denoising_table", "objectives", "restored_table", "runs_table", "scores_table", "with_deviation"]


OWN = (
    "PSNR in dB, by the range of each run's own data; objectives of models with\n"
    "the same terms and weights on the same data alone can be compared"
)


def with_deviation(mean: float, deviation: float, n: int, digits: int) -> str:
    """A mean above its sample standard deviation, which a single value does not have."""
    return f"{mean:.{digits}f}" + (f"\n±{deviation:.{digits}f}" if n > 1 else "")


SILENT = 0.01  # a larger share of samples without an active code is worth a line


def scores_table(evaluation: Evaluation, title: str = "") -> Table:
    """A row per coder."""
    any_score = next(iter(evaluation.scores.values()))
    table = Table(title=f"{title} {evaluation.split} split, {any_score.n} samples".strip(), title_justify="left")
    classifies = any_score.accuracy is not None
    quality = ("accuracy", "cross-entropy") if classifies else ("PSNR", "EV", "objective", "gap")
    for column in ("codes by", *quality, "L0", "dead", "dense", "on"):
        table.add_column(column, justify="left" if column == "codes by" else "right", no_wrap=True)
    for name, s in evaluation.scores.items():
        reconstruction = (
            "-" if s.psnr is None else f"{s.psnr:.2f}",
            "-" if s.explained_variance is None else f"{s.explained_variance:.4f}",
            f"{s.objective:.4g}",
            "-" if s.gap_max is None else f"{s.gap_max:.1e}",
        )
        table.add_row(
            name,
            *((f"{s.accuracy:.2%}", f"{s.objective:.4g}") if classifies else reconstruction),
            f"{s.l0:.2f}",
            str(s.dead),
            "-" if s.dense is None else str(s.dense),
            str(s.always_on),
        )
    what = (
        "cross-entropy in nats; "
        if classifies
        else f"PSNR in dB for a data range of {any_score.data_range:.3g}; EV: explained variance;\ngap: the largest, relative; "
    )
    table.caption = (
        f"{what}L0: mean count of |z| > {any_score.theta:g}; of {any_score.n_code} codes,\n"
        f"dead: active on no sample, dense: on more than {DENSE:.0%}, on: on every one"
    )
    silent = {name: s.silent for name, s in evaluation.scores.items() if s.silent and s.silent >= SILENT}
    if any_score.objective_of and not classifies:
        table.caption += f"\nobjective: {any_score.objective_of}, mean over samples"
    if silent:
        shares = ", ".join(f"{share:.0%} by {name}" for name, share in silent.items())
        table.caption += f"\nsamples without an active code: {shares}"
    table.caption_justify = "left"
    return table


def objectives(definitions: Sequence[str]) -> tuple[dict[str, str], str]:
    """Of runs side by side: a mark for each definition of the objective, if there are several, and the table's caption."""
    different = list(dict.fromkeys(definitions))
    marks = {words: "" if len(different) < 2 else f" {chr(ord('a') + i)}" for i, words in enumerate(different)}
    return marks, "\n".join([OWN, *(f"objective{mark}: {words}" for words, mark in marks.items())])


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
    if factor := next((level.noise_weight for row in rows for level in row), 0.0):
        table.caption = f"solver: penalty weight {factor:g} x noise (in model space);\nencoder: as trained"
        table.caption_justify = "left"
    return table


def restored_table(restored: Restored) -> Table:
    """Errors before and after, and on what the corruption covered."""
    table = Table(title=f"restoring {restored.n} samples corrupted as in training", title_justify="left")
    for column in ("", "PSNR", "mean squared error", "where covered", "elsewhere"):
        table.add_column(column, justify="right" if column else "left")

    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.5f}"

    table.add_row("corrupted", f"{restored.corrupted_psnr:.2f}", cell(restored.corrupted_mse), "", "")
    table.add_row(
        "restored",
        f"{restored.psnr:.2f}",
        cell(restored.mse),
        cell(restored.hidden_mse),
        cell(restored.visible_mse),
    )
    return table


def runs_table(summaries: list[Summary]) -> Table:
    """A row per run, scored by its first coder."""
    marks, caption = objectives([s.objective for s in summaries if s.evaluation])
    table = Table(box=box.SIMPLE, caption=caption, caption_justify="left")
    for column in ("run", "data", "steps", "by", "PSNR", "objective", "L0"):
        justify = "left" if column in ("run", "data", "by") else "right"
        table.add_column(column, justify=justify, no_wrap=column != "run", overflow="fold")  # long names leave room
    for s in summaries:
        if s.problem:
            table.add_row(s.name, "unreadable")
            continue
        scored = ["", "", "", ""]
        if s.evaluation:
            coder, first = next(iter(s.evaluation.scores.items()))
            scored = [
                coder,
                "-" if first.psnr is None else f"{first.psnr:.2f}",
                f"{first.objective:.4g}{marks[s.objective]}",
                f"{first.l0:.1f}",
            ]
        table.add_row(s.name, s.data, s.stands, *scored)
    return table
