"""What `sparsecode report` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from sparsecode.cli.arguments import DataPath, MoreRuns, RunPath

__all__ = ["ReportArguments"]


class ReportArguments(NamedTuple):
    """Report of a run, or of several side by side: one page that needs no network, with training, codes, samples and measures.

    Open it in a browser. The page of one run that is in its folder already is replaced. RUN may also be a model of another library
    (or one of ours without a run), which is looked at on the samples of --data.

    Args:
        out: page to write, .html; default report.html in the run folder, of several runs in this folder
        json: also write the same as data (docs/report.md)
        codes: largest number of codes shown, the most important ones
        samples: largest number of samples behind the numbers of codes
        data: of models that are no runs: a run whose data are meant, a .npy or .npz file, a folder of shards, or a table of vectors
        tokenizer: folder of the tokenizer, for the text of tokens around examples
        force: write over an existing file
    """

    run: RunPath
    others: MoreRuns = ()
    out: Path | None = None
    json: Path | None = None
    codes: int = 512
    samples: int = 10_000
    data: Path | None = None
    tokenizer: Path | None = None
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    data_path: DataPath = None
