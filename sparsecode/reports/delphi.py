"""Codes of a text as the cache of latents from which delphi (EleutherAI) explains and scores them.

Followed: the folder that LatentCache of eai-delphi 0.1.3 writes and its LatentDataset reads.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from safetensors.numpy import save

from sparsecode.data.tokens import Tokens
from sparsecode.evaluate.units.examples import Entries
from sparsecode.evaluate.units.feature_collection import CodedRows
from sparsecode.files import whole_folder
from sparsecode.specs import Count, Spec

__all__ = ["DelphiSource", "Sequences", "sequences_of", "write_delphi"]

LEAST = 1e-5  # |value| above which delphi counts a latent as active
SMALL = 2**16


class DelphiSource(Spec, tag="delphi_source"):
    """What `config.json` of the cache says: the network, which is where delphi looks for its tokenizer, and the data; `n_splits` files of latents."""

    model_name: str
    dataset_repo: str = ""
    dataset_split: str = ""
    dataset_name: str = ""
    dataset_column: str = "text"
    n_splits: Annotated[Count, Meta(description="files that the codes are divided into")] = 5


class Sequences(NamedTuple):
    """Tokens as delphi wants them: `ids` [n_sequences, length], and for each row the number of its sequence and its position there."""

    ids: NDArray[np.int64]
    number: NDArray[np.int64]
    position: NDArray[np.int64]


def sequences_of(tokens: Tokens, padding: int = 0) -> Sequences:
    """The sequences that the network was given, in order of text and place; `padding` stands where rows were left out (special tokens, those
    skipped) and after shorter ones."""
    group, place, position, ids = (
        column.numpy() for column in (tokens.group, tokens.place, tokens.position, tokens.ids)
    )
    keys = np.stack([group, place - position])  # where the sequence begins in its text
    _, number = np.unique(keys, axis=1, return_inverse=True)
    number = number.reshape(-1)
    table = np.full((int(number.max()) + 1, int(position.max()) + 1), padding, dtype=np.int64)
    table[number, position] = ids
    return Sequences(table, number, position)


def write_delphi(
    folder: str | Path,
    hook_point: str,
    rows: CodedRows,
    source: DelphiSource,
    *,
    padding: int = 0,
    report: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the codes of all tokens as delphi's cache FOLDER/HOOK_POINT, all or nothing.

    `n_splits` files FIRST_LAST.safetensors hold the codes from FIRST to LAST: "locations" [nnz, 3] (sequence, position, code - FIRST), "activations" [nnz] in float16
    and "tokens". One of them is in memory at a time. Values of magnitude 1e-5 and below are left out, as delphi does.
    Raises ValueError for rows without tokens and more splits than codes, FileExistsError if the folder is there.
    """
    if rows.tokens is None:
        raise ValueError("rows have no tokens, which delphi shows; take shards of a text")
    if source.n_splits > rows.n_code:
        raise ValueError(f"n_splits is {source.n_splits}; expected at most one for each of the {rows.n_code} codes")
    sequences = sequences_of(rows.tokens, padding)
    edges = np.linspace(0, rows.n_code, source.n_splits + 1).astype(np.int64)
    with whole_folder(Path(folder)) as place:
        home = place / hook_point
        home.mkdir(parents=True)
        spools = [home / f"{first}_{last - 1}.entries" for first, last in pairwise(edges)]
        for block in rows.blocks():
            _spool(block.entries, sequences, edges, spools)
            report(block.first + block.n)
        for spool, (first, last) in zip(spools, pairwise(edges), strict=True):
            _write_split(home / f"{first}_{last - 1}.safetensors", spool, int(first), sequences)
        config = {name: getattr(source, name) for name in source.__struct_fields__}
        length = sequences.ids.shape[1]
        config |= {"batch_size": 1, "cache_ctx_len": length, "ctx_len": length, "n_tokens": sequences.ids.size}
        (home / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=4))


ENTRY = np.dtype([("location", np.int64, 3), ("value", np.float16)])


def _spool(entries: Entries, sequences: Sequences, edges: NDArray[np.int64], spools: list[Path]) -> None:
    """Append the entries to the file of their split."""
    row, code, value = entries.where(np.abs(entries.value) > LEAST)
    packed = np.empty(len(row), dtype=ENTRY)
    packed["location"] = np.stack([sequences.number[row], sequences.position[row], code], axis=1)
    packed["value"] = value
    if not np.isfinite(packed["value"]).all():
        raise ValueError(
            f"codes reach {np.abs(value).max():.4g}, and delphi's float16 ends at 65504; scale the decoder's atoms up"
        )
    split = np.searchsorted(edges, code, side="right") - 1
    for number, spool in enumerate(spools):
        with spool.open("ab") as file:
            file.write(packed[split == number].tobytes())


def _write_split(path: Path, spool: Path, first: int, sequences: Sequences) -> None:
    entries = np.fromfile(spool, dtype=ENTRY)
    spool.unlink()
    location = entries["location"]
    order = np.lexsort((location[:, 2], location[:, 1], location[:, 0]))
    location, value = location[order] - [0, 0, first], entries["value"][order]
    small = not len(location) or max(int(location[:, 0].max()), int(location[:, 2].max())) < SMALL
    tensors = {
        "locations": location.astype(np.uint16 if small else np.uint32),
        "activations": value,
        "tokens": sequences.ids,
    }
    path.write_bytes(save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}))
