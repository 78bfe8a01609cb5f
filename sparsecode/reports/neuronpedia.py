"""Features as the JSON files from which Neuronpedia's pages are made.

Followed: batch-N.json as SAEDashboard 0.8.0 writes it (NeuronpediaDashboardBatch) and Neuronpedia's converter
convert-saedashboard-to-neuronpedia-export.py reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sparsecode.evaluate.dictionary.logit_effects import LogitEffects
from sparsecode.evaluate.units.features import CodeFeatures, Features
from sparsecode.files import whole_folder
from sparsecode.specs import Spec

__all__ = ["NeuronpediaSource", "write_neuronpedia"]

BATCH = 256  # features in a file
ALIGNED = 3  # entries of an atom that are named
TOP_BIN = (-1.0, -1.0)  # bin_min, bin_contains of the strongest examples


class NeuronpediaSource(Spec, tag="neuronpedia_source"):
    """What Neuronpedia files features under: the network, the number of the layer, the name of the set, and how many texts of how many tokens there
    were, from which data."""

    model_id: str
    layer: int
    sae_set: str
    dataset: str = ""
    n_prompts_total: int = 0
    n_tokens_in_prompt: int = 0


def write_neuronpedia(
    folder: str | Path,
    features: Features,
    source: NeuronpediaSource,
    atoms: NDArray[Any] | None = None,
    report: Callable[[int], None] = lambda _: None,
    *,
    effects: LogitEffects | None = None,
    texts: Callable[[Iterable[int]], dict[int, str]] = lambda ids: {number: f"[{number}]" for number in ids},
) -> None:
    """Write features of tokens as a folder of batch-N.json files, all or none.

    Examples keep their contexts and values; the strongest have bin_min = bin_contains = -1 and bin_max = the largest strength, those of a
    band its limits (of the lowest from 0) and its share of the active rows. Values have four digits. Rows of `atoms` [n_code, d] give the vector
    and its largest entries (neuron_alignment). `effects` [n_code] on logits give the tokens raised and lowered most, as `texts` spells them, and a histogram;
    without them these are empty, as are correlations with neurons. Codes that are never active are left out.
    Raises ValueError for features without contexts, FileExistsError if the folder is there.
    """
    if features.contexts is None:
        raise ValueError(
            "features have no tokens around their examples, which Neuronpedia shows; collect them from shards of a text"
        )
    if atoms is not None and len(atoms) != features.n_code:
        raise ValueError(f"atoms has {len(atoms)} rows; expected one for each of the {features.n_code} codes")
    if effects is not None and len(effects.top) != features.n_code:
        raise ValueError(f"effects has {len(effects.top)} rows; expected one for each of the {features.n_code} codes")
    active = np.flatnonzero(features.n_active)
    with whole_folder(Path(folder)) as place:
        for number, start in enumerate(range(0, len(active), BATCH)):
            codes = active[start : start + BATCH].tolist()
            logits = [_logits(effects, code, texts) for code in codes]
            shown = [
                _feature(features, features.code(code), source, atoms) | each
                for code, each in zip(codes, logits, strict=True)
            ]
            batch = {
                "model_id": source.model_id,
                "layer": source.layer,
                "sae_set": source.sae_set,
                "sae_id_suffix": None,
            }
            (place / f"batch-{number}.json").write_bytes(msgspec.json.encode({**batch, "features": shown}))
            report(start + len(codes))


def _feature(
    features: Features, code: CodeFeatures, source: NeuronpediaSource, atoms: NDArray[Any] | None
) -> dict[str, Any]:
    atom = np.zeros(0) if atoms is None else np.asarray(atoms[code.number], dtype=np.float64)
    largest = np.argsort(-np.abs(atom), kind="stable")[:ALIGNED]
    last = int(np.flatnonzero(code.histogram)[-1]) + 1
    middles = (code.edges[:-1] + code.edges[1:]) / 2
    empty: list[Any] = []
    return {
        "feature_index": code.number,
        "neuron_alignment_indices": largest.tolist(),
        "neuron_alignment_values": _rounded(atom[largest]),
        "neuron_alignment_l1": _rounded(np.abs(atom[largest]) / max(float(np.abs(atom).sum()), 1e-30)),
        "correlated_neurons_indices": empty,
        "correlated_neurons_l1": empty,
        "correlated_neurons_pearson": empty,
        "correlated_features_indices": empty,
        "correlated_features_l1": empty,
        "correlated_features_pearson": empty,
        "frac_nonzero": code.density,
        "freq_hist_data_bar_values": _rounded(middles[:last]),
        "freq_hist_data_bar_heights": code.histogram[:last].tolist(),
        "n_prompts_total": source.n_prompts_total,
        "n_tokens_in_prompt": source.n_tokens_in_prompt,
        "dataset": source.dataset,
        "activations": [_activation(features, code, number) for number in range(len(code.examples))],
        "decoder_weights_dist": empty,
        "vector": _rounded(atom),
    }


def _logits(
    effects: LogitEffects | None, code: int, texts: Callable[[Iterable[int]], dict[int, str]]
) -> dict[str, list[Any]]:
    """The tokens that a code lowers and raises most, and how many tokens by effect."""
    names = ("neg_str", "neg_values", "pos_str", "pos_values", "logits_hist_data_bar_heights", "logits_hist_data_bar_values")  # fmt: skip
    if effects is None:
        return {name: [] for name in names}
    sides = effects.bottom[code].tolist(), effects.top[code].tolist()
    spelled = texts(sides[0] + sides[1])
    edges = effects.edges[code].astype(np.float64)
    values: tuple[list[Any], ...] = (
        [spelled[number] for number in sides[0]],
        _rounded(effects.bottom_values[code]),
        [spelled[number] for number in sides[1]],
        _rounded(effects.top_values[code]),
        effects.histogram[code].tolist(),
        _rounded((edges[:-1] + edges[1:]) / 2),
    )
    return dict(zip(names, values, strict=True))


def _activation(features: Features, code: CodeFeatures, number: int) -> dict[str, Any]:
    example, bands = code.examples[number], features.settings.bands
    low, share = TOP_BIN
    high = code.largest
    if example.band != -1:
        band = max(example.band, 0)  # the weakest are in the lowest
        limits = [0.0, *code.quantiles[1:-1].tolist(), code.largest]
        low, high, share = limits[band], limits[band + 1], 1 / bands
    assert example.values is not None
    return {
        "bin_min": _digits(low),
        "bin_max": _digits(high),
        "bin_contains": share,
        "tokens": features.words(example),
        "values": _rounded(example.values),
        "qualifying_token_index": example.at,
    }


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def _rounded(values: NDArray[Any]) -> list[float]:
    return [_digits(value) for value in values.tolist()]
