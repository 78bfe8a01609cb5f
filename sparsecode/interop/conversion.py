"""Conversion of an autoencoder from one format to another, with a proof that both compute the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from sparsecode.files import TEMPORARY, printable
from sparsecode.interop.affine_sae import AffineSAE
from sparsecode.interop.equivalence import CoderRecord, Proof, compare
from sparsecode.interop.folding import cast
from sparsecode.interop.formats import FORMATS, locate, read_any, refuse_what_is_there, writer_for, writer_of
from sparsecode.version import __version__

__all__ = ["Converted", "convert"]

# Of the largest code: what the rounding of folded weights stays below. Half precisions round weights as they do.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4}
FLIPS = 1e-3  # of active codes: what rounding may move over a threshold, or exchange in a tie of top-k


class Converted(NamedTuple):
    """Result of `convert`: the autoencoder read and its format, the one written, their differences, and the file that records them."""

    format: str
    source: CoderRecord
    written: CoderRecord
    proof: Proof
    noted: Path


def convert(
    source: str | Path,
    path: str | Path,
    name: str,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    ignore: Collection[str] = (),
    *,
    force: bool = False,
    within: str = "",
    noted: Mapping[str, Any] | None = None,
    finish: Callable[[Path], None] = lambda _: None,
) -> Converted:
    """Write the autoencoder at `source` to `path` in the format `name`, and compare the two files.

    Codes and outputs are those that the formulas of the two formats give for the files as they lie, so that an error of
    reading, folding or writing shows; that a formula is its library's is what the tests show. `ignore`: as in `read`.

    All is written aside and moved when it is right, so that a crash leaves nothing at `path`, or all. In a folder that is
    there already (`force`) files are replaced one by one. `within` is a folder below `path` for the autoencoder, to which
    `finish(folder)` may add what else belongs into `path`. `noted` is stored beside the proof.

    Raises CannotExpressError before anything is written; ValueError if the two compute different things; FileExistsError if
    something is there: with `force` something that sparsecode has not written.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from sparsecode.interop import convert
    >>> from sparsecode.models import Amortised, save_model
    >>> from sparsecode.nn import TopK
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(Amortised(n_code=32, activation=TopK(k=4)).build((16,), seed=0), f"{folder}/ours", {})
    ...     result = convert(f"{folder}/ours", f"{folder}/theirs", "saelens")
    ...     sorted(path.name for path in Path(folder, "theirs").iterdir())
    ['cfg.json', 'sae_weights.safetensors']
    """
    path = Path(path)
    refuse_what_is_there(path, force)
    format_name, source = locate(source)
    writer_of(name)
    old, new = FORMATS[format_name], FORMATS[name]
    given = read_any(source, format_name, ignore)
    writer = writer_for(given, name, path)
    before = old.computed(source, ignore)
    path = path if path.name else path.resolve()
    aside = path.with_name(path.name + TEMPORARY)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        made = aside / path.name / within
        writer.write(given if dtype is None else _cast(given, dtype), made)
        again = new.read(made, ())
        proof = compare(given, again, seed, before, new.computed(made, ()))
        limit = TOLERANCE.get(dtype or again.dtype)
        if limit is not None and (
            proof.unflipped > limit * proof.largest_code or proof.jumps > max(4, FLIPS * proof.active)
        ):
            raise ValueError(
                f"{path}: not written, because it does not compute what its source does (codes differ by {proof.unflipped:.2e} "
                f"beside {proof.largest_code:.2e}, and {proof.jumps} are active in one alone). If inputs lie far from zero beside "
                "what varies in them, --dtype float64 keeps the digits; else it is a defect of sparsecode: please report it"
            )
        story: dict[str, Any] = {
            "source": printable(source.resolve().name),
            "source_format": format_name,
            "sparsecode": __version__,
        }
        if name in ("openai", "sparsify", "evtimova"):  # which have no place for it
            story["origin"] = dict(given.metadata)
        story |= {"ignored": sorted(ignore)} if ignore else {}
        story |= noted or {}
        file = writer.note(made, {**story, "proof": msgspec.to_builtins(proof)})
        finish(aside / path.name)
        _move(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Converted(format_name, given, again, proof, path.parent / file.relative_to(aside))


def _cast(record: CoderRecord, dtype: torch.dtype) -> CoderRecord:
    return cast(record, dtype) if isinstance(record, AffineSAE) else record.to(dtype)


def _move(aside: Path, path: Path) -> None:
    """Move the content of `aside` to or into `path`, notes first: they identify the files as ours."""
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    if path.is_dir() or not (aside / path.name).is_dir():
        made = [file for file in aside.rglob("*") if file.is_file()]
        for file in sorted(made, key=lambda file: (file.suffix != ".json", file)):
            target = path.parent / file.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    else:
        (aside / path.name).rename(path)
