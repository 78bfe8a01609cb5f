"""`sparsecode match`: which codes two dictionaries share."""

from __future__ import annotations

from typing import Any

import torch
from rich import box
from rich.table import Table

from sparsecode.cli.arguments import UsageError, comparing
from sparsecode.cli.console import Console, described
from sparsecode.cli.paths import refuse_key, refuse_to_overwrite, run_names
from sparsecode.data.images import progress
from sparsecode.evaluate.dictionary.dictionary_recovery import Matching
from sparsecode.evaluate.dictionary.geometry import dictionary_of
from sparsecode.evaluate.dictionary.similarity import DictionarySimilarity, atom_similarity, code_similarity
from sparsecode.evaluate.units.feature_collection import CodedRows, csr_of_rows
from sparsecode.files import printable, write_atomic
from sparsecode.init_from import model_at
from sparsecode.models.base import AbstractSparseModel
from sparsecode.reports.run_features import source_of_file, source_of_run
from sparsecode.runs import RunFolder
from sparsecode.specs import Spec, to_json

__all__ = ["MatchReport", "match_command"]

CAPTION = (
    "nearest: mean over codes of the largest similarity to any code of the other;\n"
    "above: share of codes for which it is above the threshold; one to one: the\n"
    "pairing with the largest sum, its mean and share, of the smaller dictionary"
)


class MatchReport(Spec, tag="match_report"):
    """What `--json` writes: the similarities, and with `--pairs` by each the codes of the first that are paired with codes of the second."""

    runs: dict[str, str]
    similarities: tuple[DictionarySimilarity, ...]
    pairs: dict[str, tuple[tuple[int, int], ...]]


def match_command(args: comparing.MatchArguments) -> None:
    """Similarity of the dictionaries of two runs or models: by cosines of atoms, and by correlations of codes on the same rows."""
    if not -1 <= args.threshold <= 1:
        raise UsageError(f"--threshold {args.threshold:g}: expected -1 to 1")
    if args.samples < 2:
        raise UsageError(f"--samples {args.samples}: expected at least 2")
    if args.pairs and args.json is None:
        raise UsageError("--pairs: the pairs are written to --json; expected --json FILE, too")
    refuse_key(args.key, args.data, "--data")
    refuse_to_overwrite("--json", args.json, args.force)
    console, paths = Console(), (args.run, args.other)
    names = run_names(paths)
    models = [model_at(path).eval() for path in paths]
    results: list[tuple[DictionarySimilarity, Matching | None]] = []
    signed = any(_signed(model) for model in models)
    pair: Any = {"threshold": args.threshold, "names": (names[0], names[1])}
    try:
        atoms = [dictionary_of(model).atoms for model in models]
        results.append(atom_similarity(*atoms, signed=signed, **pair))
    except ValueError as problem:
        console.print(f"no cosines: {problem}", highlight=False, soft_wrap=True)
    rows = _rows(args, models)
    if rows is not None:
        codes = [_codes(each, name, args.samples) for each, name in zip(rows, names, strict=True)]
        results.append(code_similarity(*codes, signed=signed, **pair))
    if not results:
        raise ValueError(
            "nothing to compare: the dictionaries are of different spaces, and --data names no rows to code"
        )
    console.print(_table(results, args.threshold))
    if args.json is not None:
        report = MatchReport(
            {name: printable(str(path)) for name, path in zip(names, paths, strict=True)},
            tuple(result for result, _ in results),
            {result.by: _pairs(pairs) for result, pairs in results if pairs is not None and args.pairs},
        )
        write_atomic(args.json, to_json(report))
        console.print(f"report   {args.json}", highlight=False, soft_wrap=True)


def _signed(model: AbstractSparseModel) -> bool:
    """Whether codes of either sign are possible, as random samples tell."""
    weights = next(model.parameters())
    x = torch.randn(64, *model.shape, generator=torch.Generator().manual_seed(0)).to(weights)
    with torch.no_grad():
        return bool((model.encode(x) < 0).any())


def _rows(args: comparing.MatchArguments, models: list[AbstractSparseModel]) -> tuple[CodedRows, CodedRows] | None:
    """The same rows, coded by both; those of --data, else of the first run's data if both models take them."""
    first, second = models
    run = RunFolder(args.run)
    if args.data is not None:
        like = run.config().data if run.exists else None
        sources = [source_of_file(args.data, model, args.split, like=like, key=args.key) for model in models]
        return sources[0].rows, sources[1].rows
    if not run.exists or first.shape != second.shape:
        return None
    return tuple(source_of_run(run, model, args.split, moved=args.data_path).rows for model in models)  # pyright: ignore[reportReturnType] - two


def _codes(rows: CodedRows, name: str, samples: int) -> Any:
    with progress(f"codes of {described(name)}", min(rows.n, samples)) as report:
        return csr_of_rows(rows, samples, report)


def _pairs(pairs: Matching) -> tuple[tuple[int, int], ...]:
    return tuple(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


def _table(results: list[tuple[DictionarySimilarity, Matching | None]], threshold: float) -> Table:
    first = results[0][0]
    table = Table(
        box=box.SIMPLE,
        title=f"{first.first}: {first.n_atoms[0]} codes, {first.second}: {first.n_atoms[1]}; threshold {threshold:g}",
        title_justify="left",
        caption=CAPTION,
        caption_justify="left",
    )
    table.add_column("by")
    for column in ("nearest", "above", "nearest, back", "above, back", "one to one", "above"):
        table.add_column(column, justify="right")
    for result, _ in results:
        matched = "-" if result.matched is None else f"{result.matched:.3f}"
        share = "-" if result.matched_share is None else f"{result.matched_share:.1%}"
        there, back = zip(result.mean_max, result.share, strict=True)
        rows = "" if result.n is None else f" on {result.n} rows"
        cells = (f"{there[0]:.3f}", f"{there[1]:.1%}", f"{back[0]:.3f}", f"{back[1]:.1%}", matched, share)
        table.add_row(f"{result.by}{rows}", *cells)
    return table
