"""What `sparsecode report` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from sparsecode.cli.arguments import DataPath, MoreRuns, RunPath

__all__ = ["ReportArguments"]


class ReportArguments(NamedTuple):
    """Report of a run, or of several side by side: one page that needs no network, with training, codes, samples and measures.

    Open it in a browser. The page of one run that is in its folder already is replaced.

    Args:
        out: page to write, .html; default report.html in the run folder, of several runs in this folder
        json: also write the same as data (docs/report.md)
        codes: largest number of codes shown, the most important ones
        samples: largest number of samples behind the numbers of codes
        force: write over an existing file
    """

    run: RunPath
    others: MoreRuns = ()
    out: Path | None = None
    json: Path | None = None
    codes: int = 512
    samples: int = 10_000
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    data_path: DataPath = None
