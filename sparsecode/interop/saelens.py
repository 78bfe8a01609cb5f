"""SAELens 6: a folder with `cfg.json` and `sae_weights.safetensors`; weights [inputs, codes]."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsecode.interop.folding import (
    cast,
    fold_affine,
    fold_decoder_norms,
    fold_scale,
    uncentre,
    zero_bias,
)
from sparsecode.interop.foreign import get, read_json, read_safetensors, take, write_json, write_safetensors
from sparsecode.interop.record import (
    Activation,
    AffineSAE,
    CannotExpressError,
    Gated,
    JumpReLU,
    LayerNorm,
    Plain,
    ReLU,
    RowNorm,
    TopK,
)

__all__ = ["matches", "note", "read", "write"]

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
SCALER, WHITENING = "activation_scaler.json", "activation_whitening.safetensors"
WRITTEN_AS = "6.54.12"  # the version whose layout `write` keeps to
LINEAR = ("W_enc", "b_enc", "W_dec", "b_dec")
Config = Mapping[str, Any]
Tensors = dict[str, Tensor]


def matches(path: Path) -> bool:
    """Whether this is a folder of SAELens."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def read(path: Path) -> AffineSAE:
    """The autoencoder in a SAELens folder: final model, training checkpoint, or of a version before 6.

    Scales and whitening of activations, and top-k by decoder norms, are folded into the weights. Raises ValueError for
    architectures that are not an affine encoder with one of ReLU, top-k, JumpReLU or gate, and where the file does not
    say how inputs were scaled.
    """
    file = path / CONFIG
    config = _up_to_date(read_json(file))
    tensors = _without_unit_scales(read_safetensors(path / WEIGHTS), path / WEIGHTS)
    name = get(config, "architecture", str, file)
    if name not in READERS:
        raise CannotExpressError(
            f"{file}: architecture {name!r}; expected an affine encoder, one of {', '.join(READERS)}"
        )
    sae = READERS[name](tensors, config, path)
    declared = (get(config, "d_sae", int, file), get(config, "d_in", int, file))
    if declared != (sae.n_code, sae.d_in):
        raise ValueError(f"{file}: says {declared} codes and inputs; {WEIGHTS} has {(sae.n_code, sae.d_in)}")
    metadata = {key: value for key, value in config.get("metadata", {}).items() if key != "sparsecode"}
    if config.get("reshape_activations", "none") != "none":
        metadata["reshape_activations"] = config["reshape_activations"]
    return _normalised(replace(sae, metadata=metadata), config, path)


def write(sae: AffineSAE, path: Path) -> None:
    """Write a folder that `sae_lens.SAE.load_from_disk` opens.

    Raises CannotExpressError for transcoders and skip connections with anything but ReLU or JumpReLU.
    """
    name = NAMES[type(sae.activation)]
    if not sae.reconstructs:
        if name not in TRANSCODERS or not isinstance(sae.normaliser, Plain):
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
    if isinstance(sae.activation, TopK):
        config |= {"k": sae.activation.k, "rescale_acts_by_decoder_norm": False}
    trained = _training(sae.activation)
    config["metadata"] = {"sae_lens_training_version": None, **trained, **metadata, "sae_lens_version": WRITTEN_AS}
    sae = zero_bias(sae)
    write_safetensors(path / WEIGHTS, _tensors(sae))
    write_json(path / CONFIG, config)


def note(path: Path, proof: Config) -> Path:
    """Store what a conversion showed under metadata.sparsecode, which SAELens keeps."""
    config = read_json(path / CONFIG)
    config["metadata"]["sparsecode"] = {"conversion": proof}
    write_json(path / CONFIG, config)
    return path / CONFIG


NAMES: dict[type[Activation], str] = {ReLU: "standard", TopK: "topk", JumpReLU: "jumprelu", Gated: "gated"}
TRANSCODERS = {
    "standard": ("transcoder", "skip_transcoder"),
    "jumprelu": ("jumprelu_transcoder", "jumprelu_skip_transcoder"),
}
NORMALISERS = {Plain: "none", LayerNorm: "layer_norm", RowNorm: "constant_norm_rescale"}


def _tensors(sae: AffineSAE) -> Tensors:
    found = {"W_enc": sae.W_enc.T, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    if sae.W_skip is not None:
        found["W_skip"] = sae.W_skip
    match sae.activation:
        case Gated(gate_bias, mag_bias, r_mag):
            return found | {"b_gate": gate_bias, "b_mag": mag_bias, "r_mag": r_mag}
        case JumpReLU(threshold):
            return found | {"b_enc": sae.b_enc, "threshold": threshold}
        case _:
            return found | {"b_enc": sae.b_enc}


def _training(activation: Activation) -> dict[str, Any]:
    """What SAELens says of autoencoders that batch top-k has trained, where `_jumprelu` finds it."""
    if not isinstance(activation, JumpReLU) or activation.k is None:
        return {}
    widths = list(itertools.accumulate(activation.groups))
    name = "matryoshka_batchtopk" if widths else "batchtopk"
    details = {"k": activation.k, "matryoshka_widths": widths}
    return {"training_architecture": name, "training_architecture_details": details}


def _linear(tensors: Tensors, config: Config, path: Path, activation: Activation) -> AffineSAE:
    """The four tensors of `tensors` and an activation already read."""
    W_enc, b_enc, W_dec, b_dec = take(tensors, LINEAR, path / WEIGHTS)
    centred = bool(config.get("apply_b_dec_to_input", True))
    transcoder = "transcoder" in config["architecture"]
    sae = AffineSAE(W_enc.T, b_enc, W_dec, b_dec, activation, centred, transcoder=transcoder)
    return cast(sae, sae.dtype)


def _standard(tensors: Tensors, config: Config, path: Path) -> AffineSAE:
    return _linear(tensors, config, path, ReLU())


def _topk(tensors: Tensors, config: Config, path: Path) -> AffineSAE:
    sae = _linear(tensors, config, path, TopK(get(config, "k", int, path / CONFIG)))
    by_norm = bool(config.get("rescale_acts_by_decoder_norm", False))
    return fold_decoder_norms(sae, ranked_by_norm=True) if by_norm else sae


def _jumprelu(tensors: Tensors, config: Config, path: Path) -> AffineSAE:
    rest, log = dict(tensors), tensors.get("log_threshold")
    rest.pop("log_threshold", None)
    threshold = rest.pop("threshold", None) if log is None else log.double().exp()
    if threshold is None:
        raise ValueError(f"{path / WEIGHTS}: no threshold in it; expected {', '.join((*LINEAR, 'threshold'))}")
    details: dict[str, Any] = config["metadata"].get("training_architecture_details") or {}
    k = details.get("k")
    found = JumpReLU(threshold, k if isinstance(k, int | float) else None, _groups(details, threshold.numel()))
    return _linear(rest, config, path, found)


def _batch_topk(tensors: Tensors, config: Config, path: Path) -> AffineSAE:
    """A checkpoint of training: one threshold, on pre-activations times decoder norms if it rescales by them."""
    rest = dict(tensors)
    threshold = rest.pop("topk_threshold", None)
    if threshold is None:
        raise ValueError(
            f"{path / WEIGHTS}: no topk_threshold in it; expected {', '.join((*LINEAR, 'topk_threshold'))}"
        )
    k = get(config, "k", float, path / CONFIG)
    sae = _linear(rest, config, path, ReLU())
    if config.get("rescale_acts_by_decoder_norm", True):
        sae = fold_decoder_norms(sae)
    found = JumpReLU(torch.full_like(sae.b_enc, float(threshold)), k, _groups(config, sae.n_code))
    return replace(sae, activation=found)


def _groups(config: Config, n_code: int) -> tuple[int, ...]:
    """Sizes of the groups whose prefixes Matryoshka training reconstructs from; none without it."""
    widths: list[int] = config.get("matryoshka_widths") or []
    edges = sorted({0, *widths, n_code})
    return tuple(last - first for first, last in itertools.pairwise(edges)) if widths else ()


def _gated(tensors: Tensors, config: Config, path: Path) -> AffineSAE:
    names = ("W_enc", "W_dec", "b_dec", "b_gate", "b_mag", "r_mag")
    W_enc, W_dec, b_dec, gate, mag, r_mag = take(tensors, names, path / WEIGHTS)
    centred = bool(config.get("apply_b_dec_to_input", True))
    return AffineSAE(W_enc.T, torch.zeros_like(gate), W_dec, b_dec, Gated(gate, mag, r_mag), centred)


def _transcoder(inner: Callable[[Tensors, Config, Path], AffineSAE]) -> Callable[[Tensors, Config, Path], AffineSAE]:
    def read_transcoder(tensors: Tensors, config: Config, path: Path) -> AffineSAE:
        if config.get("normalize_activations") not in (None, "none"):
            raise CannotExpressError(f"{path / CONFIG}: a transcoder that normalises activations; expected none")
        rest = dict(tensors)
        skip = rest.pop("W_skip", None)
        sae = inner(rest, {**config, "apply_b_dec_to_input": False}, path)
        return sae if skip is None else replace(sae, W_skip=skip.to(sae.dtype))

    return read_transcoder


READERS: dict[str, Callable[[Tensors, Config, Path], AffineSAE]] = {
    "standard": _standard,
    "topk": _topk,
    "jumprelu": _jumprelu,
    "gated": _gated,
    "batchtopk": _batch_topk,
    "matryoshka_batchtopk": _batch_topk,
    "transcoder": _transcoder(_standard),
    "skip_transcoder": _transcoder(_standard),
    "jumprelu_transcoder": _transcoder(_jumprelu),
    "jumprelu_skip_transcoder": _transcoder(_jumprelu),
}


def _normalised(sae: AffineSAE, config: Config, path: Path) -> AffineSAE:
    """With what the config says about the scale of inputs."""
    how = config.get("normalize_activations") or "none"
    if how not in NORMALISATIONS:
        raise ValueError(f"{path / CONFIG}: normalize_activations {how!r}; expected {', '.join(NORMALISATIONS)}")
    return NORMALISATIONS[how](sae, path)


def _scaled(sae: AffineSAE, path: Path) -> AffineSAE:
    factor = read_json(path / SCALER).get("scaling_factor") if (path / SCALER).is_file() else None
    if not isinstance(factor, int | float) or not factor > 0:
        raise ValueError(
            f"{path / CONFIG}: made for inputs of mean norm sqrt(d_in), and the factor to that scale is in no file. Give it, "
            f'sqrt(d_in) / mean norm of your activations, as {{"scaling_factor": ...}} in {path / SCALER}'
        )
    return fold_scale(sae, float(factor))


def _whitened(sae: AffineSAE, path: Path) -> AffineSAE:
    if not (path / WHITENING).is_file():
        raise ValueError(
            f"{path / CONFIG}: made for whitened inputs, and {path / WHITENING} is not there; copy it from the checkpoint"
        )
    tensors = read_safetensors(path / WHITENING)
    return fold_affine(sae, *take(tensors, ("mean", "matrix", "inverse_matrix"), path / WHITENING))


NORMALISATIONS: dict[str, Callable[[AffineSAE, Path], AffineSAE]] = {
    "none": lambda sae, _: sae,
    "expected_average_only_in": _scaled,
    "covariance_whitening": _whitened,
    "layer_norm": lambda sae, _: replace(sae, normaliser=LayerNorm()),
    "constant_norm_rescale": lambda sae, _: replace(sae, normaliser=RowNorm()),
}


def _without_unit_scales(tensors: Tensors, file: Path) -> Tensors:
    """Without the decoder scales that old versions added to every file, mostly as ones."""
    found = dict(tensors)
    scale = found.pop("scaling_factor", None)
    if scale is not None and not bool((scale == 1).all()):
        raise CannotExpressError(
            f"{file}: codes are scaled after decoding was tuned (scaling_factor); re-save it without"
        )
    return found


def _up_to_date(config: dict[str, Any]) -> dict[str, Any]:
    """A config of SAELens 6; before it there was one class, and its activation had a name."""
    metadata: dict[str, Any] = config.get("metadata") or {}
    version = config.get("sae_lens_version") or metadata.get("sae_lens_version") or "0"
    major = str(version).partition(".")[0]
    if major.isdigit() and int(major) >= 6:
        return {**config, "metadata": metadata}
    found: dict[str, Any] = {"architecture": "standard", **config}
    kwargs = found.get("activation_fn_kwargs") or {}
    if (found.get("activation_fn") or found.get("activation_fn_str") or "relu") == "topk":
        found |= {"architecture": "topk", "k": kwargs.get("k")}
    if isinstance(found.get("normalize_activations"), bool):
        found["normalize_activations"] = "expected_average_only_in" if found["normalize_activations"] else "none"
    hook = found.get("hook_name") or found.get("hook_point")
    if "hook_z" in str(hook):
        found.setdefault("reshape_activations", "hook_z")
    origin = {"model_name": found.get("model_name"), "hook_name": hook}
    return {**found, "metadata": {key: value for key, value in origin.items() if value is not None}}
