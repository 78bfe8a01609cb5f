"""Results of `sparsecode analyse` as rich tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from sparsecode.cli.tables import captioned_table
from sparsecode.evaluate.analysis import OWN, Analysis
from sparsecode.evaluate.dictionary.dictionary_recovery import Recovery
from sparsecode.evaluate.dictionary.geometry import QUANTILES
from sparsecode.evaluate.dictionary.stability import Stability
from sparsecode.evaluate.reconstruction.amortisation import AmortisationGap

__all__ = [
    "cosines_table",
    "density_table",
    "gaps_table",
    "recovery_table",
    "references_table",
    "stability_table",
]

SHARES = (0.05, 0.5, 0.95)


def _table(title: str, first: str, columns: Sequence[str], *caption: str) -> Table:
    table = captioned_table(title, *caption)
    table.add_column(first, overflow="fold", min_width=12)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _samples(counts: Iterable[int]) -> str:
    """The number of samples; for runs that differ, its range."""
    results = sorted(set(counts))
    return f"{results[0]} samples" if len(results) == 1 else f"{results[0]} to {results[-1]} samples"


def _rows(analyses: Sequence[Analysis], field: str) -> Iterator[tuple[str, Analysis, str, Any]]:
    """Label, analysis, coder and value for each coder of each run that has one."""
    for report in analyses:
        for coder, value in getattr(report, field).items():
            yield (coder if len(analyses) == 1 else f"{report.run}, {coder}"), report, coder, value


def density_table(analyses: Sequence[Analysis]) -> Table:
    """A row per coder: errors, and how its codes are spread over samples and codes."""
    quantiles = [f"{share:.0%}" for share in SHARES]
    table = _table(
        "errors in data space, and how unevenly codes fire",
        "codes by",
        ("MSE", "NMSE", "Hoyer", "popul.", "lifet.", *quantiles),
        "NMSE: 1 - explained variance; Hoyer; Treves-Rolls per sample (population)",
        f"and per code (lifetime); {', '.join(quantiles)} of live codes: log10 firing rate",
    )
    for label, report, coder, score in _rows(analyses, "scores"):
        rates = np.array(report.density[coder])
        live = np.log10(rates[rates > 0])
        levels = [_number(float(q), 2) for q in np.quantile(live, SHARES)] if len(live) else ["-"] * len(SHARES)
        uneven = (score.hoyer, score.population_sparsity, score.lifetime_sparsity)
        mse = "-" if score.mse is None else f"{score.mse:.3g}"
        table.add_row(label, mse, _number(score.normalised_mse), *(_number(v, 3) for v in uneven), *levels)
    return table


def cosines_table(analyses: Sequence[Analysis]) -> Table | None:
    """A row per run: cosines between atoms; None if no run has atoms."""
    results = [(report.run, report.cosines) for report in analyses if report.cosines is not None]
    if not results:
        return None
    table = _table(
        "largest |cosine| of each atom to another one",
        "run",
        ("atoms", "mean", *(f"{share:.0%}" for share in QUANTILES), "largest", ">0.9", "pairs"),
        "%: quantiles over atoms; >0.9: atoms above 0.9; pairs: share of pairs above 0.9"
        + "".join(f"\n{run}: {c.empty} atoms have norm 0" for run, c in results if c.empty),
    )
    for run, c in results:
        values = (c.mean, *c.quantiles, c.largest)
        table.add_row(run, str(c.n_atoms), *(_number(v, 2) for v in values), str(c.duplicates), f"{c.pairs:.2%}")
    return table


def _header(reference: str) -> str:
    return reference.replace("random ", "").replace("data rows", "rows").replace(", ", "\n").replace("the coder ", "")


def references_table(analyses: Sequence[Analysis]) -> Table | None:
    """A row per coder: explained variance of it and of each reference at its L0; None if there are no references."""
    rows = list(_rows(analyses, "references"))
    if not rows:
        return None
    first = rows[0][3]
    table = _table(
        f"explained variance at equal L0, data space, {_samples(row[1].samples for row in rows)}",
        "codes by",
        ("L0", *(_header(name) for name in first)),
        "PCA, random directions and random training samples (data rows) as atoms,",
        "codes of either sign; top-k: the strongest, best amplitudes",
    )
    for label, _, _, points in rows:
        values = (_number(p.explained_variance) for p in points.values())
        table.add_row(label, f"{points[OWN].l0:.2f}", *values)
    return table


def gaps_table(analyses: Sequence[Analysis]) -> Table | None:
    """A row per coder: its error beside those of better codes with the same dictionary; None without a dictionary."""
    rows = list(_rows(analyses, "gaps"))
    if not rows:
        return None
    gaps: list[AmortisationGap] = [row[3] for row in rows]
    table = _table(
        f"amortisation gap: NMSE in model space, {_samples(gap.n for gap in gaps)}",
        "codes by",
        ("coder", "L1", "L1+", "OMP", "gap", "ampl.", "supp."),
        "own dictionary; L1+: best amplitudes on the support of L1; gap: coder",
        "less the best = what its amplitudes cost (ampl.) + what its choice of",
        "codes costs (supp.)",
        *(["all codes >= 0"] if all(gap.positive for gap in gaps) else []),
        *(
            f"{row[0]}: L1 reaches L0 {gap.lasso_l0:.2f} of {gap.l0:.2f}"
            for row, gap in zip(rows, gaps, strict=True)
            if abs(gap.lasso_l0 - gap.l0) > 0.02 * gap.l0
        ),
    )
    for (label, *_), gap in zip(rows, gaps, strict=True):
        errors = (gap.coder_error, gap.lasso, gap.lasso_refitted, gap.pursuit)
        parts = (gap.gap, gap.amplitude_gap, gap.support_gap)
        table.add_row(label, *(_number(v) for v in (*errors, *parts)))
    return table


def recovery_table(analyses: Sequence[Analysis]) -> Table | None:
    """A row per coder: recovery of the true dictionary and codes; None where they are not known."""
    rows = list(_rows(analyses, "recovery"))
    if not rows:
        return None
    some: Recovery = rows[0][3]
    table = _table(
        f"recovery of {some.n_true} true atoms",
        "codes by",
        ("atoms", "MCC", "found", "precision", "recall", "F1"),
        f"MCC: mean cosine of matched atoms; found: share above 0.9; codes active above {some.theta:g},",
        f"{some.n} samples, means over true atoms",
    )
    for label, _, _, result in rows:
        values = (result.mcc, result.found, result.precision, result.recall, result.f1)
        table.add_row(label, str(result.n_learned), *(_number(v, 3) for v in values))
    return table


def stability_table(pairs: Sequence[Stability]) -> Table:
    """A row per pair of runs: the similarity of their dictionaries."""
    table = _table(
        "stability: atoms of two runs matched one to one",
        "runs",
        ("MCC", ">0.7", ">0.9", "dim", "angle", "largest"),
        "in data space; MCC: mean cosine of the pairs;",
        ">0.7, >0.9: shares of them; angles in degrees",
        "between the leading subspaces; dim: their dimension",
    )
    for pair in pairs:
        shares = (pair.mcc, pair.close, pair.same)
        angles = (f"{pair.mean_angle:.1f}", f"{pair.largest_angle:.1f}")
        table.add_row(f"{pair.first}, {pair.second}", *(_number(v, 3) for v in shares), str(pair.dimensions), *angles)
    return table
