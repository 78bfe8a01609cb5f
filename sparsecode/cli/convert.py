"""`sparsecode convert`: a sparse autoencoder from one library's files to another's."""

from __future__ import annotations

import math
import tempfile
from contextlib import nullcontext
from pathlib import Path

import msgspec
import torch
from rich import box
from rich.table import Table

from sparsecode.cli.arguments import UsageError, using
from sparsecode.cli.changed_models import changed_model, fitted_line, loss_warning
from sparsecode.cli.console import Console
from sparsecode.cli.paths import run_labels
from sparsecode.data import Splits
from sparsecode.interop.affine_sae import AffineSAE, PlainRows
from sparsecode.interop.conversion import Converted, convert
from sparsecode.interop.equivalence import CoderRecord
from sparsecode.interop.formats import detect, locate, read_any, refuse_what_is_there
from sparsecode.interop.readers import read_json, write_json
from sparsecode.interop.sparse_coder import coder_of, model_of
from sparsecode.models.capabilities import has_solver, takes_solver
from sparsecode.models.storage import load_model, save_model
from sparsecode.recipes import RECIPES
from sparsecode.runs import Run, RunFolder, labelled
from sparsecode.train.session import INITIAL_SAMPLE

__all__ = ["convert_command"]


def convert_command(args: using.ConvertArguments) -> None:
    """Write a sparse autoencoder in another library's format, and compare what the two files compute."""
    src, dst, to, dtype, seed, like, ignore, jumprelu, l0, k, force = args
    if dst.resolve() in (src.resolve(), locate(src)[1].resolve()):
        raise UsageError(f"{dst}: source and destination are the same; choose another name")
    if RunFolder(dst).resume.exists():
        raise FileExistsError(f"{dst}: holds a run that was trained there; choose another name")
    refuse_what_is_there(dst, force)
    if dst.exists() and (there := _format_of(dst)) not in (None, to):
        raise FileExistsError(f"{dst}: holds a {there} autoencoder; delete it first, or choose another name")
    if like is not None and to != "sparsecode" and jumprelu is None:
        raise UsageError(f"--like {like}: only for --to sparsecode; a {to} file has no place for it")
    if l0 is not None and jumprelu is None:
        raise UsageError(f"--l0 {l0:g}: only with --jumprelu")
    changed = jumprelu is not None or k is not None
    if changed and like is None and RunFolder(src).exists and (jumprelu is not None or to == "sparsecode"):
        like = str(src)
    if jumprelu is not None and like is None:
        raise UsageError(f"--jumprelu: {src} has no data to fit thresholds to; name a run or recipe with --like")
    config = None if like is None else _config_of(like)
    splits = None if config is None else config.data.load()
    if splits is not None and like is not None:
        _check_data(src, read_any(src, ignore=ignore), splits, like)

    makes_run = config is not None and to == "sparsecode"

    def complete(folder: Path) -> None:
        if makes_run and config is not None and splits is not None:
            _make_run(RunFolder(folder), config, splits)

    console = Console()
    run_labels((src,), console)
    within = RunFolder(dst).model.name if makes_run else ""
    wanted = None if dtype is None else getattr(torch, dtype)
    with tempfile.TemporaryDirectory() if changed else nullcontext("") as aside:
        source, noted = src, None
        if changed:
            source, noted = changed_model(src, Path(aside), splits, ignore, jumprelu, l0, k)
            ignore = ()
        done = convert(source, dst, to, wanted, seed, ignore, force=force, within=within, noted=noted, finish=complete)
    if noted is not None:  # what was read is the changed copy
        done = done._replace(format=noted["source_format"])
    if noted is not None and (report := noted.get("jumprelu")):
        console.print(fitted_line(report), highlight=False, soft_wrap=True)
        if warning := loss_warning(report, l0):
            console.print(warning, highlight=False, soft_wrap=True)
    _report(console, done, labelled(str(src), RunFolder(src)), dst, to)


def _check_data(src: Path, sae: CoderRecord, splits: Splits, like: str) -> None:
    """Raise ValueError unless samples and targets are of the sizes that a model takes and gives."""
    if math.prod(splits.shape) != sae.d_in:
        raise ValueError(
            f"{src}: takes {sae.d_in} numbers, and samples of {like} are {splits.shape}; choose data that it was made for"
        )
    given = None if splits.target_shape is None else math.prod(splits.target_shape)
    wanted = None if sae.reconstructs else sae.d_out
    if given != wanted:
        raise ValueError(
            f"{src}: {'reconstructs its input' if wanted is None else f'predicts {wanted} numbers'}, and samples of {like} have "
            f"{'no target' if given is None else f'targets of {given}'}; choose data that it was made for"
        )


def _config_of(like: str) -> Run:
    return RECIPES[like]() if like in RECIPES else RunFolder(like).config()


def _make_run(folder: RunFolder, config: Run, splits: Splits) -> None:
    """Complete the folder of a model to a run on the data of `config`."""
    file = folder.model / "cfg.json"
    stored = read_json(file)
    model = load_model(folder.model)
    if has_solver(model):
        if not takes_solver(config.model):
            raise ValueError("--like: its model has no solver; expected a run or recipe of sparse coding (iterative)")
        placed = model_of(coder_of(model), config.model, splits.shape)
        placed.normaliser.initialise_(splits.train.x[:INITIAL_SAMPLE].flatten(1).to(next(placed.parameters())))
        save_model(placed, folder.model, stored["metadata"]["sparsecode"]["provenance"])
        stored = read_json(file)
    entry = stored["metadata"]["sparsecode"]
    entry["shape"] = list(splits.shape)
    if splits.target_shape is not None:
        entry["target_shape"] = list(splits.target_shape)
    entry["provenance"] |= {"data": splits.fingerprint(), "data_range": list(splits.span())}
    write_json(file, stored)
    folder.write_config(msgspec.structs.replace(config, model=load_model(folder.model).spec))


def _format_of(path: Path) -> str | None:
    try:
        return detect(path)
    except ValueError:
        return None


def _report(console: Console, done: Converted, src: str, dst: Path, to: str) -> None:
    console.print(f"from {src} ({done.format})\nto   {dst} ({to})", highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE)
    for column in ("", "codes", "inputs", "activation", "rows", "centred", "dtype"):
        table.add_column(column, justify="right" if column in ("codes", "inputs") else "left")
    for label, sae in (("from", done.source), ("to", done.written)):
        affine = isinstance(sae, AffineSAE)
        coder = "solver alone" if affine or sae.encoder is None else f"LISTA ({sae.encoder.n_iter})"
        rows = "as they are" if not affine or isinstance(sae.normaliser, PlainRows) else type(sae.normaliser).__name__
        table.add_row(
            label,
            str(sae.n_code),
            str(sae.d_in),
            sae.activation.name if affine else coder,
            rows,
            "yes" if affine and sae.centred else "no",
            str(sae.dtype).removeprefix("torch."),
        )
    console.print(table)
    proof = done.proof
    console.print(
        f"largest differences over {proof.n_inputs} probe inputs ({proof.near} next to a threshold),\n"
        "computed by the formulas of both formats from the files:\n"
        f"  codes    {proof.codes:.1e} (largest code {proof.largest_code:.3g}), {proof.flips} active in only one of the two\n"
        f"  outputs  {proof.outputs:.1e} (largest output {proof.largest_output:.3g})",
        highlight=False,
    )
    console.print(f"stored in {done.noted}", highlight=False, soft_wrap=True)
