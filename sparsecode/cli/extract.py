"""`sparsecode extract`: activations of a language or image model as shards."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from itertools import islice, tee
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sparsecode.cli.arguments import UsageError, sweep_extract
from sparsecode.cli.console import Console
from sparsecode.cli.image_models import Preprocessing, batches_of, image_model, names_image_model, source_of
from sparsecode.data.hooks import extract, longest
from sparsecode.data.images import PARTS, progress
from sparsecode.data.shard_index import read_index
from sparsecode.data.shard_writer import ShardWriter, refuse_shards
from sparsecode.data.text import bytes_of, token_batches
from sparsecode.files import printable
from sparsecode.leaves import tag_of
from sparsecode.specs import Spec, to_json
from sparsecode.version import __version__

__all__ = ["extract_command"]

TEXT_ALONE = ("window", "length", "keep_special", "valid", "test")
IMAGES_ALONE = ("weights", "size", "mean", "std")


def extract_command(asked: sweep_extract.ExtractArguments) -> None:
    """Write the activations of a Hugging Face model on a text, or of an image model on a data source, as shards to train on."""
    refuse_shards(asked.out)
    if asked.batch_size < 1:
        raise UsageError(f"--batch-size {asked.batch_size}: expected at least 1")
    images, usual = names_image_model(asked.model), asked._field_defaults
    for name in TEXT_ALONE if images else IMAGES_ALONE:
        if getattr(asked, name) != usual[name]:
            kind = "a language model; an image model's data keep their splits" if images else "an image model"
            raise UsageError(f"--{name.replace('_', '-')} is of {kind}: leave it out")
    if len(set(asked.hook_point)) < len(asked.hook_point) or not (asked.hook_point or images):
        raise UsageError("--hook-point: expected the names of one or more submodules, each once")
    console = Console()
    (_of_images if images else _of_text)(asked, console)
    index = read_index(asked.out)
    rows = {part: sum(shard.rows for shard in getattr(index, part)) for part in PARTS}
    shapes = [site.shape if len(index.sites) == 1 else f"{site.shape} of {site.name}" for site in index.sites]
    console.print(
        f"{asked.out}: rows of shape {', '.join(map(str, shapes))} in {index.dtype}, "
        f"{', '.join(f'{n} {part}' for part, n in rows.items())}{', with labels' if index.labelled else ''}",
        highlight=False,
        soft_wrap=True,
    )


def _of_text(asked: sweep_extract.ExtractArguments, console: Console) -> None:
    model, text, length, window = Path(asked.model), Path(asked.text), asked.length, asked.window
    if not 1 <= window <= length:
        raise UsageError(f"--window {window}: expected 1 to --length, {length}")
    size = bytes_of(text)
    network, tokeniser = _load(model)
    limit = longest(network)
    if limit is not None and length > limit:
        raise UsageError(f"--length {length}: expected at most {limit}, the most that {model.name} takes")
    network = network.to(_device(asked))
    hook_point = ", ".join(asked.hook_point)
    provenance = {
        "made_by": f"sparsecode {__version__} extract",
        "model": printable(model.resolve().name),
        "hook_point": hook_point,
        "text": f"{printable(text.name)}, {size} bytes",
        "spans": f"{length} tokens, special ones {'kept' if asked.keep_special else 'left out'}, {asked.batch_size} at a time",
    }
    if window > 1:
        provenance["window"] = f"{window} tokens"
    with (
        _writer(asked, provenance, console) as writer,
        progress(f"{hook_point} of {model.name}", size) as report,
        closing(token_batches(text, tokeniser, length=length, batch_size=asked.batch_size, report=report)) as batches,
    ):
        mine, theirs = tee(islice(batches, writer.appended, None))
        for batch, x in zip(mine, extract(network, asked.hook_point, (b.inputs for b in theirs)), strict=True):
            chosen = batch.inputs["attention_mask"].bool() if asked.keep_special else batch.own
            sites, whole = successive(x, chosen, window)
            writer.append(sites if len(sites) > 1 else next(iter(sites.values())), batch.group[whole.nonzero()[:, 0]])


def _of_images(asked: sweep_extract.ExtractArguments, console: Console) -> None:
    if asked.size is not None and asked.size < 1:
        raise UsageError(f"--size {asked.size}: expected at least 1 pixel")
    if 0 in asked.std:
        raise UsageError("--std: expected numbers other than 0")
    source = source_of(asked.text)
    module, usual = image_model(asked.model, asked.weights, asked.seed)
    takes = Preprocessing(asked.size or usual.size, usual.channels, asked.mean or usual.mean, asked.std or usual.std)
    module = module.to(_device(asked))
    splits = source.load()
    provenance = {
        "made_by": f"sparsecode {__version__} extract",
        "model": asked.model,
        "weights": "of the model" if asked.weights is None else printable(Path(asked.weights).name),
        "hook_point": ", ".join(asked.hook_point) or "output",
        "data": to_json(source).decode() if isinstance(source, Spec) else asked.text,
        "input": f"size {takes.size}, mean {[*takes.mean]}, std {[*takes.std]}, {asked.batch_size} at a time",
    }
    # the output of a model alone is that of the only submodule of a sequence
    network, hook_points = (module, asked.hook_point) if asked.hook_point else (nn.Sequential(module), ("0",))
    total = splits.train.n + splits.valid.n + splits.test.n
    with _writer(asked, provenance, console) as writer, progress(f"{asked.model} of {tag_of(source)}", total) as report:
        batches = islice(batches_of(splits, takes, asked.batch_size), writer.appended, None)
        mine, theirs = tee(batches)
        for batch, x in zip(mine, extract(network, hook_points, (b.x for b in theirs)), strict=True):
            for name, value in x.items():
                if value.ndim < 2 or len(value) != len(batch.x):
                    where = name if asked.hook_point else "the output of the model"
                    raise ValueError(
                        f"{where} has shape {list(value.shape)} for {len(batch.x)} samples; expected a row for each"
                    )
            writer.append(x if len(x) > 1 else next(iter(x.values())), batch.group, batch.label, batch.part)
            report(int(batch.group[-1]) + 1)


@contextmanager
def _writer(
    asked: sweep_extract.ExtractArguments, provenance: dict[str, str], console: Console
) -> Generator[ShardWriter]:
    shares = {"valid": asked.valid, "test": asked.test}
    with ShardWriter(
        asked.out, asked.rows_per_shard, asked.seed, **shares, dtype=asked.dtype, provenance=provenance
    ) as writer:
        if writer.appended:
            console.print(f"going on with {asked.out} after {writer.appended} batches", highlight=False, soft_wrap=True)
        yield writer


def _device(asked: sweep_extract.ExtractArguments) -> str:
    return asked.device or ("cuda" if torch.cuda.is_available() else "cpu")


def successive(x: dict[str, Tensor], chosen: Tensor, window: int) -> tuple[dict[str, Tensor], Tensor]:
    """Rows [n, d] of x [B, T, d] for each hook point and each of `window` successive tokens, all of them `chosen` [B, T]; and
    which tokens [B, T - window + 1] they begin at. The site of the i-th token after the first is NAME+i.
    """
    stop = max(0, chosen.shape[1] - window + 1)
    whole = torch.stack([chosen[:, i : i + stop] for i in range(window)]).all(dim=0)
    sites = {
        f"{name}+{i}" if i else name: value[:, i : i + stop][whole.to(value.device)]
        for name, value in x.items()
        for i in range(window)
    }
    return sites, whole


def _load(folder: Path) -> tuple[Any, Any]:
    """Model, without a head, and tokenizer from a folder; pickled weights are refused."""
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise ImportError(f"extract needs transformers ({error}); pip install 'sparsecode[lm]'") from None
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder}: not a Hugging Face model folder (no config.json in it)")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        network = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype="auto")
        return network, AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"{folder}: cannot be loaded: {' '.join(str(error).split())}") from None
