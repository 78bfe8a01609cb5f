"""`sparsecode extract`: activations of a language or image model as shards."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from itertools import islice, tee
from pathlib import Path

from torch import Tensor, nn

from sparsecode.cli.arguments import UsageError, sweep_extract
from sparsecode.cli.console import Console
from sparsecode.cli.image_models import TIMM, Preprocessing, batches_of, image_model, names_image_model, source_of
from sparsecode.data.hooks import extract
from sparsecode.data.images import PARTS, progress
from sparsecode.data.language_models import language_model
from sparsecode.data.recorded_host import HOST, RecordedHost, recorded_path
from sparsecode.data.shard_index import read_index
from sparsecode.data.shard_writer import ShardWriter, refuse_shards
from sparsecode.data.text import TokenBatch, bytes_of
from sparsecode.data.text_host import device_or_default, named, text_host
from sparsecode.data.token_rows import RowChoice, largest_norms, sizes_of, token_rows
from sparsecode.files import printable
from sparsecode.leaves import tag_of
from sparsecode.specs import Spec, to_json
from sparsecode.version import __version__

__all__ = ["extract_command"]

TEXT_ALONE = ("window", "length", "keep_special", "skip_first", "max_norm", "bos", "column", "valid", "test")
IMAGES_ALONE = ("size", "mean", "std")


def extract_command(args: sweep_extract.ExtractArguments) -> None:
    """Write the activations of a Hugging Face model on a text, or of an image model on a data source, as shards to train on."""
    refuse_shards(args.out)
    if args.batch_size < 1:
        raise UsageError(f"--batch-size {args.batch_size}: expected at least 1")
    by_path, usual = names_image_model(args.model), args._field_defaults
    images = by_path and args.tokenizer is None
    for name in TEXT_ALONE if images else IMAGES_ALONE if by_path else (*IMAGES_ALONE, "weights"):
        if getattr(args, name) != usual[name]:
            kind = "a language model; an image model's data keep their splits" if images else "an image model"
            raise UsageError(f"--{name.replace('_', '-')} is of {kind}: leave it out")
    if len(set(args.hook_point)) < len(args.hook_point) or not (args.hook_point or images):
        raise UsageError("--hook-point: expected the names of one or more submodules, each once")
    console = Console()
    (_of_images if images else _of_text)(args, console)
    index = read_index(args.out)
    rows = {part: sum(shard.rows for shard in getattr(index, part)) for part in PARTS}
    shapes = [site.shape if len(index.sites) == 1 else f"{site.shape} of {site.name}" for site in index.sites]
    console.print(
        f"{args.out}: rows of shape {', '.join(map(str, shapes))} in {index.dtype}, "
        f"{', '.join(f'{n} {part}' for part, n in rows.items())}{', with labels' if index.labelled else ''}",
        highlight=False,
        soft_wrap=True,
    )
    if left_out := ", ".join(f"{n} of {reason}" for reason, n in index.left_out.items() if n):
        console.print(f"rows left out: {left_out}", highlight=False, soft_wrap=True)


def _of_text(args: sweep_extract.ExtractArguments, console: Console) -> None:
    text, length, window = Path(args.text), args.length, args.window
    if not 1 <= window <= length:
        raise UsageError(f"--window {window}: expected 1 to --length, {length}")
    if not 0 <= args.skip_first < length:
        raise UsageError(f"--skip-first {args.skip_first}: expected 0 to {length - 1}, less than --length")
    if args.max_norm is not None and not 0 < args.max_norm < math.inf:
        raise UsageError(f"--max-norm {args.max_norm:g}: expected a number of medians above 0, such as 10")
    size = bytes_of(text)
    if args.model.startswith(TIMM):
        raise UsageError(f"--tokenizer is of language models, and {args.model} is an image model: leave it out")
    model = language_model(args.model, args.tokenizer, weights=args.weights, seed=args.seed)
    choice = RowChoice(args.keep_special, args.skip_first, args.max_norm, window)
    host = text_host(model, args.hook_point, choice, length=length, bos=args.bos, device=args.device)
    hook_points = host.hook_points
    provenance = _provenance(args, model.provenance, hook_points, size)

    @contextmanager
    def outputs(first: int, report: Callable[[int], None]) -> Generator[Iterator[tuple[TokenBatch, dict[str, Tensor]]]]:
        """Batches from number `first` on, and what the hook points give for them."""
        with closing(host.batches(text, args.batch_size, args.column, report)) as batches:
            yield host.outputs(islice(batches, first, None))

    with (
        _writer(args, provenance, console) as writer,
        progress(f"{', '.join(hook_points)} of {model.name}", size) as report,
    ):
        most: dict[str, float] | None = None
        with outputs(0, lambda _: None) as first:
            if choice.max_norm is not None or not writer.appended:
                batch, x = next(first)
                most = largest_norms(sizes_of(x, batch, choice), choice)
                if most is not None:
                    console.print(
                        f"rows are kept up to {choice.max_norm:g} medians of the norms in the first batch: "
                        + ", ".join(f"{value:.4g} at {name}" for name, value in most.items()),
                        highlight=False,
                        soft_wrap=True,
                    )
        with outputs(writer.appended, report) as stream:
            for batch, x in stream:
                rows = token_rows(x, batch, choice, most)
                sites = rows.sites if len(rows.sites) > 1 else next(iter(rows.sites.values()))
                writer.append(sites, rows.group, tokens=rows.tokens, left_out=rows.left_out)


def _provenance(
    args: sweep_extract.ExtractArguments, model: dict[str, str], hook_points: tuple[str, ...], size: int
) -> dict[str, str]:
    text = Path(args.text)
    special = "kept" if args.keep_special else "left out"
    result = {"made_by": f"sparsecode {__version__} extract"} | model
    result |= {
        "hook_point": ", ".join(hook_points),
        "text": f"{printable(text.name)}, {size} bytes",
        "spans": f"{args.length} tokens, special ones {special}, {args.batch_size} at a time",
    }
    if args.window == 1:
        recorded = RecordedHost(
            recorded_path(args.model), recorded_path(args.text), hook_points, args.length,
            tokenizer=None if args.tokenizer is None else recorded_path(args.tokenizer),
            weights=None if args.weights is None else recorded_path(args.weights),
            seed=args.seed, column=args.column, bos=args.bos, skip_first=args.skip_first, keep_special=args.keep_special,
        )  # fmt: skip
        result[HOST] = to_json(recorded).decode()
    if args.column != "text":
        result["column"] = printable(args.column)
    if args.window > 1:
        result["window"] = f"{args.window} tokens"
    if args.bos:
        result["bos"] = "before each span"
    if args.skip_first:
        result["skip_first"] = f"{args.skip_first} positions"
    if args.max_norm is not None:
        result["max_norm"] = f"{args.max_norm:g} medians of the norms in the first batch"
    return result


def _of_images(args: sweep_extract.ExtractArguments, console: Console) -> None:
    if args.size is not None and args.size < 1:
        raise UsageError(f"--size {args.size}: expected at least 1 pixel")
    if 0 in args.std:
        raise UsageError("--std: expected numbers other than 0")
    source = source_of(args.text)
    module, usual = image_model(args.model, args.weights, args.seed)
    takes = Preprocessing(args.size or usual.size, usual.channels, args.mean or usual.mean, args.std or usual.std)
    module = module.to(device_or_default(args.device))
    splits = source.load()
    provenance = {
        "made_by": f"sparsecode {__version__} extract",
        "model": args.model,
        "weights": "of the model" if args.weights is None else printable(Path(args.weights).name),
        "hook_point": ", ".join(args.hook_point) or "output",
        "data": to_json(source).decode() if isinstance(source, Spec) else args.text,
        "input": f"size {takes.size}, mean {[*takes.mean]}, std {[*takes.std]}, {args.batch_size} at a time",
    }
    # the output of a model alone is that of the only submodule of a sequence
    network, hook_points = (module, args.hook_point) if args.hook_point else (nn.Sequential(module), ("0",))
    total = splits.train.n + splits.valid.n + splits.test.n
    with _writer(args, provenance, console) as writer, progress(f"{args.model} of {tag_of(source)}", total) as report:
        batches = islice(batches_of(splits, takes, args.batch_size), writer.appended, None)
        kept, fed = tee(batches)
        outputs = named(extract(network, hook_points, (b.x for b in fed)), args.model, "samples of this source")
        for batch, x in zip(kept, outputs, strict=True):
            for name, value in x.items():
                if value.ndim < 2 or len(value) != len(batch.x):
                    where = name if args.hook_point else "the output of the model"
                    raise ValueError(
                        f"{where} has shape {list(value.shape)} for {len(batch.x)} samples; expected a row for each"
                    )
            writer.append(x if len(x) > 1 else next(iter(x.values())), batch.group, batch.label, batch.part)
            report(int(batch.group[-1]) + 1)


@contextmanager
def _writer(
    args: sweep_extract.ExtractArguments, provenance: dict[str, str], console: Console
) -> Generator[ShardWriter]:
    shares = {"valid": args.valid, "test": args.test}
    with ShardWriter(
        args.out, args.rows_per_shard, args.seed, **shares, dtype=args.dtype, provenance=provenance
    ) as writer:
        if writer.appended:
            console.print(f"going on with {args.out} after {writer.appended} batches", highlight=False, soft_wrap=True)
        yield writer
