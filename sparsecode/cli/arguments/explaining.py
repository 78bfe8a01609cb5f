"""What commands take that say what codes stand for, and what they are worth to a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from sparsecode.choices import Part
from sparsecode.cli.arguments import DataPath, MoreRuns, RunPath

__all__ = ["ConceptsArguments", "FeaturesArguments", "RecoveredArguments"]


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
