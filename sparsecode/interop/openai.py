"""openai/sparse_autoencoder: one `torch.save` file; top-k codes of rows normalised to mean 0 and standard deviation 1, or ReLU."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsecode.interop import formulas
from sparsecode.interop.affine_sae import AffineSAE, CannotExpressError, LayerNorm, PlainRows, ReLUCodes, TopKCodes
from sparsecode.interop.equivalence import Computed
from sparsecode.interop.folding import centre
from sparsecode.interop.readers import get, read_json, shown, write_json
from sparsecode.interop.weights import load_torch, names_in_torch, save_torch, take, unwrapped

__all__ = ["SUFFIX", "computed", "matches", "note", "read", "write"]

SUFFIX, NOTE = ".pt", ".conversion.json"
LINEAR = ("encoder.weight", "latent_bias", "decoder.weight", "pre_bias")
COUNTERS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")


def matches(path: Path) -> bool:
    """Whether this is a file of openai/sparse_autoencoder."""
    return path.is_file() and path.suffix == SUFFIX and set(LINEAR) <= names_in_torch(path)


def read(path: Path, ignore: Collection[str] = ()) -> AffineSAE:
    """The autoencoder in the file. Its class normalises rows if, and only if, its activation is TopK.

    Raises ValueError for other activations, for top-k of signed values, and for tied weights.
    """
    tensors, k = _opened(path, ignore)
    W_enc, b_enc, W_dec, b_dec = tensors.values()
    if k is None:
        return AffineSAE(W_enc, b_enc, W_dec.T, b_dec, ReLUCodes(), centred=True, metadata=_origin(path))
    return AffineSAE(
        W_enc, b_enc, W_dec.T, b_dec, TopKCodes(k), centred=True, normaliser=LayerNorm(), metadata=_origin(path)
    )


def computed(path: Path, ignore: Collection[str] = ()) -> Computed:
    """The package's formula on the tensors as they stand in the file."""
    return formulas.openai(*_opened(path, ignore))


def write(sae: AffineSAE, path: Path) -> None:
    """Write a file for `Autoencoder.from_state_dict(torch.load(path))`.

    Raises CannotExpressError for transcoders, and for other codes than ReLU without, and top-k with, normalised rows.
    """
    if not sae.reconstructs:
        raise CannotExpressError(
            "openai/sparse_autoencoder has no transcoder and no skip connection; choose --to saelens or sparsify"
        )
    if not isinstance(sae.activation, ReLUCodes | TopKCodes):
        raise CannotExpressError(
            f"openai/sparse_autoencoder has ReLU and top-k codes, and no {sae.activation.name}: thresholds and gates "
            "have no place in its file; choose --to saelens or dictionary_learning"
        )
    if isinstance(sae.activation, TopKCodes) and not isinstance(sae.normaliser, LayerNorm):
        raise CannotExpressError(
            "openai/sparse_autoencoder normalises each row wherever codes are top-k, and this autoencoder does not; choose "
            "--to saelens, dictionary_learning or sparsify"
        )
    if isinstance(sae.activation, ReLUCodes) and not isinstance(sae.normaliser, PlainRows):
        raise CannotExpressError("openai/sparse_autoencoder normalises no rows for ReLU codes; choose --to saelens")
    sae = centre(sae)
    values: dict[str, Any] = {
        "pre_bias": sae.b_dec,
        "latent_bias": sae.b_enc,
        "stats_last_nonzero": torch.zeros(sae.n_code, dtype=torch.long),
        "latents_activation_frequency": torch.ones(sae.n_code),
        "latents_mean_square": torch.zeros(sae.n_code),
        "encoder.weight": sae.W_enc.contiguous().clone(),
        "decoder.weight": sae.W_dec.T.contiguous().clone(),
        "activation": sae.activation.name,
        "activation_state_dict": {},
    }
    if isinstance(sae.activation, TopKCodes):
        values["activation_state_dict"] = {"k": sae.activation.k, "postact_fn": "ReLU"}
    save_torch(path, values)


def note(path: Path, proof: Mapping[str, Any]) -> Path:
    """Store the proof of a conversion in a file beside it."""
    beside = path.with_name(path.name + NOTE)
    write_json(beside, proof)
    return beside


def _opened(path: Path, ignore: Collection[str]) -> tuple[dict[str, Tensor], int | None]:
    """The four tensors, and k if codes are top-k. Entries that are not known are refused unless they are to be ignored."""
    result = unwrapped(load_torch(path), path)
    name, state = result.pop("activation", "ReLU"), result.pop("activation_state_dict", {})
    wanted = {"ReLU": set[str](), "TopK": {"k", "postact_fn"}}.get(name) if isinstance(name, str) else None
    if (
        wanted is None
        or not isinstance(state, dict)
        or set(state) != wanted
        or state.get("postact_fn", "ReLU") != "ReLU"
    ):
        raise CannotExpressError(
            f"{path}: activation is {shown(name)} with {shown(state)}; expected ReLU, or TopK with k and a postact_fn of ReLU"
        )
    tensors = take({n: v for n, v in result.items() if n in LINEAR or n not in ignore}, LINEAR, path, COUNTERS)
    k = state.get("k")
    count = (
        None
        if name == "ReLU"
        else get({"k": k.item() if isinstance(k, Tensor) and k.numel() == 1 else k}, "k", int, path)
    )
    return tensors, count


def _origin(path: Path) -> dict[str, Any]:
    """Where it comes from, which this file has no place for, from the note of the conversion that wrote it."""
    beside = path.with_name(path.name + NOTE)
    return (read_json(beside).get("origin") or {}) if beside.is_file() else {}
