"""Exports of `sparsecode features --export`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsecode.cli.arguments import UsageError, explaining
from sparsecode.data.host import Host
from sparsecode.data.images import progress
from sparsecode.data.language_models import padding_of, token_texts, tokenizer_files
from sparsecode.data.recorded_host import RecordedHost, host_in
from sparsecode.data.shard_index import INDEX, read_index
from sparsecode.evaluate.dictionary.geometry import dictionary_of
from sparsecode.evaluate.dictionary.logit_effects import LogitEffects, logit_effects
from sparsecode.evaluate.units.feature_collection import CodedRows
from sparsecode.evaluate.units.features import Features
from sparsecode.files import printable
from sparsecode.hub import local_path, place_name
from sparsecode.models.base import AbstractSparseModel
from sparsecode.reports.delphi import DelphiSource, sequences_of, write_delphi
from sparsecode.reports.neuronpedia import NeuronpediaSource, write_neuronpedia
from sparsecode.runs import RunFolder

__all__ = ["export_features", "recorded_tokenizer", "require_tokens", "shard_provenance"]

CODES = "codes"  # in the place of a hook point that nobody knows
GIGABYTES = 2.0  # of weights of a language model that is loaded for effects on its logits


class Exported(NamedTuple):
    """The folder of an export, and what it lacks, in words."""

    folder: Path
    lacks: str | None = None


def export_features(
    args: explaining.FeaturesArguments, run: RunFolder, model: AbstractSparseModel, rows: CodedRows, features: Features
) -> Exported:
    """Write what `--export` asks for, of rows with tokens."""
    assert args.export is not None
    assert rows.tokens is not None
    kind, folder = args.export
    about, host = shard_provenance(args, run), recorded_host(args, run)
    if host is not None and not about:
        names = {"model": place_name(host.model), "text": place_name(host.text)}
        about = {"hook_point": ", ".join(host.hook_points), **names}
    hook_point = about.get("hook_point", CODES).split(", ")[0]
    name = printable(args.run.resolve().name)
    if kind == "delphi":
        padding = 0 if args.tokenizer is None else padding_of(args.tokenizer)
        network = about.get("model", name) if args.tokenizer is None else str(local_path(args.tokenizer).resolve())
        source = DelphiSource(network, about.get("text", ""), args.split, n_splits=min(5, rows.n_code))
        with progress(f"codes for {kind}", rows.n) as report:
            write_delphi(folder, hook_point, rows, source, padding=padding, report=report)
        return Exported(folder)
    shape = sequences_of(rows.tokens).ids.shape
    number = re.search(r"\d+", hook_point)
    layer = int(number[0]) if number else 0
    source = NeuronpediaSource(about.get("model", name), layer, name, about.get("text", ""), *shape)
    try:
        atoms = dictionary_of(model, data_space=True).atoms.cpu().numpy()
    except ValueError:  # the decoder is not linear
        atoms = None
    try:
        effects, lacks = _effects(host, atoms), None
    except (OSError, ValueError, ImportError) as error:
        effects, lacks = None, f"effects on logits are empty: {error}"
    spelled = {} if args.tokenizer is None else {"texts": token_texts(args.tokenizer)}
    with progress(f"pages for {kind}", int(np.count_nonzero(features.n_active))) as report:
        write_neuronpedia(folder, features, source, atoms, report, effects=effects, **spelled)
    return Exported(folder, lacks)


def _effects(host: RecordedHost | None, atoms: NDArray[Any] | None) -> LogitEffects:
    """Raises OSError, ValueError or ImportError with the reason why there are none."""
    if atoms is None:
        raise ValueError("the decoder is not linear")
    if host is None:
        raise ValueError("the data do not name their language model")
    if problem := host.missing(GIGABYTES, text=False):
        raise ValueError(problem)
    return logit_effects(atoms, host.network().module)


def recorded_host(args: explaining.FeaturesArguments, run: RunFolder) -> RecordedHost | None:
    """The language model that the rows are from: of shards as they name it, of a running host itself; None if the data name none."""
    data = run.config().data if args.data is None and run.exists else None
    return data.recorded(data.sites_in_order) if isinstance(data, Host) else host_in(shard_provenance(args, run))


def require_tokens(kind: str, rows: CodedRows) -> None:
    """Raise UsageError for rows without tokens, which no export can do without."""
    if rows.tokens is None:
        raise UsageError(
            f"--export {kind}: the rows have no tokens; expected shards of a text, which sparsecode extract writes"
        )


def recorded_tokenizer(args: explaining.FeaturesArguments, run: RunFolder) -> Path | None:
    """The tokenizer that the data name, if it is there: of shards with the files that it had, of a running host that which the host has."""
    data = run.config().data if args.data is None and run.exists else None
    if isinstance(data, Host):
        return Path(data.tokenizer or data.model)
    about = shard_provenance(args, run)
    try:
        host = host_in(about)
        same = host is not None and tokenizer_files(Path(host.tokenizer_folder)) == about.get("tokenizer_files")
    except (OSError, ValueError, ImportError):  # not there any more
        return None
    return Path(host.tokenizer_folder) if host is not None and same and about["tokenizer_files"] else None


def shard_provenance(args: explaining.FeaturesArguments, run: RunFolder) -> dict[str, str]:
    """What the shards say that the rows are from; nothing for other rows."""
    data = args.data or args.data_path or (getattr(run.config().data, "path", None) if run.exists else None)
    if data is None or not (Path(data) / INDEX).is_file():
        return {}
    try:
        return read_index(Path(data)).provenance
    except ValueError:  # of sparse codes
        return {}
