"""sparsify: a folder per hookpoint with `cfg.json` and `sae.safetensors`; top-k, sparse autoencoder or transcoder."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from sparsecode.interop import formulas
from sparsecode.interop.affine_sae import AffineSAE, CannotExpressError, PlainRows, TopKCodes
from sparsecode.interop.equivalence import Computed
from sparsecode.interop.folding import centre, uncentre
from sparsecode.interop.keys import SPARSIFY, check
from sparsecode.interop.readers import get, read_json, write_json
from sparsecode.interop.weights import read_safetensors, take, unwrapped, write_safetensors

__all__ = ["computed", "matches", "note", "read", "write"]

CONFIG, WEIGHTS, NOTE = "cfg.json", "sae.safetensors", "conversion.json"
LINEAR = ("encoder.weight", "encoder.bias", "W_dec", "b_dec")
RUN = {"model": "model_name", "dataset": "dataset_path", "ctx_len": "context_size"}  # in the config of a whole run


class SparsifyFiles(NamedTuple):
    """Validated content of a hookpoint's folder: its tensors, k, and whether it transcodes."""

    tensors: dict[str, Tensor]
    k: int
    transcode: bool


def matches(path: Path) -> bool:
    """Whether this is a hookpoint's folder of sparsify."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def read(path: Path, ignore: Collection[str] = ()) -> AffineSAE:
    """The sparse coder in a hookpoint's folder. Its decoder's bias is subtracted from the input unless it is a transcoder.

    Raises ValueError for codes that sparsify calls signed, for groupmax, for coders without a decoder, and where config and
    tensors contradict each other.
    """
    tensors, k, transcode = _opened(path, ignore)
    W_enc, b_enc, W_dec, b_dec = (tensors[name] for name in LINEAR)
    return AffineSAE(
        W_enc, b_enc, W_dec, b_dec, TopKCodes(k), centred=not transcode, W_skip=tensors.get("W_skip"), transcoder=transcode,
        metadata=_origin(path),
    )  # fmt: skip


def computed(path: Path, ignore: Collection[str] = ()) -> Computed:
    """sparsify's formula on the tensors as they stand in the folder."""
    return formulas.sparsify(*_opened(path, ignore))


def write(sae: AffineSAE, path: Path) -> None:
    """Write a folder that `sparsify.SparseCoder.load_from_disk` opens.

    Raises CannotExpressError for anything but top-k, and for normalised rows.
    """
    activation = sae.activation
    if not isinstance(activation, TopKCodes):
        raise CannotExpressError(
            f"sparsify computes top-k codes alone, and this autoencoder has {activation.name}: a threshold or gate "
            "lets other codes through than the k largest of a row; choose --to saelens or dictionary_learning"
        )
    if not isinstance(sae.normaliser, PlainRows):
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
    """Store the proof of a conversion in a separate file."""
    write_json(path / NOTE, proof)
    return path / NOTE


def _opened(path: Path, ignore: Collection[str]) -> SparsifyFiles:
    file, weights = path / CONFIG, path / WEIGHTS
    config = read_json(file)
    check(config, SPARSIFY, file, ignore)
    names = (*LINEAR, "W_skip") if config.get("skip_connection", False) else LINEAR
    tensors = take(unwrapped(read_safetensors(weights), weights), names, weights)
    n_code, d = tensors["encoder.weight"].shape
    wanted = config.get("num_latents") or get(config, "d_in", int, file) * get(config, "expansion_factor", float, file)
    if (d, n_code) != (get(config, "d_in", int, file), wanted):
        raise ValueError(
            f"{file} does not fit {WEIGHTS}, which has {n_code} codes and {d} inputs; restore both from one copy"
        )
    return SparsifyFiles(tensors, get(config, "k", int, file), config.get("transcode", False))


def _origin(path: Path) -> dict[str, Any]:
    """The hookpoint's name, and what the note of a conversion or the config of the whole run, above it, says beside."""
    path = path.resolve()
    folder = path.parent if re.fullmatch(r"seed\d+", path.name) else path
    results: dict[str, Any] = {"hook_name": folder.name}
    run = folder.parent / "config.json"
    try:
        config = read_json(run) if run.is_file() else {}
    except ValueError:  # it describes only, and may be anybody's
        config = {}
    if "sae" in config:
        results |= {ours: config[theirs] for theirs, ours in RUN.items() if config.get(theirs) is not None}
    return results | ((read_json(path / NOTE).get("origin") or {}) if (path / NOTE).is_file() else {})
