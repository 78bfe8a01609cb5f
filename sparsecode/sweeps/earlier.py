"""Paths of overrides in results of earlier versions, translated to current paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from sparsecode.runs import RunFolder

__all__ = ["current"]

SELECT = "train.select"
WEIGHTED = ("weight", "norm_weighted", "target_l0", "calibrate")


def current(overrides: dict[str, Any], run: Path) -> dict[str, Any]:
    """The overrides of a finished run with the paths of today; as they are where the run is gone.

    What format 1 had as fields of an autoencoder beside one penalty are fields of terms: `model.weight` is
    `model.terms.sparsity.weight`, or `model.terms.kl.weight`. `train.select` names a coder.
    """
    fields = {path.split(".")[1] for path in overrides if path.startswith("model.")}
    if SELECT not in overrides and not fields & {*WEIGHTED, "penalty", "revival", "matryoshka"}:
        return overrides
    try:
        config = RunFolder(run).config()
    except (OSError, ValueError):
        return overrides
    if SELECT in overrides:
        overrides = {**overrides, SELECT: config.train.select}
    model = msgspec.to_builtins(config.model)
    if "terms" not in model:
        return overrides
    kinds = {term["type"] for term in model["terms"]}
    places = {field: f"{'kl' if 'kl' in kinds else 'sparsity'}.{field}" for field in WEIGHTED}
    places |= {"penalty": "kl" if "kl" in kinds else "sparsity.penalty", "matryoshka": "matryoshka"}
    places |= {"revival": "resample" if "resample" in kinds else "auxk"}
    return {_moved(path, places): value for path, value in overrides.items()}


def _moved(path: str, places: dict[str, str]) -> str:
    head, *rest = path.split(".")
    if head != "model" or not rest or rest[0] not in places:
        return path
    return ".".join(["model.terms", places[rest[0]], *rest[1:]])
