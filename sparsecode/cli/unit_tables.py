"""Results of `sparsecode units` as rich tables: a column per run."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from sparsecode.cli.tables import captioned_table
from sparsecode.evaluate.units.activity import Activity
from sparsecode.evaluate.units.noise_terms import NoiseTerms
from sparsecode.evaluate.units.receptive_fields import GOOD, FieldsSummary

__all__ = ["activity_table", "fields_table", "terms_table"]

BEFORE = {
    "active_before": "active before inhibition",
    "dead_share_before": "dead before inhibition",
}
BOTH = {
    "active": "mean share active",
    "dead_share": "dead: active on no sample",
    "entropy": "entropy of activity counts",
    "population": "population sparsity",
    "lifetime": "lifetime sparsity",
    "hoyer": "Hoyer",
}
ONE = {
    "margin": "margin / noise std",
    "flips_noise": "sign flipped by the noise",
    "active_without_bias": "above 0 without the bias",
    "flips_bias_up": "made positive by the bias",
    "flips_bias_down": "made negative by the bias",
    "bias_mean": "mean bias",
    "bias_sd": "its standard deviation",
    "negative_bias": "negative biases",
    "norm_mean": "mean length of keys",
    "norm_cv": "its standard deviation / mean",
    "key_value_cosine": "cosine of key and value",
    "key_value_cosine_weighted": "  weighted by activity",
    "nearest_target_noisy": "own target nearest: noisy",
    "nearest_target_recon": "own target nearest: restored",
}
FIELDS = {
    "gabor": f"Gabor, quality > {GOOD:g}",
    "dog": f"diff. of Gaussians, > {GOOD:g}",
    "neither": "neither",
    "gabor_quality": "median quality: Gabor",
    "dog_quality": "median quality: diff. of G.",
    "frequency": "Gabors: cycles per pixel",
    "size": "size, pixels",
    "aspect": "aspect, along / across",
    "orientation": "one preferred orientation",
    "centre_surround": "diff. of G.: surround / centre",
    "opponency": "colour opponency",
    "chroma": "share of energy in colour",
}


def _table(title: str, runs: Mapping[str, object], *caption: str) -> Table:
    table = captioned_table(title, *caption)
    table.add_column("", no_wrap=True, min_width=29)
    for name in runs:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def activity_table(runs: Mapping[str, Activity]) -> Table:
    """Shares and means; pairs are noise on / noise off."""
    thetas = sorted({f"{result.theta:g}" for result in runs.values()})
    table = _table(
        "units, noise on / noise off",
        runs,
        f"active: |h| > {' or '.join(thetas)}; shares of units,",
        "of samples and units, or of samples (nearest)",
    )
    table.add_row("samples", *(str(result.n) for result in runs.values()))
    table.add_row("units", *(str(result.n_code) for result in runs.values()))
    table.add_row("sigma of the noise", *(f"{result.sigma:.4g}" for result in runs.values()))
    inhibited = any(result.active_before_clean is not None for result in runs.values())
    for field, words in ((BEFORE if inhibited else {}) | BOTH).items():
        pairs = [(getattr(result, f"{field}_noisy"), getattr(result, f"{field}_clean")) for result in runs.values()]
        table.add_row(words, *(f"{_number(on)} / {_number(off)}" for on, off in pairs))
    for field, words in ONE.items():
        table.add_row(words, *(_number(getattr(result, field)) for result in runs.values()))
    return table


def terms_table(runs: Mapping[str, NoiseTerms]) -> Table | None:
    """Closed forms, per feature, with their share of the whole; None if no run has them."""
    if not runs:
        return None
    table = _table(
        "error on noisy input, closed form, per feature",
        runs,
        "residual: without noise; mean shift: of what",
        "noise adds; variance: every active unit costs;",
        "covariance: so do units that overlap",
    )
    table.add_row("samples", *(str(result.n) for result in runs.values()))
    for field in ("residual", "mean_shift", "variance", "covariance", "total"):
        values = [
            (getattr(result, field) / result.n_features, getattr(result, field) / result.total)
            for result in runs.values()
        ]
        table.add_row(field.replace("_", " "), *(f"{value:.5f} ({share:4.0%})" for value, share in values))
    return table


def fields_table(runs: Mapping[str, FieldsSummary], nearest: Mapping[str, float]) -> Table | None:
    """Shares of units by what their keys look like, and medians; None if no run is of pictures."""
    if not runs:
        return None
    table = _table(
        "keys of the most active units",
        runs,
        "the better fit (BIC) counts; quality:",
        "1 - residual / variance; medians from",
        "cycles on: of units well fitted",
    )
    table.add_row("units", *(str(result.n) for result in runs.values()))
    for field, words in FIELDS.items():
        values = [getattr(result, field) for result in runs.values()]
        if any(value is not None for value in values):
            table.add_row(words, *(_number(value) for value in values))
    table.add_row("largest cosine to an image", *(_number(nearest[name]) for name in runs))
    return table
