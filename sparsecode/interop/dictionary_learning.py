"""dictionary_learning: a folder with `ae.pt` (a state dict) and `config.json` that names one of seven classes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsecode.interop import formulas
from sparsecode.interop.affine_sae import (
    AffineSAE,
    CannotExpressError,
    GatedCodes,
    JumpReLUCodes,
    PlainRows,
    ReLUCodes,
    TopKCodes,
)
from sparsecode.interop.equivalence import Computed
from sparsecode.interop.folding import cast, centre, fold_decoder_norms, rescaled, uncentre, zero_bias
from sparsecode.interop.keys import BACKUP, DICTIONARY, DICTIONARY_BUFFER, DICTIONARY_TRAINER, check
from sparsecode.interop.readers import get, read_json, write_json
from sparsecode.interop.weights import load_torch, save_torch, take, unwrapped, whole

__all__ = ["computed", "matches", "note", "read", "write"]

CONFIG, WEIGHTS, NOTE = "config.json", "ae.pt", "conversion.json"
UNSET = -1.0  # the threshold before training has set it
LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight")
ROWS = ("W_enc", "b_enc", "W_dec", "b_dec")
Tensors = Mapping[str, Tensor]
# Names of the tensors of each class; its k and group sizes are whole numbers, and stand aside.
NAMES: dict[str, tuple[str, ...]] = {
    "AutoEncoder": (*LINEAR, "bias"),
    "AutoEncoderNew": (*LINEAR, "decoder.bias"),
    "GatedAutoEncoder": ("encoder.weight", "decoder.weight", "decoder_bias", "gate_bias", "mag_bias", "r_mag"),
    "JumpReluAutoEncoder": (*ROWS, "threshold"),
    "AutoEncoderTopK": (*LINEAR, "b_dec", "threshold"),
    "BatchTopKSAE": (*LINEAR, "b_dec", "threshold"),
    "MatryoshkaBatchTopKSAE": (*ROWS, "threshold"),
}


class DictionaryLearningFiles(NamedTuple):
    """Validated content of a folder: the class, its tensors, k and groups; a backup's factor; the origin."""

    name: str
    tensors: dict[str, Tensor]
    k: int | None
    groups: tuple[int, ...]
    factor: float
    transcoder: bool
    metadata: dict[str, Any]


def matches(path: Path) -> bool:
    """Whether this is a folder of dictionary_learning, or a checkpoint whose config stands one folder up."""
    weights, config = _files(path)
    if not (weights.is_file() and config.is_file()):
        return False
    try:
        return weights != path or "trainer" in read_json(config)
    except ValueError:
        return False


def read(path: Path, ignore: Collection[str] = ()) -> AffineSAE:
    """The autoencoder in a folder of dictionary_learning; a backup of training is unwrapped and brought to data units.

    Atoms of an AutoEncoder are scaled to norm 1, and its codes by the old norms, as its library's loader does. Raises ValueError for other
    classes, for a batch top-k whose threshold was never set, and where config and tensors contradict each other.
    """
    result = _opened(path, ignore)
    sae = READERS[result.name](result)
    sae = replace(cast(sae, sae.dtype), transcoder=result.transcoder, metadata=result.metadata)
    if result.name == "AutoEncoder":
        norms = torch.linalg.vector_norm(sae.W_dec, dim=1)
        sae = sae if torch.allclose(norms, torch.ones_like(norms)) else fold_decoder_norms(sae)
    return sae if result.factor == 1 else _in_data_units(sae, result.factor)


def computed(path: Path, ignore: Collection[str] = ()) -> Computed:
    """dictionary_learning's formula on the tensors as they stand in the file."""
    result = _opened(path, ignore)
    return formulas.dictionary_learning(result.name, result.tensors, result.k, result.factor)


def write(sae: AffineSAE, path: Path) -> None:
    """Write a folder that `dictionary_learning.utils.load_dictionary` opens.

    ReLU becomes an AutoEncoder if it is centred and its atoms have norm 1 (its loader normalises others, and with them
    the units of the codes), else an AutoEncoderNew; one threshold with a whole k a BatchTopKSAE, with groups a
    MatryoshkaBatchTopKSAE; other thresholds a JumpReluAutoEncoder. Centres are moved between biases as the class wants.
    """
    if not isinstance(sae.normaliser, PlainRows):
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
        **{theirs: sae.metadata[ours] for theirs, ours in ORIGIN.items() if ours in sae.metadata},
    }
    if "k" in tensors:
        trainer["k"] = int(tensors["k"])
    save_torch(path / WEIGHTS, {name: value.contiguous().clone() for name, value in tensors.items()})
    buffer = {"ctx_len": sae.metadata["context_size"]} if "context_size" in sae.metadata else {}
    write_json(path / CONFIG, {"trainer": trainer, "buffer": buffer})


def note(path: Path, proof: Mapping[str, Any]) -> Path:
    """Store the proof of a conversion in a separate file."""
    write_json(path / NOTE, proof)
    return path / NOTE


ORIGIN = {"lm_name": "model_name", "layer": "hook_layer", "submodule_name": "hook_name"}


def _files(path: Path) -> tuple[Path, Path]:
    """Weights and config: of a folder, or of a checkpoint, whose config stands one folder up."""
    if path.suffix == ".pt" and path.is_file():
        return path, path.absolute().parent.parent / CONFIG
    return path / WEIGHTS, path / CONFIG


def _opened(path: Path, ignore: Collection[str]) -> DictionaryLearningFiles:
    weights, file = _files(path)
    config = read_json(file)
    check(config, DICTIONARY, file, ignore)
    trainer, buffer = get(config, "trainer", dict, file), config.get("buffer") or {}
    check(trainer, DICTIONARY_TRAINER, file, ignore)
    check(buffer, DICTIONARY_BUFFER, file, ignore)
    name = get(config, "trainer.dict_class", str, file)
    result, factor = load_torch(weights), 1.0
    if "ae" in result:  # a backup: the model among the state of its training, for inputs divided by norm_factor
        check(result, BACKUP, weights, ignore)
        result, factor = result["ae"], float(result.get("norm_factor") or 1.0)
    result = unwrapped(result, weights)
    if name == "AutoEncoder" and "decoder.bias" in result:  # version 0.1.0 names this class for an AutoEncoderNew, too
        name = "AutoEncoderNew"
    k, groups = result.pop("k", None), result.pop("group_sizes", None)
    names = tuple(n for n in NAMES[name] if n != "threshold" or name == "JumpReluAutoEncoder" or n in result)
    tensors = take(result, names, weights)
    sizes = tensors["encoder.weight"].shape[::-1] if "encoder.weight" in tensors else tensors["W_enc"].shape
    for key, size in zip(("activation_dim", "dict_size"), sizes, strict=True):
        if key in trainer and get(trainer, key, int, file) != size:
            raise ValueError(
                f"{file}: {key} is {trainer[key]}, and {weights.name} has {size}; restore both from one copy"
            )
    ks = {*([] if k is None else whole(k, "k", weights)), *([get(trainer, "k", int, file)] if "k" in trainer else [])}
    sums = () if groups is None else tuple(whole(groups, "group_sizes", weights))
    if len(ks) > 1 or (
        sums and (min(sums) < 1 or sum(sums) != sizes[1] or trainer.get("group_sizes") not in (None, list(sums)))
    ):
        raise ValueError(
            f"{file}: does not fit {weights.name}, or that not its {sizes[1]} codes: k {sorted(ks)}, group_sizes {list(sums)} and "
            f"{trainer.get('group_sizes')}; restore both from one copy"
        )
    if "TopK" in name and not ks:
        raise ValueError(f"{file}: no k, neither there nor in {weights.name}; restore it from a copy")
    if name == "MatryoshkaBatchTopKSAE" and not sums:
        raise ValueError(f"{weights}: no group_sizes; restore it from a copy")
    if name in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        _check_threshold(tensors, weights)
    metadata = {ours: trainer[theirs] for theirs, ours in ORIGIN.items() if trainer.get(theirs) is not None}
    if "ctx_len" in buffer:
        metadata["context_size"] = buffer["ctx_len"]
    return DictionaryLearningFiles(
        name, tensors, next(iter(ks), None), sums, factor, buffer.get("io") == "in_and_out", metadata
    )


def _check_threshold(tensors: Tensors, file: Path) -> None:
    if "threshold" not in tensors:
        raise CannotExpressError(
            f"{file}: a batch top-k without a threshold, as it was stored before December 2024: its codes depend on the other rows of "
            "a batch; store a threshold, or set dict_class AutoEncoderTopK for k codes per row"
        )
    if float(tensors["threshold"]) < 0:
        raise ValueError(
            f"{file}: its batch top-k threshold was never set ({float(tensors['threshold']):g}), so that every positive activation "
            "would count as a code; train beyond threshold_start_step, or set dict_class AutoEncoderTopK for k codes per row"
        )


def _auto_encoder(files: DictionaryLearningFiles) -> AffineSAE:
    weight, b_enc, atoms, bias = files.tensors.values()
    return AffineSAE(weight, b_enc, atoms.T, bias, ReLUCodes(), centred=files.name == "AutoEncoder")


def _gated(files: DictionaryLearningFiles) -> AffineSAE:
    weight, atoms, bias, gate, mag, r_mag = files.tensors.values()
    return AffineSAE(weight, torch.zeros_like(gate), atoms.T, bias, GatedCodes(gate, mag, r_mag), centred=True)


def _jump_relu(files: DictionaryLearningFiles) -> AffineSAE:
    weight, b_enc, atoms, b_dec, threshold = files.tensors.values()
    return AffineSAE(weight.T, b_enc, atoms, b_dec, JumpReLUCodes(threshold), centred=False)


def _topk(files: DictionaryLearningFiles) -> AffineSAE:
    weight, b_enc, atoms, b_dec = (files.tensors[name] for name in (*LINEAR, "b_dec"))
    kept = float(files.tensors.get("threshold", torch.tensor(UNSET)))
    return AffineSAE(weight, b_enc, atoms.T, b_dec, TopKCodes(files.k or 0, None if kept < 0 else kept), centred=True)


def _batch_topk(files: DictionaryLearningFiles) -> AffineSAE:
    weight, b_enc, atoms, b_dec, threshold = files.tensors.values()
    activation = JumpReLUCodes(threshold.expand(len(b_enc)).clone(), files.k, files.groups)
    if files.name == "BatchTopKSAE":
        weight, atoms = weight.T, atoms.T
    return AffineSAE(weight.T, b_enc, atoms, b_dec, activation, centred=True)


READERS: dict[str, Callable[[DictionaryLearningFiles], AffineSAE]] = {
    "AutoEncoder": _auto_encoder,
    "AutoEncoderNew": _auto_encoder,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jump_relu,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _batch_topk,
}


def _in_data_units(sae: AffineSAE, factor: float) -> AffineSAE:
    """As the package does at the end of training: biases and thresholds times the factor, which scales the codes by it."""
    biases = {"b_enc": sae.b_enc * factor, "b_dec": sae.b_dec * factor}
    return replace(sae, **biases, activation=rescaled(sae.activation, torch.full_like(sae.b_enc, factor)))


def _state(sae: AffineSAE) -> tuple[str, dict[str, Tensor]]:
    """The class that computes this, and its state dict."""
    match sae.activation:
        case ReLUCodes():
            norms = torch.linalg.vector_norm(sae.W_dec, dim=1)
            if sae.centred and torch.allclose(norms, torch.ones_like(norms)):
                return "AutoEncoder", _columns(sae) | {"bias": sae.b_dec}
            plain = uncentre(sae)
            return "AutoEncoderNew", _columns(plain) | {"decoder.bias": plain.b_dec}
        case GatedCodes():
            gated = zero_bias(centre(sae))
            names = vars(gated.activation)
            weights = {"encoder.weight": gated.W_enc, "decoder.weight": gated.W_dec.T}
            return "GatedAutoEncoder", weights | {"decoder_bias": gated.b_dec} | names
        case TopKCodes(k, threshold):
            return "AutoEncoderTopK", _columns(centre(sae)) | {"b_dec": sae.b_dec} | _selection(k, threshold)
        case JumpReLUCodes(threshold, k, groups):
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
