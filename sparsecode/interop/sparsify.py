"""sparsify: a folder per hookpoint with `cfg.json` and `sae.safetensors`; top-k, sparse autoencoder or transcoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparsecode.interop.folding import centre, uncentre
from sparsecode.interop.foreign import get, read_json, read_safetensors, take, write_json, write_safetensors
from sparsecode.interop.record import AffineSAE, CannotExpressError, Plain, TopK

__all__ = ["matches", "note", "read", "write"]

CONFIG, WEIGHTS, NOTE = "cfg.json", "sae.safetensors", "conversion.json"
LINEAR = ("encoder.weight", "encoder.bias", "W_dec", "b_dec")


def matches(path: Path) -> bool:
    """Whether this is a hookpoint's folder of sparsify."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def read(path: Path) -> AffineSAE:
    """The sparse coder in a hookpoint's folder. Its decoder's bias is subtracted from the input unless it is a transcoder.

    Raises ValueError for codes that sparsify calls signed, for groupmax, and for coders without a decoder.
    """
    config, file = read_json(path / CONFIG), path / CONFIG
    activation = config.get("activation", "topk")
    if activation != "topk" or config.get("signed"):
        kind = "signed top-k, by magnitude" if config.get("signed") else repr(activation)
        raise CannotExpressError(f"{file}: codes by {kind}; expected top-k of positive pre-activations")
    k = get(config, "k", int, file)
    tensors = read_safetensors(path / WEIGHTS)
    skip = tensors.pop("W_skip", None)
    W_enc, b_enc, W_dec, b_dec = take(tensors, LINEAR, path / WEIGHTS)
    transcoder = bool(config.get("transcode", False))
    sae = AffineSAE(W_enc, b_enc, W_dec, b_dec, TopK(k), centred=not transcoder, transcoder=transcoder)
    d_in, n_code = get(config, "d_in", int, file), config.get("num_latents") or 0
    if sae.d_in != d_in or sae.n_code != (n_code or d_in * get(config, "expansion_factor", int, file)):
        raise ValueError(f"{file} does not fit {WEIGHTS}, which has {sae.n_code} codes and {sae.d_in} inputs")
    sae = replace(sae, metadata={"hook_name": path.name})
    return sae if skip is None else replace(sae, W_skip=skip.to(sae.dtype))


def write(sae: AffineSAE, path: Path) -> None:
    """Write a folder that `sparsify.SparseCoder.load_from_disk` opens.

    Raises CannotExpressError for anything but top-k, and for normalised rows.
    """
    activation = sae.activation
    if not isinstance(activation, TopK):
        raise CannotExpressError(
            f"sparsify computes top-k codes alone, and this autoencoder has {type(activation).__name__}: a threshold or gate "
            "lets other codes through than the k largest of a row; choose --to saelens or dictionary_learning"
        )
    if not isinstance(sae.normaliser, Plain):
        raise CannotExpressError(
            "sparsify does not normalise rows of its input; choose --to saelens, or openai for top-k"
        )
    if sae.d_in != sae.d_out:
        raise CannotExpressError(
            f"sparsify's transcoders have as many outputs as inputs; this one has {sae.d_in} inputs, {sae.d_out} outputs"
        )
    sae = uncentre(sae) if sae.transcoder else centre(sae)
    tensors = {"encoder.weight": sae.W_enc, "encoder.bias": sae.b_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    if sae.W_skip is not None:
        tensors["W_skip"] = sae.W_skip
    config: dict[str, Any] = {
        "activation": "topk",
        "expansion_factor": max(1, sae.n_code // sae.d_in),
        "normalize_decoder": False,  # it says what training does; loading leaves the atoms as they are
        "num_latents": sae.n_code,
        "k": activation.k,
        "multi_topk": False,
        "skip_connection": sae.W_skip is not None,
        "transcode": sae.transcoder,
        "d_in": sae.d_in,
    }
    write_safetensors(path / WEIGHTS, tensors)
    write_json(path / CONFIG, config)


def note(path: Path, proof: Mapping[str, Any]) -> Path:
    """Store what a conversion showed in a file of its own."""
    write_json(path / NOTE, proof)
    return path / NOTE
