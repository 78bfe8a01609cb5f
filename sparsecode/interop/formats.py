"""The known formats, and detection of the format of a path."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sparsecode.files import is_own
from sparsecode.hub import local_path, refuse_hub
from sparsecode.interop import (
    dictionary_learning,
    evtimova,
    gemma_llama_scope,
    native,
    openai,
    saelens,
    saelens_writing,
    sparsify,
)
from sparsecode.interop.affine_sae import AffineSAE, CannotExpressError
from sparsecode.interop.equivalence import CoderRecord, Computed
from sparsecode.interop.sparse_coder import SparseCoderRecord

__all__ = [
    "FORMATS",
    "Format",
    "Writer",
    "detect",
    "locate",
    "read",
    "read_any",
    "refuse_what_is_there",
    "write",
    "writer_for",
    "writer_of",
    "written",
]


class Writer(NamedTuple):
    """Writing of a format: its functions, the place of the proof of a conversion, and how the name of its one file ends, if it is one."""

    write: Callable[[Any, Path], None]
    note: Callable[[Path, Mapping[str, Any]], Path]
    takes: tuple[type, ...] = (AffineSAE,)
    suffix: str = ""


class Format(NamedTuple):
    """A format: detection from the files that are there, reading and, for some formats, writing.

    `read` and `computed` take the path and the names of unknown config keys to ignore. `computed` is what the format's own
    formula gives (for models of ours, the model itself), stated without the record: conversions are checked by it. `files`
    are those whose paths stand for the folder, as seen from it.
    """

    matches: Callable[[Path], bool]
    read: Callable[[Path, Collection[str]], CoderRecord]
    computed: Callable[[Path, Collection[str]], Computed]
    layout: str
    files: tuple[str, ...] = ()
    writer: Writer | None = None


# The order matters: our own models have the file names of SAELens.
FORMATS: dict[str, Format] = {
    "sparsecode": Format(
        native.matches,
        native.read,
        native.computed,
        "a run, or a folder with cfg.json and sae_weights.safetensors of ours",
        ("cfg.json", "sae_weights.safetensors", "model/cfg.json", "model/sae_weights.safetensors"),
        Writer(native.write, native.note, (AffineSAE, SparseCoderRecord)),
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
    "openai": Format(
        openai.matches,
        openai.read,
        openai.computed,
        "a .pt file",
        (),
        Writer(openai.write, openai.note, suffix=openai.SUFFIX),
    ),
    "evtimova": Format(
        evtimova.matches,
        evtimova.read,
        evtimova.computed,
        "a ..._DEC_....pth file, perhaps with ..._ENC_....pth beside it, or a folder with one of each",
        (),
        Writer(evtimova.write, evtimova.note, (SparseCoderRecord,)),
    ),
    "gemma_scope": Format(
        gemma_llama_scope.matches_gemma_scope,
        gemma_llama_scope.read_gemma_scope,
        gemma_llama_scope.computed_gemma_scope,
        "a folder with params.npz",
        ("params.npz",),
    ),
    "gemma_scope_2": Format(
        gemma_llama_scope.matches_gemma_scope_2,
        gemma_llama_scope.read_gemma_scope_2,
        gemma_llama_scope.computed_gemma_scope_2,
        "a folder with params.safetensors",
        ("params.safetensors", "config.json"),
    ),
    "llama_scope": Format(
        gemma_llama_scope.matches_llama_scope,
        gemma_llama_scope.read_llama_scope,
        gemma_llama_scope.computed_llama_scope,
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
    path = local_path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    candidates: list[tuple[str, Path]] = []
    for name, format_ in FORMATS.items():
        folder = next((f for f in _stood_for(path, format_.files) if format_.matches(f)), None)
        if folder is not None and not (name == "saelens" and candidates):  # a model of ours has SAELens' file names
            candidates.append((name, folder))
    if len(candidates) > 1:
        files = ", ".join(
            f"{folder / FORMATS[name].files[-1]} ({name})" for name, folder in candidates if FORMATS[name].files
        )
        raise ValueError(f"{path}: holds autoencoders in several formats; name the weights of one: {files}")
    if candidates:
        return candidates[0]
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
    Raises CannotExpressError for sparse coding with a solver or a LISTA encoder: that is what `read_any` reads.
    """
    candidates = read_any(path, name, ignore)
    if not isinstance(candidates, AffineSAE):
        raise CannotExpressError(
            f"{path}: sparse coding, whose codes come from a solver or a LISTA encoder, and no autoencoder with an affine encoder; "
            "read it with read_any, or choose --to sparsecode or evtimova"
        )
    return candidates


def read_any(path: str | Path, name: str | None = None, ignore: Collection[str] = ()) -> CoderRecord:
    """`read`, which also reads decoders of one or two layers with or without a LISTA encoder."""
    if name is None:
        name, path = locate(path)
    try:
        return FORMATS[name].read(local_path(path), ignore)
    except ValueError as error:
        if str(path) in str(error):
            raise
        kind = CannotExpressError if isinstance(error, CannotExpressError) else ValueError
        raise kind(f"{path}: {error}") from None


def write(sae: CoderRecord, path: str | Path, name: str) -> None:
    """Write the autoencoder in the format `name` to a file or folder that is not there yet, or is empty.

    Raises CannotExpressError, before anything is written, if the format has no place for what it computes; FileExistsError if
    something is there.
    """
    refuse_what_is_there(Path(path))
    writer_for(sae, name, Path(path)).write(sae, Path(path))


def writer_for(sae: CoderRecord, name: str, path: Path) -> Writer:
    """The functions that write this kind of record in a format. Raises CannotExpressError if it has no place for it, ValueError if its
    file cannot have the name of `path`.
    """
    writer = writer_of(name)
    if writer.suffix and path.suffix != writer.suffix:
        raise ValueError(f"{path}: {name} keeps one file; expected a name that ends in {writer.suffix}")
    if not isinstance(sae, writer.takes):
        others = [other for other in written() if isinstance(sae, writer_of(other).takes)]
        what = "an affine encoder" if isinstance(sae, AffineSAE) else "codes from a solver or a LISTA encoder"
        raise CannotExpressError(f"{name} has no place for {what}; choose --to {' or '.join(others)}")
    return writer


def writer_of(name: str) -> Writer:
    """The functions that write a format. Raises ValueError for one that is only read, or unknown."""
    writer = FORMATS[name].writer if name in FORMATS else None
    if writer is None:
        why = ", which is only read" if name in FORMATS else ""
        raise ValueError(f"format is {name!r}{why}; expected one of {', '.join(written())}")
    return writer


def written() -> list[str]:
    """The names of the formats that can be written."""
    return [name for name, format_ in FORMATS.items() if format_.writer]


def refuse_what_is_there(path: Path, force: bool = False) -> None:
    """Raise FileExistsError if there is something at `path`; with `force` if it is no conversion of ours."""
    refuse_hub(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not force:
        raise FileExistsError(f"{path}: exists already; choose another name, or write over it with --force")
    notes = (path / "cfg.json", path / "conversion.json", path / "model" / "cfg.json", _beside(path))
    if not any(note.is_file() and is_own(note) for note in notes):
        raise FileExistsError(f"{path}: was not written by sparsecode; move it away or choose another name")


def _beside(path: Path) -> Path:
    return path.with_name(path.name + openai.NOTE)


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
