"""dictionary_learning: a folder with `ae.pt` (a state dict) and `config.json` that names one of seven classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsecode.interop.folding import cast, centre, rescaled, uncentre, zero_bias
from sparsecode.interop.foreign import get, load_torch, read_json, save_torch, take, write_json
from sparsecode.interop.record import AffineSAE, CannotExpressError, Gated, JumpReLU, Plain, ReLU, TopK

__all__ = ["matches", "note", "read", "write"]

CONFIG, WEIGHTS, NOTE = "config.json", "ae.pt", "conversion.json"
UNSET = -1.0  # the threshold before training has set it
LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight")
ROWS = ("W_enc", "b_enc", "W_dec", "b_dec")
Tensors = Mapping[str, Any]


def matches(path: Path) -> bool:
    """Whether this is a folder of dictionary_learning, or one of the .pt files in its folder `checkpoints`."""
    weights, config = _files(path)
    return weights.is_file() and config.is_file()


def read(path: Path) -> AffineSAE:
    """The autoencoder in a folder of dictionary_learning; a backup of training is unwrapped and brought to data units.

    Raises ValueError for other classes, and for a batch top-k whose threshold was never set.
    """
    weights, file = _files(path)
    config = read_json(file)
    name = get(config, "trainer.dict_class", str, file)
    if name not in READERS:
        raise CannotExpressError(f"{file}: dict_class {name!r}; expected one of {', '.join(READERS)}")
    found = load_torch(weights)
    factor = None
    if "ae" in found:  # a backup: the model among the state of its training, for inputs divided by norm_factor
        factor, found = found.get("norm_factor"), found["ae"]
    sae = READERS[name](found, weights)
    trainer = config["trainer"]
    metadata = {key: trainer[old] for key, old in ORIGIN.items() if trainer.get(old) is not None}
    sae = replace(cast(sae, sae.dtype), metadata=metadata)
    return sae if factor is None else _in_data_units(sae, float(factor))


def write(sae: AffineSAE, path: Path) -> None:
    """Write a folder that `dictionary_learning.utils.load_dictionary` opens.

    ReLU becomes an AutoEncoder if it is centred and its atoms have norm 1 (its loader normalises others, and with them
    the units of the codes), else an AutoEncoderNew; one threshold with a whole k a BatchTopKSAE, with groups a
    MatryoshkaBatchTopKSAE; other thresholds a JumpReluAutoEncoder. Centres are moved between biases as the class wants.
    """
    if not isinstance(sae.normaliser, Plain):
        raise CannotExpressError(
            "dictionary_learning has no class that normalises rows of its input; choose --to saelens, or openai for top-k"
        )
    if not sae.reconstructs:
        raise CannotExpressError(
            "dictionary_learning has no transcoder and no skip connection among its seven classes; choose --to sparsify or saelens"
        )
    name, tensors = _state(sae)
    trainer: dict[str, Any] = {
        "dict_class": name,
        "activation_dim": sae.d_in,
        "dict_size": sae.n_code,
        **{old: sae.metadata[key] for key, old in ORIGIN.items() if key in sae.metadata},
    }
    if "k" in tensors:
        trainer["k"] = int(tensors["k"])
    save_torch(path / WEIGHTS, {name: value.contiguous().clone() for name, value in tensors.items()})
    write_json(path / CONFIG, {"trainer": trainer, "buffer": {}})


def note(path: Path, proof: Mapping[str, Any]) -> Path:
    """Store what a conversion showed in a file of its own."""
    write_json(path / NOTE, proof)
    return path / NOTE


ORIGIN = {"model_name": "lm_name", "layer": "layer", "hook_name": "submodule_name"}


def _files(path: Path) -> tuple[Path, Path]:
    """Weights and config: of a folder, or of a checkpoint, whose config stands one folder up."""
    if path.suffix == ".pt" and path.is_file():
        return path, path.parent.parent / CONFIG
    return path / WEIGHTS, path / CONFIG


def _auto_encoder(found: Tensors, file: Path) -> AffineSAE:
    if "decoder.bias" in found:  # version 0.1.0 names this class for an AutoEncoderNew, too
        return _auto_encoder_new(found, file)
    W_enc, b_enc, W_dec, bias = take(found, (*LINEAR, "bias"), file)
    return AffineSAE(W_enc, b_enc, W_dec.T, bias, ReLU(), centred=True)


def _auto_encoder_new(found: Tensors, file: Path) -> AffineSAE:
    W_enc, b_enc, W_dec, bias = take(found, (*LINEAR, "decoder.bias"), file)
    return AffineSAE(W_enc, b_enc, W_dec.T, bias, ReLU(), centred=False)


def _gated(found: Tensors, file: Path) -> AffineSAE:
    names = ("encoder.weight", "decoder.weight", "decoder_bias", "gate_bias", "mag_bias", "r_mag")
    W_enc, W_dec, bias, gate, mag, r_mag = take(found, names, file)
    return AffineSAE(W_enc, torch.zeros_like(gate), W_dec.T, bias, Gated(gate, mag, r_mag), centred=True)


def _jump_relu(found: Tensors, file: Path) -> AffineSAE:
    W_enc, b_enc, W_dec, b_dec, threshold = take(found, (*ROWS, "threshold"), file)
    return AffineSAE(W_enc.T, b_enc, W_dec, b_dec, JumpReLU(threshold), centred=False)


def _topk(found: Tensors, file: Path) -> AffineSAE:
    W_enc, b_enc, W_dec, b_dec, k, threshold = take(found, (*LINEAR, "b_dec", "k", "threshold"), file)
    kept = float(threshold)
    activation = TopK(int(k), None if kept < 0 else kept)
    return AffineSAE(W_enc, b_enc, W_dec.T, b_dec, activation, centred=True)


def _batch_topk(found: Tensors, file: Path) -> AffineSAE:
    W_enc, b_enc, W_dec, b_dec, k, threshold = take(found, (*LINEAR, "b_dec", "k", "threshold"), file)
    activation = JumpReLU(_set(threshold, W_enc.shape[0], file), int(k))
    return AffineSAE(W_enc, b_enc, W_dec.T, b_dec, activation, centred=True)


def _matryoshka(found: Tensors, file: Path) -> AffineSAE:
    names = (*ROWS, "k", "threshold", "group_sizes")
    W_enc, b_enc, W_dec, b_dec, k, threshold, groups = take(found, names, file)
    sizes = tuple(int(size) for size in groups)
    activation = JumpReLU(_set(threshold, W_enc.shape[1], file), int(k), sizes)
    return AffineSAE(W_enc.T, b_enc, W_dec, b_dec, activation, centred=True)


READERS: dict[str, Callable[[Tensors, Path], AffineSAE]] = {
    "AutoEncoder": _auto_encoder,
    "AutoEncoderNew": _auto_encoder_new,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jump_relu,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
}


def _set(threshold: Tensor, n_code: int, file: Path) -> Tensor:
    if float(threshold) < 0:
        raise ValueError(
            f"{file}: its batch top-k threshold was never set ({float(threshold):g}), so that every positive activation would "
            "count as a code; train beyond threshold_start_step, or say dict_class AutoEncoderTopK for k codes per row"
        )
    return threshold.expand(n_code).clone()


def _in_data_units(sae: AffineSAE, factor: float) -> AffineSAE:
    """As the package does at the end of training: biases and thresholds times the factor, and so codes, too."""
    biases = {"b_enc": sae.b_enc * factor, "b_dec": sae.b_dec * factor}
    return replace(sae, **biases, activation=rescaled(sae.activation, torch.full_like(sae.b_enc, factor)))


def _state(sae: AffineSAE) -> tuple[str, dict[str, Tensor]]:
    """The class that computes this, and its state dict."""
    match sae.activation:
        case ReLU():
            norms = torch.linalg.vector_norm(sae.W_dec, dim=1)
            if sae.centred and torch.allclose(norms, torch.ones_like(norms)):
                return "AutoEncoder", _columns(sae) | {"bias": sae.b_dec}
            plain = uncentre(sae)
            return "AutoEncoderNew", _columns(plain) | {"decoder.bias": plain.b_dec}
        case Gated():
            gated = zero_bias(centre(sae))
            names = vars(gated.activation)
            weights = {"encoder.weight": gated.W_enc, "decoder.weight": gated.W_dec.T}
            return "GatedAutoEncoder", weights | {"decoder_bias": gated.b_dec} | names
        case TopK(k, threshold):
            return "AutoEncoderTopK", _columns(centre(sae)) | {"b_dec": sae.b_dec} | _selection(k, threshold)
        case JumpReLU(threshold, k, groups):
            return _thresholded(sae, threshold, k, groups)


def _thresholded(
    sae: AffineSAE, threshold: Tensor, k: float | None, groups: tuple[int, ...]
) -> tuple[str, dict[str, Tensor]]:
    one = threshold[0]
    kept = one.to(torch.float32)  # what the two classes with a single threshold store
    if k is None or k != int(k) or one < 0 or not bool((threshold == kept).all()):
        return "JumpReluAutoEncoder", _rows(uncentre(sae)) | {"threshold": threshold}
    centred, selection = centre(sae), _selection(int(k), float(kept))
    if groups:
        return "MatryoshkaBatchTopKSAE", _rows(centred) | selection | {"group_sizes": torch.tensor(groups)}
    return "BatchTopKSAE", _columns(centred) | {"b_dec": centred.b_dec} | selection


def _columns(sae: AffineSAE) -> dict[str, Tensor]:
    return {"encoder.weight": sae.W_enc, "encoder.bias": sae.b_enc, "decoder.weight": sae.W_dec.T}


def _rows(sae: AffineSAE) -> dict[str, Tensor]:
    return {"W_enc": sae.W_enc.T, "b_enc": sae.b_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}


def _selection(k: int, threshold: float | None) -> dict[str, Tensor]:
    kept = UNSET if threshold is None else threshold
    return {"k": torch.tensor(k, dtype=torch.int), "threshold": torch.tensor(kept, dtype=torch.float32)}
