"""Which formats there are, and which one a path is in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from sparsecode.interop import dictionary_learning, native, openai, saelens, saelens_writing, scopes, sparsify
from sparsecode.interop.folding import cast
from sparsecode.interop.proof import Computed, Proof, compare
from sparsecode.interop.record import AffineSAE
from sparsecode.version import __version__

__all__ = ["FORMATS", "Converted", "Format", "Writer", "convert", "detect", "locate", "read", "write"]


class Writer(NamedTuple):
    """How a format is written, and where the proof of a conversion goes."""

    write: Callable[[AffineSAE, Path], None]
    note: Callable[[Path, Mapping[str, Any]], Path]


class Format(NamedTuple):
    """How a format is told from others by what is there, and how it is read; some are only read.

    `read` and `computed` take the path and the names of unknown config keys to ignore. `computed` is what the format's own
    formula gives (for models of ours, the model itself), stated without the record: conversions are checked by it. `files`
    are those whose paths stand for the folder, as seen from it.
    """

    matches: Callable[[Path], bool]
    read: Callable[[Path, Collection[str]], AffineSAE]
    computed: Callable[[Path, Collection[str]], Computed]
    layout: str
    files: tuple[str, ...] = ()
    writer: Writer | None = None


class Converted(NamedTuple):
    """What `convert` read, in which format, what it wrote, how far apart they are, and the file that says so."""

    format: str
    source: AffineSAE
    written: AffineSAE
    proof: Proof
    noted: Path


# Of the largest code: what the rounding of folded weights stays below. Half precisions round weights as they do.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4}
FLIPS = 1e-3  # of active codes: what rounding may move over a threshold, or exchange in a tie of top-k

# The order matters: our own models have the file names of SAELens.
FORMATS: dict[str, Format] = {
    "sparsecode": Format(
        native.matches,
        native.read,
        native.computed,
        "a run, or a folder with cfg.json and sae_weights.safetensors of ours",
        ("cfg.json", "sae_weights.safetensors", "model/cfg.json", "model/sae_weights.safetensors"),
        Writer(native.write, native.note),
    ),
    "saelens": Format(
        saelens.matches,
        saelens.read,
        saelens.computed,
        "a folder with cfg.json and sae_weights.safetensors",
        ("cfg.json", "sae_weights.safetensors"),
        Writer(saelens_writing.write, saelens_writing.note),
    ),
    "dictionary_learning": Format(
        dictionary_learning.matches,
        dictionary_learning.read,
        dictionary_learning.computed,
        "a folder with config.json and ae.pt, or a checkpoint in it",
        ("ae.pt", "config.json"),
        Writer(dictionary_learning.write, dictionary_learning.note),
    ),
    "sparsify": Format(
        sparsify.matches,
        sparsify.read,
        sparsify.computed,
        "a hookpoint's folder with cfg.json and sae.safetensors",
        ("cfg.json", "sae.safetensors"),
        Writer(sparsify.write, sparsify.note),
    ),
    "openai": Format(openai.matches, openai.read, openai.computed, "a .pt file", (), Writer(openai.write, openai.note)),
    "gemma_scope": Format(
        scopes.matches_gemma_scope,
        scopes.read_gemma_scope,
        scopes.computed_gemma_scope,
        "a folder with params.npz",
        ("params.npz",),
    ),
    "gemma_scope_2": Format(
        scopes.matches_gemma_scope_2,
        scopes.read_gemma_scope_2,
        scopes.computed_gemma_scope_2,
        "a folder with params.safetensors",
        ("params.safetensors", "config.json"),
    ),
    "llama_scope": Format(
        scopes.matches_llama_scope,
        scopes.read_llama_scope,
        scopes.computed_llama_scope,
        "a folder with hyperparams.json and checkpoints/final.safetensors",
        ("hyperparams.json", "checkpoints/final.safetensors"),
    ),
}


def detect(path: str | Path) -> str:
    """The name of the format, from the files that are there. Errors as `locate`."""
    return locate(path)[0]


def locate(path: str | Path) -> tuple[str, Path]:
    """The name of the format at `path`, and the folder or file that its reader takes: a file in a folder stands for it.

    Raises FileNotFoundError if nothing is there, ValueError if it is in none of `FORMATS` or in several at once, naming what
    was found.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    found: list[tuple[str, Path]] = []
    for name, format_ in FORMATS.items():
        folder = next((f for f in _stood_for(path, format_.files) if format_.matches(f)), None)
        if folder is not None and not (name == "saelens" and found):  # a model of ours has SAELens' file names
            found.append((name, folder))
    if len(found) > 1:
        files = ", ".join(
            f"{folder / FORMATS[name].files[-1]} ({name})" for name, folder in found if FORMATS[name].files
        )
        raise ValueError(f"{path}: holds autoencoders in several formats; name the weights of one: {files}")
    if found:
        return found[0]
    deeper = [str(f) for f in _folders(path) if any(known.matches(f) for known in FORMATS.values())]
    if deeper:
        raise ValueError(f"{path}: holds several autoencoders; name one of them: {', '.join(deeper)}")
    there = sorted(item.name for item in path.iterdir()) if path.is_dir() else [path.name]
    known = "; ".join(f"{name}: {format_.layout}" for name, format_ in FORMATS.items())
    raise ValueError(
        f"{path}: no autoencoder that can be read; found {', '.join(there[:12]) or 'nothing'}; expected {known}"
    )


def read(path: str | Path, name: str | None = None, ignore: Collection[str] = ()) -> AffineSAE:
    """The autoencoder at `path`, in the format `name`, or the one detected. Errors name file and remedy.

    A config key that is not known is refused, because it may change what is computed; `ignore` names keys that only describe.
    """
    if name is None:
        name, path = locate(path)
    return FORMATS[name].read(Path(path), ignore)


def write(sae: AffineSAE, path: str | Path, name: str) -> None:
    """Write the autoencoder in the format `name`.

    Raises CannotExpressError, before anything is written, if the format has no place for what it computes.
    """
    writer = FORMATS[name].writer
    if writer is None:
        raise ValueError(f"{name} is only read; written are {', '.join(n for n, f in FORMATS.items() if f.writer)}")
    writer.write(sae, Path(path))


def convert(
    source: str | Path,
    path: str | Path,
    name: str,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    ignore: Collection[str] = (),
) -> Converted:
    """Write the autoencoder at `source` to `path` in the format `name`, and compare the two files.

    Codes and outputs are those that the formulas of the two formats give for the files as they lie, so that an error of
    reading, folding or writing shows; that a formula is its library's is what the tests show. `ignore`: as in `read`.

    Raises CannotExpressError before anything is written; ValueError if the two compute different things.
    """
    found, source = locate(source)
    path = Path(path)
    old, new = FORMATS[found], FORMATS[name]
    given = old.read(source, ignore)
    before = old.computed(source, ignore)
    write(given if dtype is None else cast(given, dtype), path, name)
    again = new.read(path, ())
    proof = compare(given, again, seed, before, new.computed(path, ()))
    limit = TOLERANCE.get(dtype or again.dtype)
    if limit is not None and (
        proof.unflipped > limit * proof.largest_code or proof.flips > max(4, FLIPS * (proof.active or 0))
    ):
        raise ValueError(
            f"{path}: written, but it does not compute what its source does (codes differ by {proof.unflipped:.2e} beside "
            f"{proof.largest_code:.2e}, and {proof.flips} are active in one alone). If inputs lie far from zero beside what varies "
            "in them, --dtype float64 keeps the digits; else it is a defect of sparsecode: do not use the file, and report it"
        )
    assert new.writer is not None
    story: dict[str, Any] = {"source": source.resolve().name, "source_format": found, "sparsecode": __version__}
    story |= {"origin": dict(given.metadata)} if name in ("openai", "sparsify") else {}  # which have no place for it
    story |= {"ignored": sorted(ignore)} if ignore else {}
    noted = new.writer.note(path, {**story, "proof": msgspec.to_builtins(proof)})
    return Converted(found, given, again, proof, noted)


def _stood_for(path: Path, files: tuple[str, ...]) -> list[Path]:
    """The folders in which the path is one of `files`, and the path itself."""
    if not path.is_file():
        return [path]
    parts = path.absolute().parts
    tails = [Path(name).parts for name in files]
    return [*(Path(*parts[: -len(tail)]) for tail in tails if parts[-len(tail) :] == tail), path]


def _folders(path: Path) -> list[Path]:
    """What stands one and two levels below, where sparsify keeps hookpoints and seeds."""
    return sorted(f for pattern in ("*", "*/*") for f in path.glob(pattern) if f.is_dir()) if path.is_dir() else []
