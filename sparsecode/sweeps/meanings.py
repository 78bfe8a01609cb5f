"""Comparability of the numbers in results: numbers that cannot be compared do not share an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sparsecode.runs import Run
from sparsecode.specs import plain
from sparsecode.sweeps.curves import named, resolved
from sparsecode.sweeps.results import SweepResult

__all__ = ["by_meaning", "meaning_of"]

LIKELIHOODS = ("elbo", "recon")  # logarithms of probabilities or densities of samples, or bounds on them
OBJECTIVE = (
    "penalty",
    "weight",
    "task",
    "variance",
    "target_l0",
    "likelihood",
    "slab_weight",
    "spike_weight",
    "normaliser",
)


def meaning_of(config: Run, result: SweepResult, place: str) -> str:
    """What the value of a quantity depends on besides the quality of the model, in words; empty where values are comparable as they are.

    Bounds on log p(x): the kind of likelihood (a probability or a density), of densities the space, the data, and gates, as with
    relaxed ones there is no bound. Objectives: their terms and weights. PSNR: the range of the data. Squared errors: the data.
    """
    raw = plain(config)
    model, data = raw["model"], raw["data"]["type"]
    steps = resolved(result, place)
    quantity = steps[-1]
    if quantity in LIKELIHOODS and model.get("likelihood"):
        likelihood = model["likelihood"]["type"]
        density = likelihood not in ("bernoulli",)
        normaliser = named("normaliser", model["normaliser"], {})
        space = f", in units of {normaliser}" if density and normaliser != "identity" else ""
        gates = "relaxed gates, which give no bound; " if "relaxed" in steps else ""
        return f"{gates}{likelihood} likelihood of {data}{space}"
    if quantity == "objective":
        parts = [named(name, model[name], {}) for name in OBJECTIVE if model.get(name) is not None]
        parts += [named("terms", term, {}) for term in model.get("terms", ()) if "penalty" in term]
        return ", ".join([f"objective of {data}", *parts])
    if quantity in ("psnr", "margin"):
        return f"data range {next(iter(result.scores.values())).data_range:.3g}"
    return data if quantity == "mse" else ""


def by_meaning(
    results: Sequence[SweepResult], configs: Mapping[str, Run], x: str, y: str
) -> dict[str, list[SweepResult]]:
    """Results by what their `y` means (`configs`: those of the runs, by name).

    Raises ValueError if the meaning changes with `x` itself, so that no line of values can be drawn.
    """
    groups: dict[str, list[SweepResult]] = {}
    lines: dict[str, dict[str, Any]] = {}
    for result in results:
        meaning = meaning_of(configs[result.run], result, y)
        groups.setdefault(meaning, []).append(result)
        rest = {path: value for path, value in result.overrides.items() if path not in (x, "seed")}
        line = lines.setdefault(f"{result.recipe} {msgspec.json.encode(rest).decode()}", {})
        line.setdefault(meaning, result.overrides.get(x))
        if len(line) > 1:
            (one, here), (other, there) = list(line.items())[:2]
            raise ValueError(
                f"{y} means something else at each {x} ({here}: {one}; {there}: {other}); expected a quantity that can be "
                "compared, such as scores.encode.explained_variance"
            )
    return groups
