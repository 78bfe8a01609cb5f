"""What commands take that compare reconstructions and the training of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from sparsecode.choices import Part
from sparsecode.cli.arguments import DataPath, MoreRuns, RunPath

__all__ = ["AnomalyArguments", "CurvesArguments", "MatchArguments", "RestoreArguments", "ThresholdArguments"]


class ThresholdArguments(NamedTuple):
    """Error and number of active codes when codes below a threshold are set to 0, and when the k largest are kept.

    Samples are corrupted if those of training are. Draws threshold.png of all runs and, of each run on grey images, thresholded.png.

    Args:
        thresholds: codes of at most this magnitude are dropped; default 0 to 0.9, of the greatest code if that is above 1
        k: numbers of codes to keep; default 1, 2, 4, ...
        at: threshold in the picture of samples
        split: which samples
        samples: largest number of samples, the first of the split
        json: also write the errors to this file
        out: folder for the pictures; default the figures of each run (of several: curves go to the first)
        force: write over an existing JSON file
    """

    run: RunPath
    others: MoreRuns = ()
    thresholds: tuple[float, ...] | None = None
    k: tuple[int, ...] | None = None
    at: float = 0.5
    split: Part = "test"
    samples: int = 2000
    json: Path | None = None
    out: Path | None = None
    force: bool = False
    data_path: DataPath = None


class CurvesArguments(NamedTuple):
    """Validation values of several runs over epochs: a panel per quantity, a line per run, and a table of the last values.

    Args:
        of: quantities by their names in metrics.jsonl, such as codes/encode/kl; default all that the runs have in common
        json: also write the values to this file
        out: folder for curves_beside.png; default the figures of the first run
        force: write over an existing JSON file
    """

    run: RunPath
    others: MoreRuns = ()
    of: tuple[str, ...] = ()
    json: Path | None = None
    out: Path | None = None
    force: bool = False


class AnomalyArguments(NamedTuple):
    """Detection of test samples of classes that training has not seen, of runs whose data are without_classes.

    Beside the runs stand two scores without a model: distance from the training mean, and error of principal components. Draws roc.png.

    Args:
        scores: also write the score of every test sample to this .npz file
        json: also write the report to this file
        out: folder for roc.png; default the figures of the first run
        force: write over existing files
    """

    run: RunPath
    others: MoreRuns = ()
    scores: Path | None = None
    json: Path | None = None
    out: Path | None = None
    force: bool = False
    data_path: DataPath = None


class RestoreArguments(NamedTuple):
    """Errors of denoising and completing models beside classical methods, on the same corrupted images.

    Median and Wiener filters, total variation and non-local means (these two need the extra `restoration`) and a linear map fitted
    to training samples; their parameters are chosen on the validation split. Draws classical.png.

    Args:
        split: which samples
        samples: largest number of samples, the first of the split
        seed: of the corruption
        json: also write the errors to this file
        out: folder for classical.png; default the figures of the first run
        force: write over an existing JSON file
    """

    run: RunPath
    others: MoreRuns = ()
    split: Literal["test", "valid"] = "test"
    samples: int = 1000
    seed: int = 0
    json: Path | None = None
    out: Path | None = None
    force: bool = False
    data_path: DataPath = None


class MatchArguments(NamedTuple):
    """Which codes two dictionaries share: by the cosines of their atoms, and by the correlations of their codes on the same rows.

    Rows are those of --data, or of the first run's data; dictionaries of different spaces (layers, say) are compared by codes alone, on rows
    that both take.

    Args:
        run: run folder, or an autoencoder in another library's format
        other: another one
        data: rows to code, in place of the run's: a folder of shards, a .npy or .npz file
        split: which part of them
        key: of a .npz file with several arrays: the one with the samples
        samples: largest number of rows
        threshold: similarity above which two codes count as the same
        pairs: also write the one-to-one pairs of codes to --json
        json: also write everything to this file
        force: write over an existing file
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    other: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    data: Path | None = None
    split: Part = "train"
    key: str | None = None
    samples: int = 20_000
    threshold: float = 0.7
    pairs: bool = False
    json: Path | None = None
    force: bool = False
    data_path: DataPath = None
