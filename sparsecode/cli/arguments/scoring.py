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
    "ConceptsArguments",
    "EvalArguments",
    "FeaturesArguments",
    "ForgettingArguments",
    "LatentsArguments",
    "ProbeArguments",
    "RecoveredArguments",
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


class RecoveredArguments(NamedTuple):
    """Loss recovered: the cross-entropy and KL of a language model with activations replaced by a run's reconstructions.

    Losses are means over predictions of the next token, in nats: of the model as it is, with the rows of the hook point replaced by
    reconstructions (of a crosscoder at each site alone and at all), by zeros and by their mean. recovered = (zeros - reconstructions) /
    (zeros - as it is). Needs the extra `lm`.

    Args:
        run: run folder, or an autoencoder in another library's format
        model: folder of a Hugging Face model with a head that predicts the next token
        text: text file, documents in a .jsonl or .parquet file, or a folder of such
        hook_point: where the run's activations are from; of a transcoder, where it reads and where it predicts; default: what the run's data say
        length: tokens in a span
        batch_size: spans in a forward pass
        spans: largest number of spans
        column: of documents: the name that their texts have
        tokenizer: folder of a tokenizer, for a model without one of its own
        bos: put the beginning-of-sequence token before each span, unless the tokenizer does
        skip_first: leave the rows of so many first positions as they are
        keep_special: replace the rows of special tokens, too
        json: also write everything to this file
        force: write over an existing file
        device: where the model runs; default a CUDA device, if there is one
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    text: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    hook_point: tuple[str, ...] = ()
    length: int = 128
    batch_size: int = 8
    spans: int = 256
    column: str = "text"
    tokenizer: Path | None = None
    bos: bool = False
    skip_first: int = 0
    keep_special: bool = False
    json: Path | None = None
    force: bool = False
    device: str | None = None


class ConceptsArguments(NamedTuple):
    """Which codes stand for the classes of labelled data: for each class a probe on the k codes that tell it best from all others, beside one on
    all activations; and how often other codes absorb it.

    Codes are chosen by their class mean differences, and probes fitted, on training samples; accuracies are of test samples.

    Args:
        ks: numbers of codes
        strength: weight of the probes' loss beside 1/2 |w|^2
        all_codes: also a probe on all codes, which is slow for many
        samples: most training and test samples, the first
        json: also write everything to this file
        force: write over an existing file
    """

    run: RunPath
    others: MoreRuns = ()
    ks: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
    strength: float = 1.0
    all_codes: bool = False
    samples: int = 10_000
    json: Path | None = None
    force: bool = False
    data_path: DataPath = None


class FeaturesArguments(NamedTuple):
    """What each code stands for: on how many rows it is active and how strongly, the rows on which it is strongest and weakest and some of each
    quantile band, the text around them, and the codes that fire together with it.

    Writes one file, RUN/features/features.safetensors, which sparsecode.evaluate.read_features reads. Where it is there already and of the
    same rows and settings, it is used as it is.

    Args:
        run: run folder, or an autoencoder in another library's format
        data: other rows than the run's: a folder of shards or of sparse codes, a .npy or .npz file
        split: which part of the run's data or of a folder of shards
        coder: which of the model's coders; default encode
        theta: a code is active above this magnitude; default that of the run
        top: examples of the largest strength
        bands: equal parts of a code's strengths, by rank
        per_band: examples drawn from each band
        near: examples of the smallest strength
        neighbours: number of codes that fire together with each
        before: tokens before an example
        after: tokens after an example
        seed: of the examples drawn from bands
        tokenizer: folder of the tokenizer that the tokens are of, to show texts in place of numbers; default the one that the data name, if it is there
        key: of a .npz file with several arrays: the one with the samples
        show: numbers of codes whose examples are printed
        export: delphi or neuronpedia, and the folder to write: the codes of all tokens as delphi's cache, or the features as Neuronpedia's JSON
        out: the file to write; default in the run's folder
        force: collect again, and write over an existing file
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    data: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = None
    split: Part = "train"
    coder: str | None = None
    theta: float | None = None
    top: int = 16
    bands: int = 4
    per_band: int = 4
    near: int = 4
    neighbours: int = 8
    before: int = 16
    after: int = 8
    seed: int = 0
    tokenizer: Path | None = None
    key: str | None = None
    show: tuple[int, ...] = ()
    export: tuple[Literal["delphi", "neuronpedia"], Path] | None = None
    out: Path | None = None
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
