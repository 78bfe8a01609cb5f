"""`sparsecode concepts`: which codes stand for the classes of labelled data, and whether others absorb them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from sparsecode.cli.arguments import UsageError, explaining, option_error
from sparsecode.cli.console import Console
from sparsecode.cli.paths import refuse_to_overwrite, run_labels
from sparsecode.data import Splits
from sparsecode.data.images import progress
from sparsecode.data.splits import Split
from sparsecode.evaluate.dictionary.geometry import dictionary_of
from sparsecode.evaluate.probes.absorption import Absorption, AbsorptionSettings, feature_absorption
from sparsecode.evaluate.probes.sparse_probe import KSparse, KSparseSettings, k_sparse_probe
from sparsecode.evaluate.units.feature_collection import csr_of_rows, rows_of_split
from sparsecode.files import printable, write_atomic
from sparsecode.models.base import AbstractSparseModel
from sparsecode.runs import RunFolder
from sparsecode.specs import Spec, to_json

__all__ = ["ConceptsReport", "concepts_command"]


class ConceptsReport(Spec, tag="concepts_report"):
    """What `--json` writes: folders of the runs by name, and of each the probes and the absorption of each class."""

    runs: dict[str, str]
    probes: dict[str, KSparse]
    absorption: dict[str, tuple[Absorption, ...]]


class _Labelled(NamedTuple):
    """Rows in model space, their codes (sparse) and labels."""

    x: NDArray[Any]
    z: Any
    label: NDArray[np.int64]


def concepts_command(args: explaining.ConceptsArguments) -> None:
    """k-sparse probes and feature absorption of the classes of the runs' data."""
    try:
        settings = KSparseSettings(ks=tuple(sorted(set(args.ks))), strength=args.strength, codes=args.all_codes)
    except ValueError as error:
        raise option_error(error) from None
    if args.samples < 2:
        raise UsageError(f"--samples {args.samples}: expected at least 2")
    if args.json is not None:
        refuse_to_overwrite("--json", args.json, args.force)
    console, paths = Console(), (args.run, *args.others)
    names = run_labels(paths, console)
    probes: dict[str, KSparse] = {}
    absorbed: dict[str, tuple[Absorption, ...]] = {}
    loaded: dict[bytes, Splits] = {}
    for name, path in zip(names, paths, strict=True):
        folder = RunFolder(path)
        model, splits = folder.best_model(), folder.splits(args.data_path, loaded)
        train, test = (_labelled(model, part, args.samples, path) for part in (splits.train, splits.test))
        with progress(f"probes of {name}", len(np.unique(train.label))) as report:
            probes[name] = k_sparse_probe(
                train.z, train.label, test.z, test.label, settings, activations=(train.x, test.x), report=report
            )
        absorbed[name] = _absorption(model, probes[name], train, test, settings.strength, name, console)
    console.print(_means(probes, absorbed))
    if len(names) == 1:
        console.print(_classes(probes[names[0]], absorbed[names[0]]))
    if args.json is not None:
        runs = {name: printable(str(path)) for name, path in zip(names, paths, strict=True)}
        write_atomic(args.json, to_json(ConceptsReport(runs, probes, absorbed)))
        console.print(f"report   {args.json}", highlight=False, soft_wrap=True)


@torch.no_grad()
def _labelled(model: AbstractSparseModel, split: Split, samples: int, path: Path) -> _Labelled:
    if split.label is None or split.label.ndim != 1:
        raise ValueError(f"{path}: its data have no class labels; expected a data source with labels, such as digits")
    part = split.take(slice(samples))
    assert part.label is not None
    weights = next(model.parameters())
    x = [model.normalise(rows.x.to(weights)).flatten(1).cpu() for _, rows in part.chunks(1000)]
    return _Labelled(torch.cat(x).numpy(), csr_of_rows(rows_of_split(model, part)), part.label.cpu().numpy())


def _absorption(
    model: AbstractSparseModel,
    probes: KSparse,
    train: _Labelled,
    test: _Labelled,
    strength: float,
    name: str,
    console: Console,
) -> tuple[Absorption, ...]:
    """Absorption of each class; none where the decoder is not linear or gives something else than the rows."""
    try:
        if not model.reconstructs:
            raise ValueError("the model does not reconstruct its samples")
        atoms = dictionary_of(model).atoms.cpu().numpy()
    except ValueError as problem:
        console.print(f"{name}: no absorption: {problem}", highlight=False, soft_wrap=True)
        return ()
    settings = AbsorptionSettings(strength=strength)
    return tuple(
        feature_absorption(each.label, (train.x, train.z, train.label), (test.x, test.z, test.label), atoms, settings)
        for each in probes.classes
    )


def _means(probes: dict[str, KSparse], absorbed: dict[str, tuple[Absorption, ...]]) -> Table:
    ks = sorted({k for probe in probes.values() for k in probe.ks})
    table = Table(
        box=box.SIMPLE,
        title="accuracy of probes on the k best codes, mean over classes",
        title_justify="left",
        caption="accuracy: mean recall of a class and of all others, 0.5 by chance; absorbed: share of\nrecognised rows of a class whose codes are silent and others stand for it",
        caption_justify="left",
    )
    table.add_column("run", overflow="fold")
    for column in (*(f"k = {k}" for k in ks), "activations", "absorbed"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, probe in probes.items():
        rates = [each.rate for each in absorbed[name]]
        by_k = dict(zip(probe.ks, probe.accuracy, strict=True))
        cells = [f"{by_k[k]:.3f}" if k in by_k else "" for k in ks]
        dense = "-" if probe.activations is None else f"{probe.activations:.3f}"
        table.add_row(name, *cells, dense, f"{np.mean(rates):.1%}" if rates else "-")
    return table


def _classes(probe: KSparse, absorbed: tuple[Absorption, ...]) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column("class", justify="right")
    table.add_column("best codes")
    for column in (*(f"k = {k}" for k in probe.ks), "activations", "absorbed", "by codes"):
        table.add_column(column, justify="right")
    by_label = {each.label: each for each in absorbed}
    for each in probe.classes:
        there = by_label.get(each.label)
        table.add_row(
            str(each.label),
            " ".join(map(str, each.codes[:3])),
            *(f"{accuracy:.3f}" for accuracy in each.accuracy),
            "-" if each.activations is None else f"{each.activations:.3f}",
            "-" if there is None else f"{there.rate:.1%}",
            "" if there is None else " ".join(str(code) for code, _ in there.absorbing[:3]),
        )
    return table
