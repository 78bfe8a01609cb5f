"""Gemma Scope, Gemma Scope 2 and Llama Scope: published JumpReLU autoencoders, for reading."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsecode.interop.foreign import get, read_json, read_npz, read_safetensors, take
from sparsecode.interop.record import AffineSAE, CannotExpressError, JumpReLU

__all__ = [
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


def read_gemma_scope(path: Path) -> AffineSAE:
    """`params.npz` with w_enc [d, m], w_dec [m, p], biases and thresholds; nothing is subtracted from the input.

    Source: Lieberum et al., "Gemma Scope", 2024, and its published files.
    """
    found = {name.lower(): value for name, value in read_npz(path / GEMMA).items()}
    if "embedding" in path.resolve().parts:
        raise CannotExpressError(
            f"{path}: made for token embeddings at a scale that the file does not name (readers differ in it); copy the file out of "
            "the folder `embedding` to read it for embeddings as they are"
        )
    return _jump_relu(found, path / GEMMA)


def read_gemma_scope_2(path: Path) -> AffineSAE:
    """`params.safetensors`, named as in Gemma Scope, perhaps with `affine_skip_connection` [d, p] of a transcoder.

    Raises ValueError for cross-layer transcoders, which write to several layers.
    """
    config = read_json(path / CONFIG) if (path / CONFIG).is_file() else {}
    if (kind := config.get("architecture", "jump_relu")) != "jump_relu":
        raise CannotExpressError(f"{path / CONFIG}: architecture {kind!r}; expected 'jump_relu'")
    found = read_safetensors(path / GEMMA_2)
    if "w_dec" in found and found["w_dec"].ndim == 3:
        raise CannotExpressError(
            f"{path / GEMMA_2}: a cross-layer transcoder with decoders to {found['w_dec'].shape[1]} layers; expected one decoder"
        )
    skip = found.pop("affine_skip_connection", None)
    transcoder = skip is not None or "affine_connection" in config or "hf_hook_point_out" in config
    sae = _jump_relu(found, path / GEMMA_2, transcoder)
    return sae if skip is None else replace(sae, W_skip=skip.to(sae.dtype).T.contiguous())


def read_llama_scope(path: Path) -> AffineSAE:
    """`checkpoints/final.safetensors` with weights [codes, inputs], and one threshold in `hyperparams.json`.

    Inputs are scaled by s = sqrt(d) / dataset_average_activation_norm; the threshold counts in pre-activations of unscaled
    inputs, that is s * threshold beside the scaled ones, and, with `sparsity_include_decoder_norm`, after multiplication by
    the norm of the atom. Source: He et al., "Llama Scope", 2024, and the authors' code.
    """
    config, file = read_json(path / LLAMA_CONFIG), path / LLAMA_CONFIG
    _refuse(config, file)
    found, biased = read_safetensors(path / LLAMA), bool(config.get("use_decoder_bias", True))
    W_enc, b_enc, W_dec, *bias = take(found, LLAMA_NAMES + ("decoder.bias",) * biased, path / LLAMA)
    d, atoms = W_enc.shape[1], W_dec.T
    scale_in = math.sqrt(d) / get(config, "dataset_average_activation_norm.in", float, file)
    scale_out = math.sqrt(d) / get(config, "dataset_average_activation_norm.out", float, file)
    threshold = torch.full_like(b_enc, scale_in * get(config, "jump_relu_threshold", float, file))
    if config.get("sparsity_include_decoder_norm", False):
        threshold = threshold / torch.linalg.vector_norm(atoms, dim=1)
    b_dec = bias[0] if biased else W_dec.new_zeros(len(W_dec))
    names = {"model_name": "meta-llama/Llama-3.1-8B", "hook_name": config.get("hook_point_in")}
    return AffineSAE(
        W_enc * scale_in,
        b_enc,
        atoms / scale_out,
        b_dec / scale_out,
        JumpReLU(threshold),
        centred=False,
        transcoder=config.get("hook_point_in") != config.get("hook_point_out"),
        metadata=names,
    )


def _refuse(config: dict[str, Any], file: Path) -> None:
    expected = {
        "act_fn": "jumprelu",
        "norm_activation": "dataset-wise",
        "use_glu_encoder": False,
        "apply_decoder_bias_to_pre_encoder": False,
    }
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise CannotExpressError(
                f"{file}: {key} is {config[key]!r}; expected {value!r}, as Llama Scope was published"
            )


def _jump_relu(found: dict[str, Tensor], file: Path, transcoder: bool = False) -> AffineSAE:
    W_enc, b_enc, W_dec, b_dec, threshold = take(found, NAMES, file)
    return AffineSAE(W_enc.T, b_enc, W_dec, b_dec, JumpReLU(threshold), centred=False, transcoder=transcoder)
