"""`sparsecode convert`: a sparse autoencoder from one library's files to another's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import torch
import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from sparsecode.cli.options import UsageError
from sparsecode.interop.folding import cast
from sparsecode.interop.formats import FORMATS, detect, read
from sparsecode.interop.proof import Proof, compare
from sparsecode.interop.record import AffineSAE, Plain
from sparsecode.version import __version__

__all__ = ["convert_command"]

Written = Literal["saelens", "dictionary_learning", "sparsify", "openai", "sparsecode"]
Dtype = Literal["float16", "bfloat16", "float32", "float64"]
TOLERANCE = {"float64": 1e-11, "float32": 1e-4}  # of the largest code: what the rounding of folded weights stays below


def convert_command(argv: list[str]) -> int:
    tyro.cli(_convert, args=argv, prog="sparsecode convert")
    return 0


def _convert(
    src: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")],
    dst: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DST")],
    /,
    *,
    to: Written,
    dtype: Dtype | None = None,
    seed: int = 0,
    force: bool = False,
) -> None:
    """Write a sparse autoencoder in another library's format, and prove that it computes the same.

    SRC may be a run or a model of ours, a folder of SAELens, dictionary_learning or sparsify, a file of
    openai/sparse_autoencoder, or a folder of Gemma Scope, Gemma Scope 2 or Llama Scope. What DST's format cannot express is
    refused. The written file is read again and compared with SRC on probe inputs; the largest differences are printed and
    stored with it (SAELens: metadata.sparsecode in cfg.json; else a file conversion.json).

    Args:
        src: what to convert
        dst: the folder to write; for openai a file that ends in .pt
        to: the format to write
        dtype: precision of the written weights; default that of SRC, float32 at least
        seed: decides the probe inputs
        force: write over what is there
    """
    if dst.exists() and not force:
        raise UsageError(f"{dst}: exists already; choose another name, or write over it with --force")
    if dst.resolve() == src.resolve():
        raise UsageError(f"{dst}: source and destination are the same; choose another name")
    if dst.exists() and (there := _format_of(dst)) not in (None, to):
        raise UsageError(f"{dst}: holds a {there} autoencoder; delete it first, or choose another name")
    name = detect(src)
    given = read(src, name)
    writer = FORMATS[to].writer
    assert writer is not None
    writer.write(given if dtype is None else cast(given, getattr(torch, dtype)), dst)
    again = FORMATS[to].read(dst)
    proof = compare(given, again, seed)
    _refuse_difference(proof, dtype, dst)
    noted = writer.note(
        dst,
        {
            "source": src.resolve().name,
            "source_format": name,
            "sparsecode": __version__,
            "proof": msgspec.to_builtins(proof),
        },
    )
    _report(Console(), {f"{src} ({name})": given, f"{dst} ({to})": replace(again, metadata={})}, proof, noted)


def _format_of(path: Path) -> str | None:
    try:
        return detect(path)
    except ValueError:
        return None


def _refuse_difference(proof: Proof, dtype: str | None, dst: Path) -> None:
    limit = TOLERANCE.get(dtype or proof.dtype)
    if limit is not None and proof.unflipped > limit * max(proof.largest_code, 1e-30):
        raise ValueError(
            f"{dst}: written, but it computes something else than its source (codes differ by {proof.unflipped:.2e} beside "
            f"{proof.largest_code:.2e}): a defect of sparsecode; do not use the file, and report it"
        )


def _report(console: Console, ends: dict[str, AffineSAE], proof: Proof, noted: Path) -> None:
    table = Table(box=box.SIMPLE)
    for column in ("", "codes", "inputs", "activation", "rows", "centred", "dtype"):
        table.add_column(column, justify="right" if column in ("codes", "inputs") else "left", overflow="fold")
    for label, sae in ends.items():
        rows = "as they are" if isinstance(sae.normaliser, Plain) else type(sae.normaliser).__name__
        table.add_row(
            label,
            str(sae.n_code),
            str(sae.d_in),
            type(sae.activation).__name__,
            rows,
            "yes" if sae.centred else "no",
            str(sae.dtype).removeprefix("torch."),
        )
    console.print(table)
    console.print(
        f"largest differences over {proof.n_inputs} probe inputs ({proof.near} of them next to a threshold): codes "
        f"{proof.codes:.1e} beside {proof.largest_code:.3g}, outputs {proof.outputs:.1e} beside {proof.largest_output:.3g}; "
        f"{proof.flips} codes active in one alone",
        highlight=False,
    )
    console.print(f"stored in {noted}", highlight=False, soft_wrap=True)
