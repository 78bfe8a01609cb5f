"""`sparsecode path`: codes of an array at many penalty weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from sparsecode.cli.arguments import UsageError, using
from sparsecode.cli.console import Console
from sparsecode.cli.paths import refuse_to_overwrite_all, written_together
from sparsecode.data.arrays import read_array
from sparsecode.files import printable, write_atomic
from sparsecode.plots import alpha_path
from sparsecode.plots.saving import save_figure
from sparsecode.solvers.held_out import cross_validate_alpha
from sparsecode.solvers.l0_search import alpha_for_l0
from sparsecode.solvers.path import SparsePath, sparse_path
from sparsecode.specs import Spec, to_json

__all__ = ["AlphaPath", "path_command"]

SHOWN = 20  # rows of the table; the file has all


class AlphaPath(Spec, tag="alpha_path"):
    """What path.json holds: a list per quantity, alphas descending; the chosen alpha, its errors on hidden entries."""

    samples: str
    dictionary: str
    n: int
    n_code: int
    positive: bool
    alphas: list[float]
    objective: list[float]
    l0: list[float]
    error: list[float]
    gap: list[float]
    chosen: float | None = None
    sparsest: float | None = None
    hidden_error: list[float] | None = None
    hidden_standard_error: list[float] | None = None


def path_command(args: using.PathArguments) -> None:
    """Objective, L0, error and gap of codes at many alphas, as a table, a file and a figure."""
    if args.l0 is not None and args.cross_validate:
        raise UsageError("--l0 and --cross-validate both choose an alpha; give one of them")
    files = (args.out / "path.json", args.out / "path.png")
    refuse_to_overwrite_all("--out", files, args.force)
    x, D = _rows(args.samples, args.key), _rows(args.dictionary, args.dictionary_key)
    if x.shape[1] != D.shape[1]:
        raise UsageError(
            f"{args.dictionary} has atoms of {D.shape[1]} features and {args.samples} samples of {x.shape[1]}; expected as many: "
            "atoms stand in rows"
        )
    console, positive = Console(), args.positive
    try:
        path = sparse_path(
            x, D, args.alphas or None, n_alphas=args.n_alphas, ratio=args.ratio, positive=positive, tol=args.tol
        )
        held_out, chosen = None, None
        if args.cross_validate:
            held_out = cross_validate_alpha(x, D, path.alphas, n_folds=args.folds, positive=positive, seed=args.seed)
            chosen = held_out.alpha
        elif args.l0 is not None:
            chosen = alpha_for_l0(x, D, args.l0, positive=positive)
    except ValueError as problem:
        raise UsageError(f"{args.samples}: {problem}") from None
    hidden = None if held_out is None else held_out.error
    title = f"{args.samples.name} in {args.dictionary.name}: {len(x)} samples, {len(D)} atoms"
    console.print(_table(path, hidden, title, chosen))
    if chosen is not None:
        why = f"for L0 {args.l0:g}" if held_out is None else "least error of hidden entries"
        console.print(f"alpha    {chosen:.6g} ({why})", highlight=False)
    if held_out is not None:
        console.print(f"         {held_out.sparsest:.6g} (largest within one standard error)", highlight=False)
    values = {name: values.tolist() for name, values in path._asdict().items() if name != "codes"}
    with written_together(files):
        record = AlphaPath(
            printable(str(args.samples)), printable(str(args.dictionary)), len(x), len(D), positive, **values,
            chosen=chosen, sparsest=None if held_out is None else held_out.sparsest,
            hidden_error=None if held_out is None else held_out.error.tolist(),
            hidden_standard_error=None if held_out is None else held_out.standard_error.tolist(),
        )  # fmt: skip
        write_atomic(files[0], to_json(record))
        save_figure(files[1], alpha_path(path.alphas, path.l0, path.error, title, chosen))
    for word, file in zip(("numbers", "picture"), files, strict=True):
        console.print(f"{word}  {file}", highlight=False, soft_wrap=True)


def _rows(path: Path, key: str | None) -> NDArray[Any]:
    array = read_array(path, key)
    return array.reshape(len(array), -1)


def _table(path: SparsePath, hidden: NDArray[np.float64] | None, title: str, chosen: float | None) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        caption="means over samples; error: share of |x|^2 that is left; gap: largest relative duality gap",
        caption_justify="left",
    )
    names = ("alpha", "objective", "L0", "error", "gap", *(() if hidden is None else ("error, hidden",)))
    for name in names:
        table.add_column(name, justify="right")
    rows = np.unique(np.linspace(0, len(path.alphas) - 1, min(SHOWN, len(path.alphas))).round().astype(int))
    nearest = None if chosen is None else int(np.abs(np.log(path.alphas / chosen)).argmin())
    for i in rows if nearest is None else np.union1d(rows, nearest):
        table.add_row(
            f"{path.alphas[i]:.4g}", f"{path.objective[i]:.5g}", f"{path.l0[i]:.2f}", f"{path.error[i]:.4f}",
            f"{path.gap[i]:.0e}", *(() if hidden is None else (f"{hidden[i]:.4f}",)),
            style="bold" if i == nearest else None,
        )  # fmt: skip
    return table
