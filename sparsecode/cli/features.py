"""`sparsecode features`: what each code stands for, collected into one file and shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec.structs import replace
from rich import box
from rich.table import Table
from rich.text import Text

from sparsecode.cli.arguments import UsageError, explaining, option_error
from sparsecode.cli.console import Console
from sparsecode.cli.feature_exports import export_features, recorded_tokenizer, require_tokens, shard_provenance
from sparsecode.cli.paths import refuse_key, refuse_to_overwrite
from sparsecode.data.images import progress
from sparsecode.data.language_models import token_texts, tokenizer_files
from sparsecode.evaluate.units.feature_collection import collect_features
from sparsecode.evaluate.units.feature_file import (
    FEATURES,
    read_features,
    read_record,
    write_features,
)
from sparsecode.evaluate.units.features import CodeExample, Features, FeatureSettings
from sparsecode.files import printable
from sparsecode.hub import hub_place, place_name
from sparsecode.init_from import model_at
from sparsecode.models.base import AbstractSparseModel
from sparsecode.reports.run_features import FeatureSource, source_of_file, source_of_run
from sparsecode.runs import RunFolder
from sparsecode.specs import differences

__all__ = ["features_command"]

RARE, DENSE = 1e-4, 0.1  # shares of rows: codes rarer and denser than this are counted apart
KINDS = {-1: "strongest", -2: "weakest"}


def features_command(args: explaining.FeaturesArguments) -> None:
    """Collect the features of a run's codes, or take those that are stored; print a summary and the codes asked for."""
    run = RunFolder(args.run)
    if args.data is None and not run.exists and hub_place(args.run) is None and not args.run.exists():
        raise FileNotFoundError(f"{args.run}: no such file or folder; expected a run")
    if args.data is None and not run.exists:
        raise UsageError(f"{args.run} is no run, so that its data are not known: expected DATA, the rows to code")
    if args.out is None and not run.exists:
        raise UsageError(f"{args.run} is no run with a folder to write to: expected --out FILE")
    if args.out is not None and args.out.suffix != FEATURES.suffix:
        raise UsageError(f"--out {args.out}: expected a name that ends in {FEATURES.suffix}")
    refuse_key(args.key, args.data, "DATA")
    path = args.out or run.path / FEATURES
    if args.tokenizer is None:
        args = args._replace(tokenizer=recorded_tokenizer(args, run))
    model, console = model_at(args.run).eval(), Console()
    settings = _settings(args, run)
    if wrong := [number for number in args.show if not 0 <= number < model.n_code]:
        raise UsageError(f"--show {wrong[0]}: expected 0 to {model.n_code - 1}")
    source = _source(args, run, model, settings.theta)
    if args.export is not None:
        require_tokens(args.export[0], source.rows)
    features = _stored(path, args, source, settings, run)
    if features is None:
        features = _collected(path, args, source, settings, run)
        write_features(path, features, replace(source.origin, tokenizer=_tokenizer_name(args)))
        stored = ""
    else:
        stored = " (as they were stored)"
    whose = f"features of {source.origin.run}, {source.origin.coder}"
    console.print(
        f"{whose}: {features.n_code} codes on {features.n} rows of {source.origin.data}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_summary(features))
    console.print(f"features {path}{stored}", highlight=False, soft_wrap=True)
    if args.export is not None:
        exported = export_features(args, run, model, source.rows, features)
        lacks = f" ({exported.lacks})" if exported.lacks else ""
        console.print(f"export   {exported.folder}{lacks}", highlight=False, soft_wrap=True)
    for number in args.show:
        _show(console, features, number)


def _settings(args: explaining.FeaturesArguments, run: RunFolder) -> FeatureSettings:
    theta = args.theta
    if theta is None:
        theta = run.config().evaluate.theta if run.exists else 0.0
    try:
        return FeatureSettings(
            top=args.top,
            bands=args.bands,
            per_band=args.per_band,
            near=args.near,
            neighbours=args.neighbours,
            before=args.before,
            after=args.after,
            theta=theta,
            seed=args.seed,
        )
    except ValueError as error:
        raise option_error(error) from None


def _source(
    args: explaining.FeaturesArguments, run: RunFolder, model: AbstractSparseModel, theta: float
) -> FeatureSource:
    try:
        model.coder_called(args.coder)
    except ValueError as error:
        raise UsageError(f"--{error}") from None
    if args.data is None:
        return source_of_run(run, model, args.split, theta=theta, coder=args.coder, moved=args.data_path)
    if not args.data.exists():
        raise FileNotFoundError(f"{args.data}: no such file or folder; expected shards, sparse codes, or an array")
    like = run.config().data if run.exists else None
    source = source_of_file(args.data, model, args.split, like=like, key=args.key, theta=theta, coder=args.coder)
    return source._replace(origin=replace(source.origin, run=printable(args.run.resolve().name)))


def _stored(
    path: Path, args: explaining.FeaturesArguments, source: FeatureSource, settings: FeatureSettings, run: RunFolder
) -> Features | None:
    """The features that are there, if they are those asked for, with texts added if there are none yet. Raises FileExistsError if they are others and may not be replaced."""
    if args.force or not path.exists():
        refuse_to_overwrite("--out", path if args.out else None, args.force)
        return None
    record = read_record(path)
    origin = replace(source.origin, tokenizer=record.origin.tokenizer)
    changes = differences(record.settings, settings) + differences(record.origin, origin)
    if changes:
        raise FileExistsError(
            f"{path}: holds other features (there -> asked for: {'; '.join(changes)}); choose another --out, or collect these with --force"
        )
    features = read_features(path)
    if args.tokenizer is not None and features.contexts is not None and not features.texts:
        texts = token_texts(args.tokenizer)
        _check_tokenizer(args, run)
        features = features._replace(texts=texts(np.unique(features.contexts.token_id).tolist()))
        write_features(path, features, replace(origin, tokenizer=_tokenizer_name(args)))
    return features


def _collected(
    path: Path, args: explaining.FeaturesArguments, source: FeatureSource, settings: FeatureSettings, run: RunFolder
) -> Features:
    texts = None
    if args.tokenizer is not None:
        texts = token_texts(args.tokenizer)
        _check_tokenizer(args, run)
    with progress(
        f"features of {path.parent.parent.name if args.out is None else args.run.name}", source.rows.n
    ) as report:
        features = collect_features(source.rows, settings, report)
    if texts is None or features.contexts is None:
        return features
    return features._replace(texts=texts(np.unique(features.contexts.token_id).tolist()))


def _tokenizer_name(args: explaining.FeaturesArguments) -> str:
    return "" if args.tokenizer is None else printable(place_name(args.tokenizer))


def _check_tokenizer(args: explaining.FeaturesArguments, run: RunFolder) -> None:
    """Raise UsageError if the shards were made by another tokenizer."""
    assert args.tokenizer is not None
    provenance = shard_provenance(args, run)
    there, given = provenance.get("tokenizer_files", ""), tokenizer_files(args.tokenizer)
    if there and there != given:
        raise UsageError(
            f"--tokenizer {args.tokenizer}: its files are not those that made the tokens ({given or 'none'}; expected {there})"
        )


def _summary(features: Features) -> Table:
    density, n_code = features.density, features.n_code
    l0 = float((np.arange(len(features.rows_by_l0)) * features.rows_by_l0).sum()) / features.n
    table = Table(
        box=box.SIMPLE,
        caption=f"active: |value| > {features.settings.theta:g}",
        caption_justify="left",
    )
    table.add_column("codes")
    table.add_column("", justify="right")
    for words, number in (
        ("active on no row", int((features.n_active == 0).sum())),
        (f"on fewer than {RARE:.2%} of rows", int(((density > 0) & (density < RARE)).sum())),
        (f"on more than {DENSE:.0%}", int((density > DENSE).sum())),
        ("on every row", int((features.n_active == features.n).sum())),
    ):
        table.add_row(words, f"{number}  ({number / n_code:.1%})")
    table.add_row("mean L0 of a row", f"{l0:.2f}")
    return table


def _show(console: Console, features: Features, number: int) -> None:
    code = features.code(number)
    if not code.n_active:
        console.print(f"\ncode {number}: active on none of {features.n} rows", highlight=False, soft_wrap=True)
        return
    console.print(
        f"\ncode {number}: active on {code.n_active} of {features.n} rows ({code.density:.3%}), mean strength {code.mean:.4g}, "
        f"between bands {', '.join(f'{value:.4g}' for value in code.quantiles[1:-1])}, largest {code.largest:.4g}",
        highlight=False,
        soft_wrap=True,
    )
    together = ", ".join(f"{other} ({ratio:.2f})" for other, _, ratio in code.neighbours)
    console.print(f"fires with (Jaccard): {together or 'none'}", highlight=False, soft_wrap=True)
    for example in code.examples:
        kind = KINDS.get(example.band, f"band {example.band + 1} of {features.settings.bands}")
        line = Text(f"  {kind:12} {example.value:9.4g}  row {example.row:<9}")
        console.print(line + _context(features, example), soft_wrap=True)


def _context(features: Features, example: CodeExample) -> Text:
    """The text around an example, its own token in brackets."""
    if features.texts:
        words, gap = [printable(word.replace("\n", "\u23ce")) for word in features.words(example)], ""
    else:
        words, gap = [] if example.token_id is None else list(map(str, example.token_id)), " "
    if not words:
        return Text()
    before, after = gap.join(words[: example.at]), gap.join(words[example.at + 1 :])
    return Text(f"{before}{gap}") + Text(f"[{words[example.at]}]", style="bold") + Text(f"{gap}{after}")
