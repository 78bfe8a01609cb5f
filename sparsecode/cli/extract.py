"""`sparsecode extract`: activations of a language model as shards."""

from __future__ import annotations

from contextlib import closing
from itertools import islice, tee
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console
from safetensors import SafetensorError

from sparsecode.cli.options import UsageError
from sparsecode.data.activations import extract
from sparsecode.data.images import PARTS, progress
from sparsecode.data.shard_writer import ShardWriter
from sparsecode.data.shards import INDEX, DType, read_index
from sparsecode.data.text import bytes_of, token_batches
from sparsecode.version import __version__

__all__ = ["extract_command"]


def extract_command(argv: list[str]) -> int:
    tyro.cli(_extract, args=argv, prog="sparsecode extract")
    return 0


def _extract(
    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    text: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")],
    /,
    *,
    hook_point: str,
    out: Path,
    length: int = 128,
    batch_size: int = 32,
    keep_special: bool = False,
    dtype: DType = "float16",
    rows_per_shard: int = 2**17,
    valid: float = 0.05,
    test: float = 0.05,
    seed: int = 0,
    device: str | None = None,
) -> None:
    """Write the activations of a Hugging Face model on a text, as shards to train on.

    Needs `pip install 'sparsecode[lm]'`. Nothing is downloaded. Stopped half-way, the same command goes on. The result is
    trained on with --set data='{"type":"shards","path":"OUT"}'.

    Args:
        model: folder of the model and its tokenizer (config.json, model.safetensors, tokenizer.json)
        text: a text, each span of which goes to one split; or documents, a line {"text": ...} each in a .jsonl file, each
            of which goes to one split; may be gzipped
        hook_point: the submodule whose output to take, as encoder.layer.2 (BERT), h.5 (GPT-2), layers.12 (Llama)
        out: folder to write, of which TWICE the size must be free
        length: tokens in a span, special tokens among them
        batch_size: spans in a forward pass
        keep_special: keep the rows of special tokens; those of padding are always left out
        dtype: what values are kept as
        rows_per_shard: most rows in a file; training holds two files in memory
        valid: share of the groups for validation
        test: share of the groups for test
        seed: of the split and of the shuffle
        device: where the model runs; default a CUDA device, if there is one
    """
    if (out / INDEX).exists():
        raise UsageError(f"--out {out}: holds shards already; choose another folder, or delete it")
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: expected at least 1")
    size, console = bytes_of(text), Console()
    network, tokeniser = _load(model)
    limit = getattr(network.config, "max_position_embeddings", length)
    if length > limit:
        raise UsageError(f"--length {length}: expected at most {limit}, the most that {model.name} takes")
    network = network.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    provenance = {
        "made_by": f"sparsecode {__version__} extract",
        "model": model.resolve().name,
        "hook_point": hook_point,
        "text": f"{text.name}, {size} bytes",
        "spans": f"{length} tokens, special ones {'kept' if keep_special else 'left out'}, {batch_size} at a time",
    }
    shares = {"valid": valid, "test": test}
    with ShardWriter(out, rows_per_shard, seed, **shares, dtype=dtype, provenance=provenance) as writer:
        if writer.appended:
            console.print(f"going on with {out} after {writer.appended} batches", highlight=False, soft_wrap=True)
        with (
            progress(f"{hook_point} of {model.name}", size) as report,
            closing(token_batches(text, tokeniser, length=length, batch_size=batch_size, report=report)) as batches,
        ):
            mine, theirs = tee(islice(batches, writer.appended, None))
            for batch, x in zip(mine, extract(network, hook_point, (b.inputs for b in theirs)), strict=True):
                chosen = batch.inputs["attention_mask"].bool() if keep_special else batch.own
                writer.append(x[chosen.to(x.device)], batch.group[chosen.nonzero()[:, 0]])
    index = read_index(out)
    rows = {part: sum(shard.rows for shard in getattr(index, part)) for part in PARTS}
    console.print(
        f"{out}: rows of shape {index.shape} in {index.dtype}, {', '.join(f'{n} {part}' for part, n in rows.items())}",
        highlight=False,
        soft_wrap=True,
    )


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
