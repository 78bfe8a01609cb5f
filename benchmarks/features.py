"""Features of many codes: time and peak memory of collecting 36 examples of 24 576 codes with their contexts, from shards of tokens.

The rows are those of layer 3 of a MiniLM transformer, 16 384 tokens, given twelve times with noise of a quarter of their deviation, in float16
shards, of which the train part is taken; the autoencoder (TopK, k = 32) has random atoms. Coding and collecting are timed apart, in processor time of one
thread. Needs acts_minilm_l3_wikitext2_16k_f16.npz in $SPARSECODE_DATA.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from common import save

from sparsecode.data import ShardWriter, Tokens
from sparsecode.data.shard_rows import ShardRows
from sparsecode.data.shards import Shards, ShardStream
from sparsecode.evaluate import CodedRows, FeatureSettings, coded_rows, collect_features, read_features, write_features
from sparsecode.evaluate.units.feature_collection import RowBlock
from sparsecode.models import Amortised
from sparsecode.nn import TopK

SPAN = 126
PART = 10_000


def write_shards(folder: Path, copies: int) -> None:
    """Shards of so many copies of the tokens' activations, the first without noise."""
    file = np.load(Path(os.environ["SPARSECODE_DATA"]) / "acts_minilm_l3_wikitext2_16k_f16.npz")
    rows, ids = torch.from_numpy(file["acts"].astype(np.float32)), torch.from_numpy(file["token_ids"].astype(np.int64))
    position = torch.from_numpy(file["position"].astype(np.int64))
    text = torch.cumsum(torch.diff(position, prepend=position[:1]) < 0, dim=0)
    noise, rng = rows.std(dim=0) / 4, torch.Generator().manual_seed(0)
    with ShardWriter(folder, rows_per_shard=50_000, valid=0.01, test=0.01) as writer:
        for copy in range(copies):
            x = rows + noise * torch.randn(rows.shape, generator=rng) if copy else rows
            for group in range(int(text[-1]) + 1):
                here = text == group
                number = copy * (int(text[-1]) + 1) + group
                tokens = Tokens(ids[here], position[here], torch.full((int(here.sum()),), number))
                writer.append(x[here], number, tokens=tokens)


def timed(rows: CodedRows, spent: list[float]) -> CodedRows:
    """The same rows; the processor time of making their codes is added to `spent`."""

    def blocks() -> Iterator[RowBlock]:
        made = iter(rows.blocks())
        while True:
            start = time.process_time()
            block = next(made, None)
            spent[0] += time.process_time() - start
            if block is None:
                return
            yield block

    return rows._replace(blocks=blocks)


def main() -> None:
    """Collect, write and read; print and save the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-code", type=int, default=24_576)
    parser.add_argument("--copies", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "shards"
        write_shards(folder, args.copies)
        stream = Shards(path=str(folder)).load().stream
        assert isinstance(stream, ShardStream)
        part = ShardRows(stream, "train")
        model = Amortised(n_code=args.n_code, activation=TopK(k=32)).build((384,), seed=args.seed).eval()
        model.initialise_(next(part.batches()).x[:PART].float())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        spent = [0.0]
        rows = timed(coded_rows(model, part.batches, part.n, tokens=part.tokens), spent)
        start = time.process_time()
        features = collect_features(rows, FeatureSettings())
        total = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        file = Path(place) / "features.safetensors"
        start = time.process_time()
        write_features(file, features)
        written = time.process_time() - start
        start = time.process_time()
        read_features(file)
        read = time.process_time() - start
        size = file.stat().st_size
    assert features.contexts is not None
    result = {
        "codes": args.n_code,
        "rows": part.n,
        "examples": int((features.examples.row >= 0).sum()),
        "values in contexts": len(features.contexts.value),
        "coding, s": round(spent[0], 1),
        "collecting, s": round(total - spent[0], 1),
        "writing, s": round(written, 2),
        "reading, s": round(read, 2),
        "file, MB": round(size / 1e6, 1),
        "peak memory, MB": round(peak / 1024),
        "before collecting, MB": round(before / 1024),
    }
    for name, value in result.items():
        print(f"{name:25} {value}")
    save("features", result)


if __name__ == "__main__":
    main()
