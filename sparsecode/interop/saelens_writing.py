"""Writing for SAELens 6: a folder with `cfg.json` and `sae_weights.safetensors`; weights [inputs, codes]."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sparsecode.interop.affine_sae import (
    Activation,
    AffineSAE,
    CannotExpressError,
    GatedCodes,
    JumpReLUCodes,
    LayerNorm,
    PlainRows,
    ReLUCodes,
    RowNorm,
    TopKCodes,
)
from sparsecode.interop.folding import uncentre, zero_bias
from sparsecode.interop.readers import read_json, write_json
from sparsecode.interop.saelens import CONFIG, WEIGHTS
from sparsecode.interop.weights import write_safetensors

__all__ = ["note", "write"]

WRITTEN_AS = "6.54.12"  # the version whose layout `write` keeps to


def write(sae: AffineSAE, path: Path) -> None:
    """Write a folder that `sae_lens.SAE.load_from_disk` opens.

    Raises CannotExpressError for transcoders and skip connections with anything but ReLU or JumpReLU.
    """
    name = NAMES[type(sae.activation)]
    if not sae.reconstructs:
        if name not in TRANSCODERS or not isinstance(sae.normaliser, PlainRows):
            raise CannotExpressError(
                f"SAELens has no transcoder with {name} codes or normalised rows, only ReLU and JumpReLU; choose --to sparsify "
                "for top-k with a skip connection"
            )
        sae, name = uncentre(sae), TRANSCODERS[name][sae.W_skip is not None]
    metadata = dict(sae.metadata)
    config: dict[str, Any] = {
        "architecture": name,
        "d_in": sae.d_in,
        "d_sae": sae.n_code,
        "dtype": str(sae.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": sae.centred,
        "normalize_activations": NORMALISERS[type(sae.normaliser)],
        "reshape_activations": metadata.pop("reshape_activations", "none"),
    }
    config |= {} if sae.reconstructs else {"d_out": sae.d_out}
    if isinstance(sae.activation, TopKCodes):
        config |= {"k": sae.activation.k, "rescale_acts_by_decoder_norm": False}
    trained = _training(sae.activation)
    config["metadata"] = {"sae_lens_training_version": None, **trained, **metadata, "sae_lens_version": WRITTEN_AS}
    sae = zero_bias(sae)
    write_safetensors(path / WEIGHTS, _tensors(sae))
    write_json(path / CONFIG, config)


def note(path: Path, proof: Mapping[str, Any]) -> Path:
    """Store the proof of a conversion under metadata.sparsecode, which SAELens keeps."""
    config = read_json(path / CONFIG)
    config["metadata"]["sparsecode"] = {"conversion": proof}
    write_json(path / CONFIG, config)
    return path / CONFIG


NAMES: dict[type[Activation], str] = {
    ReLUCodes: "standard",
    TopKCodes: "topk",
    JumpReLUCodes: "jumprelu",
    GatedCodes: "gated",
}
TRANSCODERS = {
    "standard": ("transcoder", "skip_transcoder"),
    "jumprelu": ("jumprelu_transcoder", "jumprelu_skip_transcoder"),
}
NORMALISERS = {PlainRows: "none", LayerNorm: "layer_norm", RowNorm: "constant_norm_rescale"}


def _tensors(sae: AffineSAE) -> dict[str, Tensor]:
    results = {"W_enc": sae.W_enc.T, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    if sae.W_skip is not None:
        results["W_skip"] = sae.W_skip
    match sae.activation:
        case GatedCodes(gate_bias, mag_bias, r_mag):
            return results | {"b_gate": gate_bias, "b_mag": mag_bias, "r_mag": r_mag}
        case JumpReLUCodes(threshold):
            return results | {"b_enc": sae.b_enc, "threshold": threshold}
        case _:
            return results | {"b_enc": sae.b_enc}


def _training(activation: Activation) -> dict[str, Any]:
    """The keys by which SAELens, and our reader, recognise autoencoders trained by batch top-k."""
    if not isinstance(activation, JumpReLUCodes) or activation.k is None:
        return {}
    widths = list(itertools.accumulate(activation.groups))
    name = "matryoshka_batchtopk" if widths else "batchtopk"
    details = {"k": activation.k, "matryoshka_widths": widths}
    return {"training_architecture": name, "training_architecture_details": details}
