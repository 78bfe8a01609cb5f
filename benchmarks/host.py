"""Three autoencoders of a running language model, on one stream of batches beside three runs one after the other.

The host is a GPT-2 with random weights; the text is made of random words. Both ways train k = 8, 16 and 32 of 1024 codes at block 3, with the same
batches. Processor seconds of whole sweeps in this process, which depend less on neighbours than wall times; in turn, medians.

    python benchmarks/host.py [REPEATS]

Prints a table and saves results/host.json.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from common import save, show
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from sparsecode.data.host_rows import HostRows
from sparsecode.sweeps import Axis, jobs_of, read_results, serial, shared, sweep

WORDS, TOKENS, WIDTH = 2000, 12_000, 256
WAYS = {"three runs": serial(accelerator="cpu"), "shared": shared("cpu")}


def make_host(home: Path) -> None:
    """A model, its tokenizer and a text."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=WORDS, n_positions=128, n_embd=WIDTH, n_layer=6, n_head=4)
    GPT2LMHeadModel(config).save_pretrained(home / "gpt")
    inner = Tokenizer(models.WordLevel({f"w{i}": i for i in range(WORDS)}, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(home / "gpt")
    (home / "text.txt").write_text(" ".join(f"w{i}" for i in torch.randint(WORDS, (TOKENS,)).tolist()))


def run(home: Path, way: str) -> tuple[float, int, list[float]]:
    """Processor seconds, rows that the host has computed, and the explained variances."""
    rows, passes = 0, HostRows.passes

    def counted(self: HostRows, spans: Any) -> Any:
        nonlocal rows
        for there in passes(self, spans):
            rows += len(there.group)
            yield there

    data = f'{{"type":"host","model":"{home}/gpt","text":"{home}/text.txt","hook_point":["h.3"],"skip_first":1,"held":1000,"buffer":8192}}'
    settings = (f"data={data}", "model.n_code=1024", "train.epochs=2", "train.batch_size=512", "evaluate.sigmas=[]")
    with tempfile.TemporaryDirectory() as folder:
        jobs = jobs_of(["acts-topk"], [Axis.parse("model.activation.k=8,16,32")], settings, Path(folder), figures=False)
        HostRows.passes = counted
        began = time.process_time()
        try:
            problems = [outcome.problem for outcome in sweep(jobs, Path(folder), WAYS[way]) if outcome.problem]
        finally:
            HostRows.passes = passes
        seconds = time.process_time() - began
        assert not problems, problems
        results = sorted(read_results(Path(folder)), key=lambda r: r.overrides["model.activation.k"])
    if len(results) != len(jobs):
        raise SystemExit(f"{way}: {len(results)} of {len(jobs)} runs ended, so that nothing is measured")
    return seconds, rows, [result.scores["encode"].explained_variance or 0.0 for result in results]


def main() -> None:
    """Measure and print the table."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        make_host(home)
        runs: dict[str, list[tuple[float, int, list[float]]]] = {way: [] for way in WAYS}
        run(home, "shared")  # compilation and first allocations are not what is compared
        for _ in range(repeats):
            for way in WAYS:
                runs[way].append(run(home, way))
    lines: list[dict[str, Any]] = []
    for way, each in runs.items():
        seconds = statistics.median(s for s, _, _ in each)
        all_seconds = [s for s, _, _ in each]
        lines.append(
            {
                "way": way,
                "cpu_seconds": seconds,
                "all_seconds": all_seconds,
                "host_rows": each[0][1],
                "explained_variance": each[0][2],
            }
        )
    base = lines[0]["cpu_seconds"]
    show(
        "three k on a running host",
        ("", "processor seconds", "of three runs", "rows computed", "explained variance"),
        [
            (
                line["way"],
                f"{line['cpu_seconds']:.1f}",
                f"{line['cpu_seconds'] / base:.2f}",
                str(line["host_rows"]),
                ", ".join(f"{v:.4f}" for v in line["explained_variance"]),
            )
            for line in lines
        ],
    )
    save("host", {"repeats": repeats, "rows": lines}, ("transformers",))


if __name__ == "__main__":
    main()
