"""What commands take that use trained runs, or look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from sparsecode.choices import AtomsAt, Thresholds, WrittenFormat
from sparsecode.cli.arguments import DataPath, MoreRuns, RunPath

__all__ = [
    "CompletionArguments",
    "ConvertArguments",
    "DenoiseArguments",
    "EncodeArguments",
    "PathArguments",
    "PlotArguments",
    "RecipesArguments",
    "RunsCompareArguments",
    "RunsLsArguments",
    "RunsShowArguments",
    "TraverseArguments",
]


class EncodeArguments(NamedTuple):
    """Code the rows of an array, of a folder of shards, or of a split of the run's own data.

    Writes `z` [N, n_code] and, for a split with class labels, `label` [N]. With --csr codes stay sparse: a .npz file as
    scipy.sparse.load_npz reads it, or a .safetensors file with `values`, `indices` and `offsets`. A folder has a file of
    sparse codes for --rows-per-shard rows, or for each shard of SAMPLES, whose splits, labels and documents (`group`) it keeps,
    and `gap`, where codes are solved for; the same command resumes after a crash. sparsecode.data.read_codes
    reads it. The metadata of a safetensors file record their
    origin: `coder`, `run`, `split` or `samples`, `model` (SHA-256 of the weights file) and `data` (fingerprint of the
    samples that the run was trained on).

    Args:
        run: run folder
        samples: .npy or .npz file with samples [N, ...] in data space, as the run was trained on; or a folder of shards
        out: what to write: a .npz or .safetensors file, or a folder (a name without an ending)
        split: instead of SAMPLES: a split of the run's own data
        coder: which of the model's coders; default encode; others are amortised (the encoder of sparse coding) and mean (of codes with gates)
        key: array in the .npz file
        csr: codes in compressed sparse rows, as in a folder, to the file
        rows_per_shard: rows in a file of a folder
        force: write over an existing file
    """

    run: RunPath
    out: Path
    samples: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[SAMPLES]")] = None
    split: Literal["train", "valid", "test"] | None = None
    coder: str | None = None
    key: str | None = None
    csr: bool = False
    rows_per_shard: int = 16_000
    force: bool = False
    data_path: DataPath = None


class PathArguments(NamedTuple):
    """Code the rows of an array in a dictionary at many weights of the L1 penalty, to choose one.

    Prints objective, mean number of active codes (L0), error and largest duality gap at each alpha, and writes path.json and path.png.

    Args:
        samples: .npy or .npz file with samples [N, ...]; each is flattened
        dictionary: .npy or .npz file with atoms in rows [n_code, ...]
        alphas: weights; default: from the largest alpha_max of a sample downwards
        n_alphas: how many, without --alphas
        ratio: of the least weight to the largest, without --alphas
        positive: of codes >= 0
        l0: find the alpha at which so many codes are active on average
        cross_validate: choose the alpha whose codes predict hidden entries of the samples best
        folds: parts of the entries of a sample, each hidden once
        tol: relative duality gap at which a code is solved
        key: array in the .npz file of samples
        dictionary_key: array in the .npz file of the dictionary
        seed: of the entries that are hidden
        out: folder for the files
        force: write over existing files
    """

    samples: Annotated[Path, tyro.conf.Positional]
    dictionary: Path
    alphas: tuple[float, ...] = ()
    n_alphas: int = 50
    ratio: float = 1e-3
    positive: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    l0: float | None = None
    cross_validate: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    folds: int = 5
    tol: float = 1e-4
    key: str | None = None
    dictionary_key: str | None = None
    seed: int = 0
    out: Path = Path("path")
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


class PlotArguments(NamedTuple):
    """Draw the run's figures again, or one test sample in the codes of several runs.

    With more than one run, or with --sample, a single figure: a row per run with the sample, its code and its decoding. The runs must
    have been trained on the same data.

    Args:
        run: run folder
        others: more run folders, to be shown beside the first
        sample: row of the test split; default the first that has codes in all runs
        coder: with several runs: which of the models' coders; default encode
        out: with several runs: the picture to write, .png
        atoms: value of a code at which atoms of decoders with hidden layers are drawn: maximum (over samples) or unit (1)
    """

    run: RunPath
    others: MoreRuns = ()
    sample: int | None = None
    coder: str | None = None
    out: Path = Path("codes.png")
    atoms: Annotated[AtomsAt, tyro.conf.arg(metavar="VALUE")] = "maximum"
    data_path: DataPath = None


class TraverseArguments(NamedTuple):
    """Draw how the codes of a variational model change its images.

    Test samples encoded; the largest code of one edited; codes swept one at a time; active codes drawn anew; paths from
    sample to sample; draws from the prior, and with gates fitted to samples. Files of earlier calls are overwritten.

    Args:
        run: run folder
        samples: rows of the test split; default three with active codes
        codes: which to sweep; default the most used of those active
        coder: which of the model's coders; default encode; of codes with gates there is mean
        frames: pictures in a row
        reach: codes are swept from -reach to reach
        step: instead, sweep each code from its value towards 0 and beyond, this much for every picture
        share: share of the active codes that are drawn anew
        gif: also a film: a code swept there and back
        html: also a page with a slider for each used code, which decodes in the browser, offline
        bits: of each weight in the page: 8 makes it half as large, and less exact
        out: folder for the files; default the run's figures
        seed: of the draws
    """

    run: RunPath
    samples: tuple[int, ...] = ()
    codes: tuple[int, ...] = ()
    coder: str | None = None
    frames: int = 9
    reach: float = 3.0
    step: float | None = None
    share: float = 0.8
    gif: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    html: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    bits: Literal[16, 8] = 16
    out: Path | None = None
    seed: int = 0
    data_path: DataPath = None


class DenoiseArguments(NamedTuple):
    """Remove white Gaussian noise from images by sparse codes of their overlapping patches.

    By default the dictionary is learned from each image, and sigma is estimated from it. What is written has the values, bits and channels of what was read: .png,
    .tif and .bmp by the same name, other pictures as .png (JPEG compression would lose information again), arrays as .npy of float32. A picture,
    comparison.png, shows each image before and after.

    Args:
        images: pictures (8 bits, or grey of 16 bits, 32 bits or floats), or .npy files [h, w] in any units
        dictionary: a run trained on square grey patches with a linear decoder, or atoms [n_code, size * size] in a .npy file;
            default: learned from the image
        sigma: standard deviation of the noise, in the units of the image's values; default: estimated from the image
        out: folder to write to
        method: how patches are coded: up to the noise's energy (omp), or with a penalty proportional to sigma (lasso)
        stride: pixels between patches: more is faster, 1 is best
        blend: weight of the noisy pixel beside the patches', each of weight 1
        background: grey level, 0 (black) to 1 (white), below transparent pixels; without it they are refused
        add_noise: the images are clean: add noise of this sigma first, and report the PSNR against them
        seed: of that noise, and of the patches that a dictionary is learned from
        mask: pixels that are missing and to be filled: a picture of the images' size with two values (black where a pixel is missing), or a .npy file (0 or False there)
        force: write over existing files
    """

    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    dictionary: Path | None = None
    sigma: float | None = None
    out: Path = Path("denoised")
    method: Literal["omp", "lasso"] = "omp"
    stride: int = 1
    blend: float = 1.0
    background: float | None = None
    add_noise: bool = False
    seed: int = 0
    mask: Path | None = None
    force: bool = False


class ConvertArguments(NamedTuple):
    """Write a sparse autoencoder in another library's format, and compare what the two files compute.

    SRC may be a run or a model of ours, a folder of SAELens, dictionary_learning or sparsify, a file of
    openai/sparse_autoencoder, checkpoints of Evtimova & LeCun's sparse coding, or a folder of Gemma Scope, Gemma Scope 2 or Llama Scope; a file in such a folder selects the folder.
    What DST's format cannot express is refused, and so is a config of SRC with a key or a value that is not known. The formulas
    of the two formats are computed from the two files on probe inputs; the largest differences are printed and stored with
    DST (SAELens: metadata.sparsecode in cfg.json; else a file conversion.json).

    Args:
        src: the autoencoder to convert
        dst: the folder to write; for openai a file that ends in .pt
        to: the format to write
        dtype: precision of the written weights; default that of SRC, float32 at least
        seed: decides the probe inputs
        like: with --to sparsecode: a run or recipe on whose data eval, encode, probe and analyse are to score the result; with --jumprelu: that whose data thresholds are fitted to
        ignore: unknown keys in the config of SRC that, as you know, do not change the computation
        jumprelu: write top-k codes as codes above thresholds, fitted to the data of the run, or of --like, so that as many are active on average: one for each code, or one for all
        l0: with --jumprelu: another mean number of active codes
        k: write the top-k model with this k in the place of its own
        force: overwrite existing files
    """

    src: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    dst: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DST")]
    to: WrittenFormat
    dtype: Literal["float16", "bfloat16", "float32", "float64"] | None = None
    seed: int = 0
    like: str | None = None
    ignore: tuple[str, ...] = ()
    jumprelu: Thresholds | None = None
    l0: float | None = None
    k: int | None = None
    force: bool = False


class CompletionArguments(NamedTuple):
    """Print a script by which a shell completes commands, recipes, options and their choices.

    In bash: eval "$(sparsecode completion bash)". The options of single recipes are in it once `sparsecode train RECIPE --help` has been called.

    Args:
        shell: zsh reads it after bashcompinit
    """

    shell: Annotated[Literal["bash", "zsh"], tyro.conf.Positional]


class RecipesArguments(NamedTuple):
    """List the recipes, or print one's whole config as JSON.

    Args:
        name: a recipe
    """

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None


class RunsLsArguments(NamedTuple):
    """List the runs in a folder.

    Args:
        root: folder of run folders
    """

    root: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="[FOLDER]")] = Path("runs")


class RunsShowArguments(NamedTuple):
    """Show a run: its state, config and scores.

    Args:
        run: run folder
    """

    run: RunPath


class RunsCompareArguments(NamedTuple):
    """Compare runs: where their configs differ from the first one's, and their scores.

    Args:
        run: run folder
        others: more run folders
    """

    run: RunPath
    others: MoreRuns
