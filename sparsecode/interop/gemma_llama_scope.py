"""Gemma Scope, Gemma Scope 2 and Llama Scope: published JumpReLU autoencoders, for reading."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsecode.interop import formulas
from sparsecode.interop.affine_sae import AffineSAE, CannotExpressError, JumpReLUCodes
from sparsecode.interop.equivalence import Computed
from sparsecode.interop.keys import GEMMA_SCOPE_2, LLAMA_SCOPE, check
from sparsecode.interop.readers import get, read_json
from sparsecode.interop.weights import read_npz, read_safetensors, take, unwrapped

__all__ = [
    "computed_gemma_scope",
    "computed_gemma_scope_2",
    "computed_llama_scope",
    "matches_gemma_scope",
    "matches_gemma_scope_2",
    "matches_llama_scope",
    "read_gemma_scope",
    "read_gemma_scope_2",
    "read_llama_scope",
]

GEMMA, GEMMA_2, LLAMA = "params.npz", "params.safetensors", "checkpoints/final.safetensors"
CONFIG, LLAMA_CONFIG = "config.json", "hyperparams.json"
NAMES = ("w_enc", "b_enc", "w_dec", "b_dec", "threshold")
SKIP = "affine_skip_connection"
LLAMA_NAMES = ("encoder.weight", "encoder.bias", "decoder.weight")


def matches_gemma_scope(path: Path) -> bool:
    """Whether this is a folder of Gemma Scope."""
    return (path / GEMMA).is_file()


def matches_gemma_scope_2(path: Path) -> bool:
    """Whether this is a folder of Gemma Scope 2."""
    return (path / GEMMA_2).is_file()


def matches_llama_scope(path: Path) -> bool:
    """Whether this is a folder of Llama Scope."""
    return (path / LLAMA).is_file() and (path / LLAMA_CONFIG).is_file()


def read_gemma_scope(path: Path, ignore: Collection[str] = ()) -> AffineSAE:
    """`params.npz` with w_enc [d, m], w_dec [m, p], biases and thresholds; nothing is subtracted from the input.

    Source: Lieberum et al., "Gemma Scope", 2024, and its published files.
    """
    return _jump_relu(_gemma_scope(path, ignore))


def read_gemma_scope_2(path: Path, ignore: Collection[str] = ()) -> AffineSAE:
    """`params.safetensors`, named as in Gemma Scope, perhaps with `affine_skip_connection` [d, p] of a transcoder.

    Raises ValueError for cross-layer transcoders, which write to several layers, and where `config.json` and tensors
    contradict each other.
    """
    config, tensors = _gemma_scope_2(path, ignore)
    points = {"hf_hook_point_in": "hf_hook_name", "hf_hook_point_out": "hf_hook_name_out", "model_name": "model_name"}
    there, out = config.get("hf_hook_point_in"), config.get("hf_hook_point_out")
    transcoder = SKIP in tensors or config.get("type") == "transcoder" or (out is not None and out != there)
    metadata = {ours: config[theirs] for theirs, ours in points.items() if config.get(theirs) is not None}
    return _jump_relu(tensors, transcoder, metadata)


def read_llama_scope(path: Path, ignore: Collection[str] = ()) -> AffineSAE:
    """`checkpoints/final.safetensors` with weights [codes, inputs], and one threshold in `hyperparams.json`.

    Inputs are scaled by s = sqrt(d) / dataset_average_activation_norm; the threshold counts in pre-activations of unscaled
    inputs, that is s * threshold beside the scaled ones, and, with `sparsity_include_decoder_norm`, after multiplication by
    the norm of the atom. Source: He et al., "Llama Scope", 2024, and the authors' code.
    """
    config, tensors = _llama_scope(path, ignore)
    W_enc, b_enc, atoms = tensors["encoder.weight"], tensors["encoder.bias"], tensors["decoder.weight"].T
    file, d = path / LLAMA_CONFIG, W_enc.shape[1]
    scale_in = math.sqrt(d) / get(config, "dataset_average_activation_norm.in", float, file)
    scale_out = math.sqrt(d) / get(config, "dataset_average_activation_norm.out", float, file)
    threshold = torch.full_like(b_enc, scale_in * get(config, "jump_relu_threshold", float, file))
    if config["sparsity_include_decoder_norm"]:
        threshold = threshold / torch.linalg.vector_norm(atoms, dim=1)
    b_dec = tensors.get("decoder.bias", atoms.new_zeros(atoms.shape[1]))
    there, out = config.get("hook_point_in"), config.get("hook_point_out")
    names = {
        "model_name": "meta-llama/Llama-3.1-8B",
        "hook_name": there,
        "hook_name_out": None if out == there else out,
    }
    return AffineSAE(
        W_enc * scale_in,
        b_enc,
        atoms / scale_out,
        b_dec / scale_out,
        JumpReLUCodes(threshold),
        centred=False,
        transcoder=out is not None and out != there,
        metadata={key: value for key, value in names.items() if value is not None},
    )


def computed_gemma_scope(path: Path, ignore: Collection[str] = ()) -> Computed:
    """The suite's formula on the arrays as they stand in the file."""
    return formulas.gemma_scope(_gemma_scope(path, ignore))


def computed_gemma_scope_2(path: Path, ignore: Collection[str] = ()) -> Computed:
    """The suite's formula on the tensors as they stand in the folder."""
    return formulas.gemma_scope(_gemma_scope_2(path, ignore)[1])


def computed_llama_scope(path: Path, ignore: Collection[str] = ()) -> Computed:
    """The suite's formula on the tensors as they stand in the folder."""
    return formulas.llama_scope(*_llama_scope(path, ignore))


def _gemma_scope(path: Path, ignore: Collection[str]) -> dict[str, Tensor]:
    results = {name: value for name, value in read_npz(path / GEMMA).items() if name in NAMES or name not in ignore}
    if "embedding" in path.resolve().parts:
        raise CannotExpressError(
            f"{path}: made for token embeddings at a scale that the file does not name (readers differ in it); copy the file out of "
            "the folder `embedding` to read it for embeddings as they are"
        )
    return take(results, NAMES, path / GEMMA)


def _gemma_scope_2(path: Path, ignore: Collection[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    file, weights = path / CONFIG, path / GEMMA_2
    config = read_json(file) if file.is_file() else {}
    check(config, GEMMA_SCOPE_2, file, ignore)
    result = unwrapped(read_safetensors(weights), weights)
    if "w_dec" in result and result["w_dec"].ndim == 3:
        raise CannotExpressError(
            f"{weights}: a cross-layer transcoder with decoders to {result['w_dec'].shape[1]} layers; expected one decoder"
        )
    names = (*NAMES, SKIP) if config.get("affine_connection", SKIP in result) else NAMES
    tensors = take(result, names, weights)
    if (width := config.get("width", len(tensors["b_enc"]))) != len(tensors["b_enc"]):
        raise ValueError(
            f"{file}: width is {width}, and {GEMMA_2} has {len(tensors['b_enc'])}; restore both from one copy"
        )
    there, out = config.get("hf_hook_point_in"), config.get("hf_hook_point_out")
    if config.get("type") == "sae" and (SKIP in tensors or out not in (None, there)):
        raise ValueError(
            f"{file}: type is 'sae', and it reads {there} and writes {out}, with{'' if SKIP in tensors else 'out'} an affine "
            "connection; expected type 'transcoder', or one hook point and no affine connection"
        )
    return config, tensors


def _llama_scope(path: Path, ignore: Collection[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    file, weights = path / LLAMA_CONFIG, path / LLAMA
    config = read_json(file)
    check(config, LLAMA_SCOPE, file, ignore)
    needed = ("act_fn", "norm_activation", "apply_decoder_bias_to_pre_encoder", "sparsity_include_decoder_norm",
              "jump_relu_threshold", "dataset_average_activation_norm.in", "dataset_average_activation_norm.out")  # fmt: skip
    for key in needed:  # the authors' code has had other defaults for some of them
        get(config, key, Any, file)
    biased = config.get("use_decoder_bias", True)
    names = LLAMA_NAMES + ("decoder.bias",) * biased
    tensors = take(unwrapped(read_safetensors(weights), weights), names, weights)
    m, d = tensors["encoder.weight"].shape
    for key, size in (("d_model", d), ("d_sae", m), ("expansion_factor", m / d)):
        if config.get(key, size) != size:
            raise ValueError(
                f"{file}: {key} is {config[key]}, and {weights.name} has {size:g}; restore both from one copy"
            )
    return config, tensors


def _jump_relu(
    by_name: dict[str, Tensor], transcoder: bool = False, metadata: dict[str, Any] | None = None
) -> AffineSAE:
    W_enc, b_enc, W_dec, b_dec, threshold = (by_name[name] for name in NAMES)
    skip = by_name[SKIP].T.contiguous() if SKIP in by_name else None
    return AffineSAE(
        W_enc.T, b_enc, W_dec, b_dec, JumpReLUCodes(threshold), centred=False, W_skip=skip, transcoder=transcoder,
        metadata=metadata or {},
    )  # fmt: skip
