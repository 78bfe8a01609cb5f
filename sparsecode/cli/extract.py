"""`sparsecode extract`: activations of a language model as shards."""

from __future__ import annotations

from contextlib import closing
from itertools import islice, tee
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from sparsecode.cli.arguments import UsageError, sweep_extract
from sparsecode.cli.console import Console
from sparsecode.data.hooks import extract, longest
from sparsecode.data.images import PARTS, progress
from sparsecode.data.shard_index import read_index
from sparsecode.data.shard_writer import ShardWriter, refuse_shards
from sparsecode.data.text import bytes_of, token_batches
from sparsecode.files import printable
from sparsecode.version import __version__

__all__ = ["extract_command"]


def extract_command(asked: sweep_extract.ExtractArguments) -> None:
    """Write the activations of a Hugging Face model on a text, as shards to train on."""
    (model, text, hook_points, out, window, length, batch_size, keep_special, dtype, rows_per_shard, valid, test, seed,
     device) = asked  # fmt: skip
    refuse_shards(out)
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: expected at least 1")
    if not 1 <= window <= length:
        raise UsageError(f"--window {window}: expected 1 to --length, {length}")
    if not hook_points or len(set(hook_points)) < len(hook_points):
        raise UsageError("--hook-point: expected the names of one or more submodules, each once")
    hook_point = ", ".join(hook_points)
    size, console = bytes_of(text), Console()
    network, tokeniser = _load(model)
    limit = longest(network)
    if limit is not None and length > limit:
        raise UsageError(f"--length {length}: expected at most {limit}, the most that {model.name} takes")
    network = network.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    provenance = {
        "made_by": f"sparsecode {__version__} extract",
        "model": printable(model.resolve().name),
        "hook_point": hook_point,
        "text": f"{printable(text.name)}, {size} bytes",
        "spans": f"{length} tokens, special ones {'kept' if keep_special else 'left out'}, {batch_size} at a time",
    }
    if window > 1:
        provenance["window"] = f"{window} tokens"
    shares = {"valid": valid, "test": test}
    with ShardWriter(out, rows_per_shard, seed, **shares, dtype=dtype, provenance=provenance) as writer:
        if writer.appended:
            console.print(f"going on with {out} after {writer.appended} batches", highlight=False, soft_wrap=True)
        with (
            progress(f"{hook_point} of {model.name}", size) as report,
            closing(token_batches(text, tokeniser, length=length, batch_size=batch_size, report=report)) as batches,
        ):
            mine, theirs = tee(islice(batches, writer.appended, None))
            for batch, x in zip(mine, extract(network, hook_points, (b.inputs for b in theirs)), strict=True):
                chosen = batch.inputs["attention_mask"].bool() if keep_special else batch.own
                sites, whole = successive(x, chosen, window)
                writer.append(
                    sites if len(sites) > 1 else next(iter(sites.values())), batch.group[whole.nonzero()[:, 0]]
                )
    index = read_index(out)
    rows = {part: sum(shard.rows for shard in getattr(index, part)) for part in PARTS}
    shapes = [site.shape if len(index.sites) == 1 else f"{site.shape} of {site.name}" for site in index.sites]
    console.print(
        f"{out}: rows of shape {', '.join(map(str, shapes))} in {index.dtype}, "
        f"{', '.join(f'{n} {part}' for part, n in rows.items())}",
        highlight=False,
        soft_wrap=True,
    )


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
