"""What older formats of configs and results said, in words of the present one: an entry per format, tested by frozen files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sparsecode.coders import EARLIER, MEAN, coders_today

__all__ = ["MIGRATIONS", "Migration"]

Migration = Callable[[dict[str, Any]], dict[str, Any]]


def _with_sites(raw: dict[str, Any]) -> dict[str, Any]:
    """Shards had one site without a name."""
    if "shape" not in raw or "span" not in raw:
        return raw
    rest = {key: value for key, value in raw.items() if key not in ("shape", "span")}
    return rest | {"sites": [{"type": "shard_site", "name": "x", "shape": raw["shape"], "span": raw["span"]}]}


def _journal_with_sites(raw: dict[str, Any]) -> dict[str, Any]:
    if "shape" not in raw:
        return raw
    rest = {key: value for key, value in raw.items() if key not in ("shape", "span")}
    return rest | {"shapes": {"x": raw["shape"]}, "spans": {} if raw.get("span") is None else {"x": raw["span"]}}


def _terms(model: dict[str, Any]) -> dict[str, Any]:
    """Autoencoders had one penalty with fields beside it; what a loss adds to the fidelity is a list of terms now."""
    raw = {**model}
    penalty, revival, matryoshka = (raw.pop(name, None) for name in ("penalty", "revival", "matryoshka"))
    calibrate = raw.pop("calibrate", True)
    weighted = {"weight": raw.pop("weight", 1.0), "target_l0": raw.pop("target_l0", None), "calibrate": calibrate}
    norm_weighted = raw.pop("norm_weighted", False)
    if isinstance(penalty, dict) and penalty.get("type") == "kl":
        penalty = {**penalty, **weighted}
    elif penalty is not None:
        penalty = {"type": "sparsity", "penalty": penalty, "norm_weighted": norm_weighted, **weighted}
    activation = raw.get("activation")
    if isinstance(activation, dict) and activation.get("type") == "batch_topk":
        raw["activation"] = {**activation, "calibrate": calibrate}
    return {**raw, "terms": [term for term in (penalty, matryoshka, revival) if term is not None]}


def _measures(raw: dict[str, Any]) -> dict[str, Any]:
    """Results had a field for each kind; they are by measure and coder now."""
    if "scores" not in raw:
        return raw
    rest = {**raw}
    denoising = {
        coder: {"type": "denoised_levels", "levels": levels}
        for coder, levels in _by_coder(rest.pop("denoising", None)).items()
        if levels
    }
    measures = {
        "scores": _by_coder(rest.pop("scores")),
        "denoising": denoising,
        "restoration": _whole(rest.pop("restored", None)),
        "elbo": rest.pop("bounds", None) or {},
        "activity": _whole(rest.pop("activity", None)),
    }
    return {**rest, "measures": {name: parts for name, parts in measures.items() if parts}}


def _by_coder(parts: Any) -> dict[str, Any]:
    """Coders had names of their own in each kind of model."""
    names = coders_today(parts or ())
    return {names[coder]: result for coder, result in (parts or {}).items()}


def _selected(raw: dict[str, Any]) -> dict[str, Any]:
    """The name of a coder stands in what the best model is selected by, too."""
    try:
        train, model = {**raw["train"]}, raw["model"]
        coder, slash, quantity = train["select"].partition("/")
        names = EARLIER.get(model["type"], {})
        gates = model.get("posterior", {}).get("type") == "spike_slab"
    except (AttributeError, KeyError, TypeError):  # damaged: for those to say who read it
        return raw
    if not (gates and coder == MEAN):
        train["select"] = f"{names.get(coder, coder)}{slash}{quantity}"
    return {**raw, "train": train}


def _whole(result: Any) -> dict[str, Any]:
    return {} if result is None else {"model": result}


# From format 1: what has changed of the records with this `type`, wherever they stand in a file.
FORMAT_2: dict[str, Migration] = {
    "amortised": _terms,
    "run": _selected,
    "evaluation": _measures,
    "sweep_result": _measures,
    "shard_index": _with_sites,
    "shard_journal": _journal_with_sites,
}


def to_format_2(raw: dict[str, Any]) -> dict[str, Any]:
    """The records inside come first, so that a change of an outer one sees changed parts."""
    return _changed(raw, FORMAT_2)


def _changed(raw: Any, changes: dict[str, Migration]) -> Any:
    if isinstance(raw, list):
        return [_changed(item, changes) for item in raw]
    if not isinstance(raw, dict):
        return raw
    inner = {key: _changed(value, changes) for key, value in raw.items()}
    kind = inner.get("type")
    change = changes.get(kind) if isinstance(kind, str) else None
    return inner if change is None else change(inner)


# The i-th entry turns format i + 1 into format i + 2.
MIGRATIONS: tuple[Migration, ...] = (to_format_2,)
