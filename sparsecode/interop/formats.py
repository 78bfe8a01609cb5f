"""Which formats there are, and which one a path is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from sparsecode.interop import dictionary_learning, native, openai, saelens, scopes, sparsify
from sparsecode.interop.folding import cast
from sparsecode.interop.proof import Computed, Proof, compare
from sparsecode.interop.record import AffineSAE
from sparsecode.version import __version__

__all__ = ["FORMATS", "Converted", "Format", "Writer", "convert", "detect", "read", "write"]


class Writer(NamedTuple):
    """How a format is written, and where the proof of a conversion goes."""

    write: Callable[[AffineSAE, Path], None]
    note: Callable[[Path, Mapping[str, Any]], Path]


class Format(NamedTuple):
    """How a format is told from others by what is there, and how it is read; some are only read."""

    matches: Callable[[Path], bool]
    read: Callable[[Path], AffineSAE]
    layout: str
    writer: Writer | None = None
    computed: Callable[[Path], Computed] | None = None  # what a model of ours computes, without a record


def _both_ways(module: Any, layout: str) -> Format:
    return Format(module.matches, module.read, layout, Writer(module.write, module.note))


class Converted(NamedTuple):
    """What `convert` read, in which format, what it wrote, how far apart they are, and the file that says so."""

    format: str
    source: AffineSAE
    written: AffineSAE
    proof: Proof
    noted: Path


# Of the largest code: what the rounding of folded weights stays below. Half precisions round weights as they do.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4}

# The order matters: our own models have the file names of SAELens.
FORMATS: dict[str, Format] = {
    "sparsecode": _both_ways(native, "a run, or a folder with cfg.json and sae_weights.safetensors of ours")._replace(
        computed=native.computed
    ),
    "saelens": _both_ways(saelens, "a folder with cfg.json and sae_weights.safetensors"),
    "dictionary_learning": _both_ways(
        dictionary_learning, "a folder with config.json and ae.pt, or a checkpoint in it"
    ),
    "sparsify": _both_ways(sparsify, "a hookpoint's folder with cfg.json and sae.safetensors"),
    "openai": _both_ways(openai, "a .pt file"),
    "gemma_scope": Format(scopes.matches_gemma_scope, scopes.read_gemma_scope, "a folder with params.npz"),
    "gemma_scope_2": Format(
        scopes.matches_gemma_scope_2, scopes.read_gemma_scope_2, "a folder with params.safetensors"
    ),
    "llama_scope": Format(
        scopes.matches_llama_scope,
        scopes.read_llama_scope,
        "a folder with hyperparams.json and checkpoints/final.safetensors",
    ),
}


def detect(path: str | Path) -> str:
    """The name of the format, from the files that are there.

    Raises FileNotFoundError if nothing is there, ValueError if it is in none of `FORMATS`, naming what was found.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    for name, format_ in FORMATS.items():
        if format_.matches(path):
            return name
    deeper = [str(f) for f in _folders(path) if any(known.matches(f) for known in FORMATS.values())]
    if deeper:
        raise ValueError(f"{path}: holds several autoencoders; name one of them: {', '.join(deeper)}")
    found = sorted(item.name for item in path.iterdir()) if path.is_dir() else [path.name]
    known = "; ".join(f"{name}: {format_.layout}" for name, format_ in FORMATS.items())
    raise ValueError(
        f"{path}: no autoencoder that can be read; found {', '.join(found[:12]) or 'nothing'}; expected {known}"
    )


def read(path: str | Path, name: str | None = None) -> AffineSAE:
    """The autoencoder at `path`, in the format `name`, or the one detected. Errors name file and remedy."""
    return FORMATS[name or detect(path)].read(Path(path))


def write(sae: AffineSAE, path: str | Path, name: str) -> None:
    """Write the autoencoder in the format `name`.

    Raises CannotExpressError, before anything is written, if the format has no place for what it computes.
    """
    writer = FORMATS[name].writer
    if writer is None:
        raise ValueError(f"{name} is only read; written are {', '.join(n for n, f in FORMATS.items() if f.writer)}")
    writer.write(sae, Path(path))


def convert(
    source: str | Path, path: str | Path, name: str, dtype: torch.dtype | None = None, seed: int = 0
) -> Converted:
    """Write the autoencoder at `source` to `path` in the format `name`, read it again and compare.

    Raises CannotExpressError before anything is written; ValueError if the two compute different things.
    """
    source, path = Path(source), Path(path)
    found = detect(source)
    old, new = FORMATS[found], FORMATS[name]
    given = old.read(source)
    write(given if dtype is None else cast(given, dtype), path, name)
    again = new.read(path)
    before, after = (f.computed and f.computed(p) for f, p in ((old, source), (new, path)))
    proof = compare(given, again, seed, before, after)
    limit = TOLERANCE.get(dtype or again.dtype)
    if limit is not None and proof.unflipped > limit * proof.largest_code:
        raise ValueError(
            f"{path}: written, but it does not compute what its source does (codes differ by {proof.unflipped:.2e} beside "
            f"{proof.largest_code:.2e}). If inputs lie far from zero beside what varies in them, --dtype float64 keeps the digits; "
            "else it is a defect of sparsecode: do not use the file, and report it"
        )
    assert new.writer is not None
    story = {"source": source.resolve().name, "source_format": found, "sparsecode": __version__}
    noted = new.writer.note(path, {**story, "proof": msgspec.to_builtins(proof)})
    return Converted(found, given, again, proof, noted)


def _folders(path: Path) -> list[Path]:
    """What stands one and two levels below, where sparsify keeps hookpoints and seeds."""
    return sorted(f for pattern in ("*", "*/*") for f in path.glob(pattern) if f.is_dir()) if path.is_dir() else []
