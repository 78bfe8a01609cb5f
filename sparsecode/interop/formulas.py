"""The formulas of each library, stated directly on the tensors of its files; readers are checked against them.

Each function takes the tensors in the layout of the file and returns inputs -> (codes, outputs), in float64. Nothing here
uses the record or the foldings, so that a conversion compares two statements and not a reading with itself. The formulas
themselves are checked against the numbers of the libraries (tests/interop/fixtures). Sources: the `encode` and `decode` of
sae_lens.saes, dictionary_learning.dictionary, sparsify.SparseCoder, sparse_autoencoder.model; for the published suites the
authors' descriptions and SAELens' loaders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["dictionary_learning", "evtimova", "gemma_scope", "llama_scope", "openai", "saelens", "sparsify"]

Formula = Callable[[Tensor], tuple[Tensor, Tensor]]
Tensors = Mapping[str, Tensor]


def saelens(config: Mapping[str, Any], tensors: Tensors, scale: float | None, whitening: tuple[Tensor, ...]) -> Formula:
    """SAELens: activation scaler, normalisation of rows, subtraction of b_dec, activation, decoder, and all that undone."""
    t, name = _double(tensors), config["architecture"]
    mean, matrix, inverse = (value.double() for value in whitening) if whitening else (None, None, None)
    norms = t["W_dec"].norm(dim=-1) if config["rescale_acts_by_decoder_norm"] else torch.ones(len(t["W_dec"])).double()
    factor = next((t[key] for key in ("scaling_factor", "finetuning_scaling_factor") if key in t), 1.0)
    scaling = config["normalize_activations"]

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        rows = x if scale is None else x * scale
        if mean is not None and matrix is not None:
            rows = (rows - mean) @ matrix
        mu = deviation = length = None
        if scaling == "layer_norm":
            mu, deviation = rows.mean(dim=-1, keepdim=True), rows.std(dim=-1, keepdim=True)
            rows = (rows - mu) / (deviation + 1e-5)
        if scaling == "constant_norm_rescale":
            length = math.sqrt(x.shape[1]) / rows.norm(dim=-1, keepdim=True)
            rows = rows * length
        if "transcoder" not in name and config.get("apply_b_dec_to_input", True):
            rows = rows - t["b_dec"]
        if name == "gated":
            gate = rows @ t["W_enc"] + t["b_gate"] > 0
            codes = gate * torch.relu(rows @ (t["W_enc"] * t["r_mag"].exp()) + t["b_mag"])
        else:
            pre = (rows @ t["W_enc"] + t["b_enc"]) * norms
            codes = torch.relu(pre)
            if name == "topk":
                codes = _top(codes, int(config["k"]))
            elif "topk_threshold" in t:
                codes = codes * (pre > t["topk_threshold"])
            elif "threshold" in t:
                codes = codes * (pre > t["threshold"])
        out = (codes / norms * factor) @ t["W_dec"] + t["b_dec"]
        if mu is not None and deviation is not None:
            out = out * deviation + mu
        if length is not None:
            out = out / length
        if mean is not None and inverse is not None:
            out = out @ inverse + mean
        out = out if scale is None else out / scale
        return codes, out + x @ t["W_skip"].T if "W_skip" in t else out

    return run


def dictionary_learning(name: str, tensors: Tensors, k: int | None, factor: float) -> Formula:
    """dictionary_learning: each class's `encode` and `decode`; a backup's biases and thresholds times its norm_factor.

    `AutoEncoder.from_pretrained` divides atoms by their norms first, and multiplies the encoder's rows and bias by them.
    """
    t = _double(tensors)
    for key in set(t) & {
        "encoder.bias",
        "bias",
        "decoder.bias",
        "b_enc",
        "b_dec",
        "threshold",
        "decoder_bias",
        "gate_bias",
        "mag_bias",
    }:
        t[key] = t[key] * factor
    weight = t["encoder.weight"].T if "encoder.weight" in t else t["W_enc"]
    atoms = t["decoder.weight"].T if "decoder.weight" in t else t["W_dec"]
    bias = t.get("encoder.bias", t.get("b_enc", torch.zeros(len(atoms)).double()))
    shift = next(t[key] for key in ("bias", "decoder.bias", "decoder_bias", "b_dec") if key in t)
    if name == "AutoEncoder" and "bias" in t:
        norms = atoms.norm(dim=1)
        if not torch.allclose(norms.float(), torch.ones(len(atoms))):
            atoms, weight, bias = atoms / norms.unsqueeze(1), weight * norms, bias * norms
    centred = name != "JumpReluAutoEncoder" and "decoder.bias" not in t

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        pre = (x - shift if centred else x) @ weight + bias
        codes = torch.relu(pre)
        if name == "GatedAutoEncoder":
            codes = (pre + t["gate_bias"] > 0) * torch.relu(t["r_mag"].exp() * pre + t["mag_bias"])
        elif name == "AutoEncoderTopK":
            codes = _top(codes, k or 1)
        elif "threshold" in t:
            codes = codes * (pre > t["threshold"])
        return codes, codes @ atoms + shift

    return run


def sparsify(tensors: Tensors, k: int, transcode: bool) -> Formula:
    """sparsify: ReLU, then top-k; b_dec is subtracted from the input unless it transcodes."""
    t = _double(tensors)

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        codes = _top(torch.relu((x if transcode else x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"]), k)
        out = codes @ t["W_dec"] + t["b_dec"]
        return codes, out + x @ t["W_skip"].T if "W_skip" in t else out

    return run


def openai(tensors: Tensors, k: int | None) -> Formula:
    """openai/sparse_autoencoder: ReLU; or, with k, rows normalised to mean 0 and standard deviation 1, top-k, and that undone."""
    t = _double(tensors)

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        mu, deviation = x.mean(dim=-1, keepdim=True), (x - x.mean(dim=-1, keepdim=True)).std(dim=-1, keepdim=True)
        rows = x if k is None else (x - mu) / (deviation + 1e-5)
        codes = torch.relu((rows - t["pre_bias"]) @ t["encoder.weight"].T + t["latent_bias"])
        codes = codes if k is None else _top(codes, k)
        out = codes @ t["decoder.weight"].T + t["pre_bias"]
        return codes, out if k is None else out * deviation + mu

    return run


def gemma_scope(tensors: Tensors) -> Formula:
    """Gemma Scope 1 and 2: JumpReLU of x w_enc + b_enc, nothing subtracted; perhaps an affine skip connection."""
    t = _double(tensors)

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        pre = x @ t["w_enc"] + t["b_enc"]
        codes = torch.relu(pre) * (pre > t["threshold"])
        out = codes @ t["w_dec"] + t["b_dec"]
        return codes, out + x @ t["affine_skip_connection"] if "affine_skip_connection" in t else out

    return run


def llama_scope(config: Mapping[str, Any], tensors: Tensors) -> Formula:
    """Llama Scope: inputs scaled to mean norm sqrt(d); the threshold counts for unscaled inputs, times norms of atoms if so said."""
    t, averages = _double(tensors), config["dataset_average_activation_norm"]
    scale_in, scale_out = (math.sqrt(t["encoder.weight"].shape[1]) / float(averages[key]) for key in ("in", "out"))
    by_norm = config["sparsity_include_decoder_norm"]
    norms = t["decoder.weight"].norm(dim=0) if by_norm else torch.ones(len(t["encoder.weight"])).double()

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        pre = (x * scale_in) @ t["encoder.weight"].T + t["encoder.bias"]
        codes = torch.relu(pre) * (pre / scale_in * norms > config["jump_relu_threshold"])
        return codes, (codes @ t["decoder.weight"].T + t.get("decoder.bias", 0.0)) / scale_out

    return run


def evtimova(decoder: Tensors, encoder: Tensors, n_iter: int) -> Formula:
    """Evtimova & LeCun: LISTA with n_iter + 1 rectifications, and a decoder of one layer or two.

    Rows are inputs and, beside them, codes z. Codes are E(x), or z without an encoder; outputs D(E(x)) and, beside it, D(z).
    """
    d, e = _double(decoder), _double(encoder)

    def decoded(z: Tensor) -> Tensor:
        if "decoder.weight" in d:
            return z @ d["decoder.weight"].T
        return torch.relu(z @ d["layer1.weight"].T + d["layer1.bias"]) @ d["layer2.weight"].T

    width = (d["decoder.weight"] if "decoder.weight" in d else d["layer2.weight"]).shape[0]

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        given = x[:, width:]
        if not e:
            return given, torch.cat([decoded(given)] * 2, dim=1)
        drive = x[:, :width] @ e["W.weight"].T + e["W.bias"]
        codes = torch.relu(drive)
        for _ in range(n_iter):
            codes = torch.relu(drive + codes @ e["S.weight"].T)
        return codes, torch.cat([decoded(codes), decoded(given)], dim=1)

    return run


def _double(tensors: Tensors) -> dict[str, Tensor]:
    return {name: value.double() for name, value in tensors.items()}


def _top(codes: Tensor, k: int) -> Tensor:
    best = codes.topk(k, dim=-1)
    return torch.zeros_like(codes).scatter(-1, best.indices, best.values)
