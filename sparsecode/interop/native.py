"""Models of sparsecode as the library-independent record, and back."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from sparsecode.data.hook_points import lens_name
from sparsecode.data.import_paths import names_import_path
from sparsecode.data.language_models import architecture_of
from sparsecode.data.recorded_host import host_in
from sparsecode.data.shard_index import INDEX
from sparsecode.files import printable
from sparsecode.hub import place_name
from sparsecode.interop.affine_sae import AffineSAE, CannotExpressError, PlainRows
from sparsecode.interop.equivalence import CoderRecord, Computed
from sparsecode.interop.folding import cast, fold_affine, uncentre, zero_bias
from sparsecode.interop.native_activations import activation_of, kind_of, state_of
from sparsecode.interop.readers import read_json, write_json
from sparsecode.interop.sparse_coder import SparseCoderRecord, coder_of, model_of
from sparsecode.losses.task import Predict, Reconstruct
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_solver, one_layer
from sparsecode.models.iterative import IterativeModel
from sparsecode.models.storage import CONFIG, WEIGHTS, load_model, save_model
from sparsecode.nn import activations
from sparsecode.nn.affine import Affine, BiasedDictionary, BiasedDictionaryModule
from sparsecode.nn.constraints import Free
from sparsecode.nn.normalisers import NormaliserModule

__all__ = ["computed", "from_model", "matches", "model_folder", "note", "read", "to_model", "write"]

MODEL = "model"


def from_model(model: AbstractSparseModel) -> AffineSAE:
    """The record of a trained model on data, its normaliser folded into the weights (in float64).

    Raises CannotExpressError for codes computed by a solver or through several layers, for sigmoid and satlin codes, for crosscoders,
    and for outputs that are not linear.
    """
    layer = one_layer(model)
    if layer is None:
        raise CannotExpressError(
            f"{type(model).__name__.removesuffix('Model')}: its codes come from a solver or from several layers; only a single affine encoder "
            "has a place in other libraries' files. Train an Amortised model with an affine encoder, or write the codes "
            "themselves with sparsecode encode"
        )
    model, encoder = layer
    decoder, predict = model.decoder, model.predict
    if model.n_classes or not isinstance(decoder, BiasedDictionaryModule):
        raise CannotExpressError(
            "this model classifies, or decodes through hidden layers; other libraries' decoders are linear"
        )
    if model.n_sites > 1:
        raise CannotExpressError(
            f"this model is a crosscoder of {model.n_sites} sites; other libraries' files hold the dictionary of one. Its folder is "
            "model/ of the run, or write the codes themselves with sparsecode encode"
        )
    if decoder.spec.output != "linear":
        raise CannotExpressError(
            f"decoder.output is {decoder.spec.output!r}; other libraries' decoders are linear. Train with decoder.output linear"
        )
    if encoder.spec.cosine or encoder.spec.positive or model.projection is not None:
        raise CannotExpressError(
            "inputs are normalised, rectified or projected before the affine encoder; choose a plain one"
        )
    weight, bias, _ = encoder.map(decoder)
    weight, bias, atoms, out = (value.detach().cpu().clone() for value in (weight, bias, decoder.atoms, decoder.bias))
    skip = None if predict is None or predict.skip is None else predict.skip.detach().cpu().clone()
    sae = AffineSAE(
        weight,
        bias,
        atoms,
        out,
        activation_of(model),
        encoder.spec.centred,
        W_skip=skip,
        transcoder=predict is not None,
    )
    wide = torch.promote_types(weight.dtype, torch.float32)
    shift, matrix, inverse = _affine(model.normaliser)
    undone = shift
    if predict is not None:
        undone, _, inverse = _affine(predict.normaliser)
    units = (torch.equal(value, torch.eye(len(value), dtype=torch.float64)) for value in (matrix, inverse))
    if all(units) and not bool(shift.any() | undone.any()):
        return cast(sae, wide)
    return cast(fold_affine(cast(sae, torch.float64), shift, matrix, inverse, undone), wide)


@overload
def to_model(sae: AffineSAE) -> AmortisedModel: ...
@overload
def to_model(sae: SparseCoderRecord) -> IterativeModel: ...
def to_model(sae: CoderRecord) -> AmortisedModel | IterativeModel:
    """A model of ours that computes the same, for data as it is, with free atoms.

    A transcoder, or an autoencoder with a skip connection, becomes a model that predicts a target (`Predict`).
    Raises CannotExpressError for normalised rows, which our models do not have.
    """
    if isinstance(sae, SparseCoderRecord):
        return model_of(sae)
    if not isinstance(sae.normaliser, PlainRows):
        raise CannotExpressError(
            f"sparsecode has no normalisation of each row ({type(sae.normaliser).__name__}), only affine ones of all; choose --to "
            "saelens, or normalise the rows yourself and re-save the file without it"
        )
    predicts = not sae.reconstructs
    sae = zero_bias(uncentre(sae) if predicts else sae)
    kind = kind_of(sae.activation)
    spec = Amortised(
        n_code=sae.n_code,
        activation=kind,
        encoder=Affine(
            centred=sae.centred,
            bias=not isinstance(kind, activations.Gated),
            start="uniform" if predicts else "atoms",
        ),
        decoder=BiasedDictionary(constraint=Free(), bias="zero"),
        task=Predict(skip=sae.W_skip is not None) if predicts else Reconstruct(),
    )
    model = spec.build((sae.d_in,), 0, (sae.d_out,) if predicts else None)
    state: dict[str, Tensor] = {
        **model.state_dict(),
        "encoder.weight": sae.W_enc,
        "decoder.atoms": sae.W_dec,
        "decoder.bias": sae.b_dec,
        **{f"activation.{name}": value for name, value in state_of(sae.activation, kind).items()},
    }
    if sae.W_skip is not None:
        state["predict.skip"] = sae.W_skip
    if spec.encoder.bias:  # pyright: ignore[reportAttributeAccessIssue] - it is the Affine above
        state["encoder.bias"] = sae.b_enc
    for name, value in state.items():
        if "normaliser." in name:
            state[name] = value.to(sae.dtype)
    model.load_state_dict({name: value.clone().contiguous() for name, value in state.items()}, assign=True)
    return model.eval()


def matches(path: Path) -> bool:
    """Whether this is a run or a model of ours."""
    return model_folder(path) is not None


def read(path: Path, ignore: Collection[str] = ()) -> CoderRecord:
    """The best model of a run, or the model in a folder, with the origin that a conversion stored in it, or that the data of the run say."""
    folder, model = model_folder(path) or path, _loaded(path, ignore)
    sae = coder_of(model) if has_solver(model) else from_model(model)
    provenance = read_json(folder / CONFIG)["metadata"]["sparsecode"].get("provenance")
    origin: Any = provenance.get("origin") if isinstance(provenance, dict) else None
    known: dict[str, Any] = dict(origin) if isinstance(origin, dict) else _of_data(path)
    return replace(sae, metadata=known) if known else sae


def _of_data(run: Path) -> dict[str, Any]:
    """Network and hook points that the activations of a run are from, under SAELens's names, where its data say so."""
    if not (run / "config.json").is_file():
        return {}
    data = _record(run / "config.json").get("data")
    if not isinstance(data, dict):
        return {}
    if data.get("type") == "host":
        model = str(data.get("model"))
        name = model if names_import_path(model) else printable(place_name(model))
        about, points = {"model": name, "text": printable(place_name(str(data.get("text"))))}, data.get("hook_point")
        return _origin(about, model, points if isinstance(points, list) else [], data.get("target"))
    folder = data.get("path")
    if data.get("type") != "shards" or not isinstance(folder, str) or not (Path(folder) / INDEX).is_file():
        return {}
    about = _record(Path(folder) / INDEX).get("provenance")
    if not isinstance(about, dict):
        return {}
    points = data.get("sites") or str(about.get("hook_point", "")).split(", ")
    host = host_in(about)
    return _origin(about, None if host is None else host.model, points, data.get("target"))


def _record(file: Path) -> dict[str, Any]:
    spec = read_json(file).get("spec")
    return spec if isinstance(spec, dict) else {}


def _origin(about: dict[str, Any], model: str | None, points: list[str], target: str | None) -> dict[str, Any]:
    """The names of a network and of the hook points of one site and its target, as TransformerLens spells these where that is certain."""
    sites = [point for point in points if point != target]
    architecture = None if model is None else architecture_of(model)
    names = {"model_name": about.get("model"), "dataset_path": about.get("text")}
    for key, point in (("hook_name", sites[0] if len(sites) == 1 else None), ("hook_name_out", target)):
        lens = None if point is None else lens_name(point, architecture)
        names |= {key: lens or point, f"hf_{key}": None if lens in (None, point) else point}
    return {name: value for name, value in names.items() if value}


def computed(path: Path, ignore: Collection[str] = ()) -> Computed:
    """Codes and outputs of the model itself, in float64, for the proof of a conversion."""
    model = _loaded(path, ignore).double()
    if has_solver(model):
        return _of_both_parts(model)

    @torch.no_grad()
    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.reshape(-1, *model.shape)
        z = model.encode(x)
        return z, model.output(x, z).flatten(1)

    return run


def _of_both_parts(model: IterativeModel) -> Computed:
    """For rows of inputs and, beside them, codes z, all in model space: E(x), and D(E(x)) beside D(z); z for E(x) without an encoder."""

    @torch.no_grad()
    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        width = x.shape[1] - model.n_code
        z = x[:, width:]
        codes = z if model.encoder is None else model.encoder(x[:, :width])
        return codes, torch.cat([model.decoder.mean(codes), model.decoder.mean(z)], dim=1)

    return run


def write(sae: CoderRecord, path: Path) -> None:
    """Write a model folder for `sparsecode.models.storage.load_model`."""
    save_model(to_model(sae), path, {"origin": dict(sae.metadata)})


def note(path: Path, proof: Any) -> Path:
    """Store the proof of a conversion with the model's origin."""
    config = read_json(path / CONFIG)
    config["metadata"]["sparsecode"]["provenance"]["conversion"] = proof
    write_json(path / CONFIG, config)
    return path / CONFIG


def _loaded(path: Path, ignore: Collection[str]) -> AbstractSparseModel:
    if ignore:
        raise ValueError(f"ignore is {list(ignore)}; expected nothing: no key of a model of sparsecode can be left out")
    folder = model_folder(path)
    if folder is None:
        raise FileNotFoundError(f"{path}: neither a run nor a model of sparsecode")
    return load_model(folder)


def model_folder(path: Path) -> Path | None:
    """The folder of the model of ours at `path`: that of a run, or `path` itself; None for anything else."""
    for folder in (path, path / MODEL):
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            metadata = read_json(folder / CONFIG).get("metadata")
            stored = metadata.get("sparsecode") if isinstance(metadata, dict) else None
            if isinstance(stored, dict) and "spec" in stored:
                return folder
    return None


def _affine(normaliser: NormaliserModule) -> tuple[Tensor, Tensor, Tensor]:
    """Shift, matrix and inverse of a normaliser, (x - shift) matrix and y inverse + shift, in float64."""
    wide = copy.deepcopy(normaliser).cpu().double()
    unit = torch.eye(wide.shift.numel(), dtype=torch.float64)
    zero, shift = wide(unit[:1] * 0), wide.undo(unit[:1] * 0)
    return shift[0], wide(unit) - zero, wide.undo(unit) - shift
