"""What commands take that measure trained runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from sparsecode.choices import Classifier, NoiseUnit, Part
from sparsecode.cli.arguments import DataPath, MoreRuns, RunPath

__all__ = [
    "AnalyseArguments",
    "AttackArguments",
    "EvalArguments",
    "ForgettingArguments",
    "LatentsArguments",
    "ProbeArguments",
    "Reference",
    "UnitsArguments",
]

Reference = Literal["pixels", "pca", "lista"]


class EvalArguments(NamedTuple):
    """Score the run's best model.

    Args:
        run: run folder
        split: which samples
        sigmas: noise levels; default those of the run
        unit: sigma in the model's normalised input, or in fractions of the data range
        theta: a code is active above this magnitude
        json: also write the scores to this file
        force: write over an existing file
    """

    run: RunPath
    split: Literal["test", "valid", "train"] = "test"
    sigmas: tuple[float, ...] | None = None
    unit: NoiseUnit | None = None
    theta: float | None = None
    json: Path | None = None
    force: bool = False
    data_path: DataPath = None


class AnalyseArguments(NamedTuple):
    """Scores and use of the codes of each run, references at equal L0, and the similarity of several runs.

    Draws density.png, equal_l0.png and, of several runs or where the truth is known, matched.png.

    Args:
        split: which samples
        theta: a code is active above this magnitude; default that of the run
        samples: largest number of samples, spread over the split, for references and amortisation gaps
        seed: of the random dictionaries among the references
        json: also write everything to this file
        out: folder for the figures; default the figures of each run (of several: comparisons go to the first)
        force: write over an existing JSON file
    """

    run: RunPath
    others: MoreRuns = ()
    split: Part = "test"
    theta: float | None = None
    samples: int = 2000
    seed: int = 0
    json: Path | None = None
    out: Path | None = None
    force: bool = False
    data_path: DataPath = None


class UnitsArguments(NamedTuple):
    """Activity of units with noise on and off, the error that noise adds, and receptive fields of noise-trained networks.

    Draws, of each run on pictures, units_fields.png, units_neighbours.png, units_query.png and units_levels.png; of all
    runs units_pre_activations.png, units_dynamics.png and, at several levels of noise, units_ablation.png.

    Args:
        split: which samples
        sigma: noise in the model's input space; default that of training at its end
        theta: a unit is active above this magnitude; default that of the run
        samples: largest number of samples, the first of the split
        seed: of the noise; default that of the run
        units: number of units whose receptive fields are fitted and drawn, the most active ones without noise
        query: index of the sample in units_query.png
        sigmas: noise levels in units_levels.png; default a quarter to four times that of training
        json: also write the numbers to this file
        out: folder for the pictures; default the figures of each run (of several: comparisons go to the first)
        force: write over an existing JSON file
    """

    run: RunPath
    others: MoreRuns = ()
    split: Part = "test"
    sigma: float | None = None
    theta: float | None = None
    samples: int = 2000
    seed: int | None = None
    units: int = 100
    query: int = 0
    sigmas: tuple[float, ...] | None = None
    json: Path | None = None
    out: Path | None = None
    force: bool = False
    data_path: DataPath = None


class ProbeArguments(NamedTuple):
    """Test accuracy of classifiers on the runs' codes, given a few labels per class.

    Subsets of labelled samples are balanced, nested for each seed, and the same for all features. The strength of the
    classifier's penalty is chosen on the validation split; the test split decides nothing.

    Args:
        labels_per_class: labelled training samples per class
        all_labels: also use all training samples, once
        seeds: random subsets for each number of labels
        standardise: scale each feature to mean 0 and standard deviation 1; otherwise all by one number (both from unlabelled samples)
        classifiers: linear: multinomial logistic regression; mlp: two layers
        coders: which of the models' coders; default all; codes with gates are scored as mu, encode (mu or 0) and mean (gamma mu)
        references: normalised pixels; their principal components; a LISTA classifier trained end to end (slow); default all, of
            a sweep pixels and pca
        sweep: folder of a sweep in place of runs: the figure shows accuracy along one of its axes, a line per recipe
        over: that axis, a number in the configs
        out: folder for probe.json and probe.png
        force: write over existing files
    """

    runs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(help="run folders", metavar="[RUN [RUN ...]]", help_behavior_hint="or --sweep"),
    ] = ()
    labels_per_class: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100)
    all_labels: bool = False
    seeds: int = 5
    standardise: bool = False
    classifiers: tuple[Classifier, ...] = ("linear",)
    coders: tuple[str, ...] = ()
    references: tuple[Reference, ...] | None = None
    sweep: Path | None = None
    over: str = "model.n_code"
    out: Path | None = None
    force: bool = False
    data_path: DataPath = None


class AttackArguments(NamedTuple):
    """Accuracy of classifiers under adversarial attack, with their training noise off and averaged over draws of it.

    Images are clipped to the range of the data. Needs the extra `robustness`.

    Args:
        eps: largest changes, in units of the data (images: 1 is white), one table row each
        kind: the attack
        norm: of the changes
        steps: of the attack
        draws: number of noise draws to average over; 0 leaves that out
        samples: of the test split, from its beginning
        seed: of noise and random starts
        json: also write everything to this file
        force: write over an existing JSON file
    """

    run: RunPath
    others: MoreRuns = ()
    eps: tuple[float, ...] = (8 / 255,)
    kind: Literal["pgd", "apgd"] = "pgd"
    norm: Literal["inf", "2"] = "inf"
    steps: int = 10
    draws: int = 8
    samples: int = 1000
    seed: int = 0
    json: Path | None = None
    force: bool = False
    data_path: DataPath = None


class LatentsArguments(NamedTuple):
    """Bounds on log p(x), use of codes and, for data of known factors, disentanglement of variational runs.

    Args:
        split: which samples
        draws: codes drawn for each sample in the importance-weighted bound
        samples: largest number of samples, spread over the split, for that bound and for disentanglement
        seed: of all draws
        json: also write everything to this file
        force: write over an existing file
    """

    run: RunPath
    others: MoreRuns = ()
    split: Part = "test"
    draws: int = 50
    samples: int = 2000
    seed: int = 0
    json: Path | None = None
    force: bool = False
    data_path: DataPath = None


class ForgettingArguments(NamedTuple):
    """Accuracy on each group of classes after training on each (validation split), of runs whose data are class_tasks.

    Args:
        out: folder for forgetting.png; default the figures of the first run
    """

    run: RunPath
    others: MoreRuns = ()
    out: Path | None = None
