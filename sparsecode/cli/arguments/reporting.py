"""What `sparsecode report` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from sparsecode.cli.arguments import DataPath, MoreRuns, RunPath

__all__ = ["ReportArguments"]


class ReportArguments(NamedTuple):
    """The report of a run, or of several side by side, as data: training, codes, samples and measures.

    Args:
        json: file to write; default report.json in the run folder, of several runs in this folder
        codes: largest number of codes shown, the most important ones
        samples: largest number of samples behind the numbers of codes
        force: write over an existing file
    """

    run: RunPath
    others: MoreRuns = ()
    json: Path | None = None
    codes: int = 512
    samples: int = 10_000
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    data_path: DataPath = None
