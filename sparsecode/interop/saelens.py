"""SAELens, reading: a folder with `cfg.json` and `sae_weights.safetensors`; weights [inputs, codes]."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsecode.interop import formulas
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
from sparsecode.interop.equivalence import Computed
from sparsecode.interop.folding import cast, fold_affine, fold_decoder_norms, fold_scale
from sparsecode.interop.keys import ORIGIN, POSITIVE, SAELENS, SAELENS_SCALER, WHOLES, check
from sparsecode.interop.readers import get, read_json, shown
from sparsecode.interop.weights import read_safetensors, take, unwrapped

__all__ = ["CONFIG", "WEIGHTS", "SAELensFiles", "computed", "matches", "opened", "read"]

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
SCALER, WHITENING = "activation_scaler.json", "activation_whitening.safetensors"
LINEAR = ("W_enc", "b_enc", "W_dec", "b_dec")
SCALED = ("scaling_factor", "finetuning_scaling_factor")  # of codes before decoding, in versions before 6
Config = Mapping[str, Any]


class SAELensFiles(NamedTuple):
    """Validated content of a folder: its config as SAELens 6 writes it, its tensors, and the scaling of inputs."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    scale: float | None
    whitening: tuple[Tensor, ...]  # mean, matrix and its inverse, or nothing


def matches(path: Path) -> bool:
    """Whether this is a folder of SAELens."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def opened(path: Path, ignore: Collection[str] = ()) -> SAELensFiles:
    """Config and tensors of a folder: final model, training checkpoint, or of a version before 6.

    Raises CannotExpressError for keys and values that are not in `keys.SAELENS`, and ValueError where config and tensors
    contradict each other or the file does not say how inputs were scaled.
    """
    file, weights = path / CONFIG, path / WEIGHTS
    raw = read_json(file)
    check(raw, SAELENS, file, ignore)
    config = _up_to_date(raw, file)
    name, result = get(config, "architecture", str, file), unwrapped(read_safetensors(weights), weights)
    names = (*_names(name, "log_threshold" in result), *(key for key in SCALED if key in result))
    tensors = take(result, names, weights)
    if "log_threshold" in tensors:
        tensors["threshold"] = tensors.pop("log_threshold").double().exp()
    _check_scaling(tensors, config, file)
    sizes = {"d_in": tensors["W_enc"].shape[0], "d_sae": tensors["W_enc"].shape[1]}
    if "transcoder" in name:
        sizes["d_out"] = tensors["W_dec"].shape[1]
        if config.get("normalize_activations") != "none" or config.get("apply_b_dec_to_input", False):
            raise CannotExpressError(
                f"{file}: a transcoder that normalises activations or subtracts b_dec from its input; expected none and false"
            )
    for key, size in sizes.items():
        if (said := get(config, key, int, file)) != size:
            raise ValueError(f"{file}: {key} is {said}, and {WEIGHTS} has {size}; restore both from one copy")
    _groups(config, sizes["d_sae"], file)
    return SAELensFiles(config, tensors, *_scales(config, sizes["d_in"], path))


def read(path: Path, ignore: Collection[str] = ()) -> AffineSAE:
    """The autoencoder in a SAELens folder.

    Scales and whitening of activations, top-k by decoder norms, and factors between codes and decoder are folded into the
    weights. Raises ValueError as `opened`.
    """
    config, tensors, scale, whitening = opened(path, ignore)
    name, W_dec = config["architecture"], tensors["W_dec"]
    if (factor := next((tensors[key] for key in SCALED if key in tensors), None)) is not None:
        W_dec = W_dec * factor.unsqueeze(1)
    b_enc = tensors.get("b_enc", torch.zeros_like(W_dec[:, 0]))
    transcoder = "transcoder" in name
    sae = AffineSAE(
        tensors["W_enc"].T,
        b_enc,
        W_dec,
        tensors["b_dec"],
        _activation(config, tensors, path / CONFIG),
        centred=not transcoder and config.get("apply_b_dec_to_input", True),
        W_skip=tensors.get("W_skip"),
        transcoder=transcoder,
        metadata={key: value for key, value in config["metadata"].items() if key != "sparsecode"},
    )
    sae = cast(sae, sae.dtype)
    if config["rescale_acts_by_decoder_norm"]:
        sae = fold_decoder_norms(sae, ranked_by_norm=True)
    if "topk_threshold" in tensors:  # a checkpoint of training: one threshold, on codes in units of the folded ones
        k, groups = get(config, "k", float, path / CONFIG), _groups(config, sae.n_code, path / CONFIG)
        threshold = torch.full_like(sae.b_enc, float(tensors["topk_threshold"]))
        sae = replace(sae, activation=JumpReLUCodes(threshold, k, groups))
    if scale is not None:
        sae = fold_scale(sae, scale)
    if whitening:
        sae = fold_affine(sae, *whitening)
    normaliser = {"layer_norm": LayerNorm(), "constant_norm_rescale": RowNorm()}.get(
        config["normalize_activations"], PlainRows()
    )
    return replace(sae, normaliser=normaliser)


def computed(path: Path, ignore: Collection[str] = ()) -> Computed:
    """SAELens' formula on the tensors as they stand in the folder."""
    return formulas.saelens(*opened(path, ignore))


def _names(architecture: str, log: bool) -> tuple[str, ...]:
    """The tensors of an architecture; SAELens refuses files with more or fewer, as we do."""
    if architecture == "gated":
        return "W_enc", "W_dec", "b_dec", "b_gate", "b_mag", "r_mag"
    names = LINEAR
    if "jumprelu" in architecture:
        names += ("log_threshold" if log else "threshold",)
    elif "batchtopk" in architecture:
        names += ("topk_threshold",)
    return (*names, "W_skip") if "skip" in architecture else names


def _activation(config: Config, tensors: Mapping[str, Tensor], file: Path) -> Activation:
    name = config["architecture"]
    if name == "topk":
        return TopKCodes(get(config, "k", int, file))
    if name == "gated":
        return GatedCodes(tensors["b_gate"], tensors["b_mag"], tensors["r_mag"])
    if "jumprelu" in name:
        details = config["metadata"].get("training_architecture_details")
        details = details if isinstance(details, dict) else {}
        k: Any = details.get("k")
        groups = _groups(details, tensors["threshold"].numel(), file)
        return JumpReLUCodes(tensors["threshold"], float(k) if POSITIVE.allows(k) else None, groups)
    return ReLUCodes()


def _groups(config: Config, n_code: int, file: Path) -> tuple[int, ...]:
    """Sizes of the groups whose prefixes Matryoshka training reconstructs from; none without it."""
    widths = config.get("matryoshka_widths") or []
    if (
        not WHOLES.allows(widths)
        or any(b <= a for a, b in itertools.pairwise([0, *widths]))
        or max(widths, default=0) > n_code
    ):
        raise ValueError(
            f"{file}: matryoshka_widths is {shown(widths)}; expected growing whole numbers up to the {n_code} codes"
        )
    edges = sorted({0, *map(int, widths), n_code})
    return tuple(last - first for first, last in itertools.pairwise(edges)) if widths else ()


def _check_scaling(tensors: dict[str, Tensor], config: Config, file: Path) -> None:
    """Drop the decoder scales that old versions added to every file as ones; keep others if the config has them used."""
    for key in SCALED:
        if key in tensors and bool((tensors[key] == 1).all()):
            tensors.pop(key)
    result, said = [key for key in SCALED if key in tensors], config.get("finetuning_scaling_factor")
    if (result and (said is False or len(result) > 1)) or any(
        tensors[key].shape != tensors["W_dec"].shape[:1] for key in result
    ):
        raise CannotExpressError(
            f"{file}: finetuning_scaling_factor is {said}, and {WEIGHTS} has {', '.join(result)} that is not 1; expected true beside "
            "one factor for each code"
        )


def _scales(config: Config, d_in: int, path: Path) -> tuple[float | None, tuple[Tensor, ...]]:
    """The factor of inputs, or the tensors that whiten them, from the files beside the config."""
    scaler: Config = {}
    if (path / SCALER).is_file():
        check(scaler := read_json(path / SCALER), SAELENS_SCALER, path / SCALER)
    factor, scaling = scaler.get("scaling_factor"), config["normalize_activations"]
    if factor is not None and scaling != "expected_average_only_in":
        raise ValueError(
            f"{path / SCALER}: scaling_factor is {factor}, and {CONFIG} says normalize_activations {scaling!r}; expected null, or "
            "expected_average_only_in"
        )
    if scaling == "expected_average_only_in":
        if factor is None:
            raise ValueError(
                f"{path / CONFIG}: made for inputs of mean norm sqrt(d_in), and the factor to that scale is in no file. Give it, "
                f'sqrt(d_in) / mean norm of your activations, as {{"scaling_factor": ...}} in {path / SCALER}'
            )
        return float(factor), ()
    if scaling != "covariance_whitening":
        return None, ()
    if not (path / WHITENING).is_file() or scaler.get("has_whitening") is False:
        raise ValueError(
            f"{path / CONFIG}: made for whitened inputs, and {path / WHITENING} is not there or not said to be used by {SCALER}; "
            "copy both from the checkpoint"
        )
    result = take(read_safetensors(path / WHITENING), ("mean", "matrix", "inverse_matrix"), path / WHITENING)
    if [list(value.shape) for value in result.values()] != [[d_in], [d_in, d_in], [d_in, d_in]]:
        raise ValueError(
            f"{path / WHITENING}: shapes {', '.join(str(list(v.shape)) for v in result.values())}; expected a mean and two matrices of "
            f"{d_in} inputs"
        )
    return None, tuple(result.values())


RENAMED = {"hook_point": "hook_name", "hook_point_layer": "hook_layer", "hook_point_head_index": "hook_head_index"}


def _up_to_date(config: dict[str, Any], file: Path) -> dict[str, Any]:
    """A config of SAELens 6; before it there was one class, and its activation had a name."""
    metadata: dict[str, Any] = config.get("metadata") or {}
    version = config.get("sae_lens_version") or metadata.get("sae_lens_version") or "0"
    major = str(version).partition(".")[0]
    old = not (major.isdigit() and int(major) >= 6)
    results: dict[str, Any] = dict(config)
    for former, key in RENAMED.items():
        if former in results:
            results.setdefault(key, results.pop(former))
    if old:
        results = {"architecture": "standard", "prepend_bos": True, **results}
        if "hook_z" in str(results.get("hook_name")):
            results.setdefault("reshape_activations", "hook_z")
    said: list[Any] = [results[key] for key in ("activation_fn", "activation_fn_str") if results.get(key) is not None]
    ks: list[Any] = [
        k for k in (results.get("k"), (results.get("activation_fn_kwargs") or {}).get("k")) if k is not None
    ]
    name = str(results.get("architecture"))
    if "topk" in said and name == "standard":
        name = results["architecture"] = "topk"
    selects = "topk" in name or "jumprelu" in name  # batch top-k is exported as JumpReLU
    if (
        len(set(said)) > 1
        or len(set(ks)) > 1
        or (bool(ks) and not selects)
        or (bool(said) and ("topk" in said) != (name == "topk"))
    ):
        raise ValueError(
            f"{file}: contradicts itself: architecture {name!r}, activation_fn {' and '.join(said) or None}, k "
            f"{' and '.join(map(str, ks)) or None}; restore it from a copy"
        )
    results |= {"k": ks[0]} if ks else {}
    by_norm = results.setdefault("rescale_acts_by_decoder_norm", "batchtopk" in name)  # the defaults of the classes
    if by_norm and "topk" not in name:
        raise ValueError(
            f"{file}: rescale_acts_by_decoder_norm is true, and architecture {name!r} has no top-k; expected false"
        )
    scaling = results.get("normalize_activations")
    results["normalize_activations"] = "expected_average_only_in" if scaling is True else scaling or "none"
    reshape = results.get("reshape_activations") or "none"
    origin = {key: results[key] for key in sorted(ORIGIN) if results.get(key) is not None}
    if reshape != "none":
        origin["reshape_activations"] = reshape
    return {**results, "metadata": origin | metadata}
