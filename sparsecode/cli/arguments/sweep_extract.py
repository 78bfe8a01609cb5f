"""What commands take that train, or make data to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from sparsecode.choices import Accelerator, DType

__all__ = ["BackendName", "ExtractArguments", "PatchesArguments", "SweepArguments"]

BackendName = Literal["auto", "serial", "processes", "stacked", "shared", "ray"]
Assignments = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


class SweepArguments(NamedTuple):
    """Train every combination of values for every recipe, or an experiment; the same command resumes an interrupted sweep.

    Writes a run folder each, results.jsonl (a line per finished run), frontier.json (means and standard deviations over seeds) and
    frontier.png (sparsity against reconstruction); for an experiment also its own figure.

    Args:
        names: names of recipes, or of one experiment
        over: PATH=VALUE,VALUE,... to vary; 2x is twice the recipe's value; repeat for another path; of an experiment, it
            replaces the axis with that path
        set: a change to all runs, such as train.epochs=5; repeat for another one
        epochs: the same as --set train.epochs=...
        out: folder of the run folders; default: runs/sweep, of an experiment runs/ and its name
        backend: serial: one run after the other; processes: each in a separate process; stacked: runs of one shape side by
            side in this process, others in processes; shared: all runs with the same data and batch size in this process, on one stream
            of batches; ray: tasks on a Ray cluster; auto: processes if there are several, else serial
        processes: number of runs at a time
        references: also draw what PCA, random dictionaries and pursuit with a learned one reach at the same L0
        accelerator: auto: cuda where there is one, else cpu
        list: list the experiments, and train nothing
        ray_address: of a running cluster; default: one on this machine
        ray_cpus: cores per run
        ray_gpus: GPUs per run, or the share of one
        figures: draw each run's figures
        start_from: a recipe whose runs are trained first: every run starts from the encoder of each of them (or from other parts:
            --set init_from.parts='["all"]'); or "previous": along the last axis, every run starts from the weights of the run before
        start_over: PATH=VALUE,VALUE,... to vary in the runs that are started from; repeat for another path; of an experiment, it
            replaces the axis with that path
        start_set: a change to all runs that are started from; repeat for another one
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    over: Annotated[Assignments, tyro.conf.arg(metavar="PATH=V,V,...")] = ()
    set: Annotated[Assignments, tyro.conf.arg(metavar="PATH=JSON")] = ()
    epochs: float | None = None
    out: Path | None = None
    backend: BackendName = "auto"
    processes: int = 1
    references: bool = False
    accelerator: Accelerator = "auto"
    list: bool = False
    ray_address: str | None = None
    ray_cpus: float = 1.0
    ray_gpus: float = 0.0
    figures: bool = True
    start_from: str | None = None
    start_over: Annotated[Assignments, tyro.conf.arg(metavar="PATH=V,V,...")] = ()
    start_set: Annotated[Assignments, tyro.conf.arg(metavar="PATH=JSON")] = ()


class ExtractArguments(NamedTuple):
    """Write the activations of a Hugging Face model on a text, or of an image model on a data source, as shards to train on.

    Language models need `pip install 'sparsecode[lm]'`, and nothing is downloaded for them; models of timm need 'sparsecode[timm]', which
    downloads pretrained weights. The same command resumes an interrupted extraction. Train on the result with
    --set data='{"type":"shards","path":"OUT"}'.

    Args:
        model: folder of a language model and its tokenizer (config.json, model.safetensors, tokenizer.json); timm:NAME; or an import
            path, package.module:NAME, of a torch module or of a function without arguments that gives one, which is an image model
            unless --tokenizer is given
        text: a text, each span of which goes to one split; or documents, each of which goes to one split: a line {"text": ...} each
            in a .jsonl file, a row each in a .parquet file, a folder of such files, or a folder of datasets.save_to_disk (these need
            'sparsecode[parquet]'); texts may be gzipped. Of image models: a data source by its name (cifar10) or as JSON, whose splits
            and labels are kept
        hook_point: the submodule whose output is recorded, such as encoder.layer.2 (BERT), h.5 (GPT-2), layers.12 (Llama), as named_modules spells it, or
            TransformerLens's blocks.5.hook_resid_post where it is the same for certain; several names make shards with a site for each, as for transcoders and crosscoders; default, of image models alone: the output of
            the model, of timm's the pooled features
        out: folder to write; writing needs twice its final size on disk
        window: successive tokens in a row, a site for each
        length: tokens in a span, special tokens among them
        batch_size: spans, or pictures, in a forward pass
        column: of documents: the name that their texts have
        tokenizer: folder of a tokenizer, for a model without one of its own
        bos: put the beginning-of-sequence token before each span, unless the tokenizer does
        skip_first: leave out the rows of so many first positions of each span, special tokens among them
        max_norm: leave out rows whose norm is above so many medians of the norms in the first batch; of several hook points, at any of them
        keep_special: keep the rows of special tokens; those of padding are always left out
        dtype: type of the stored values
        rows_per_shard: largest number of rows in a file; training holds two files in memory
        valid: share of the groups for validation
        test: share of the groups for test
        seed: of the split, of the shuffle and of random weights
        device: where the model runs; default a CUDA device, if there is one
        weights: of an image model or an import path: a state dict (.safetensors or .pt), or random; default: those that it comes with
        size: of an image model: width and height that pictures are resized to; default: what timm says, or as they are
        mean: of an image model: subtracted from values, one for each channel; default: what timm says, or 0
        std: of an image model: what values are divided by then; default: what timm says, or 1
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT|DATA")]
    out: Path
    hook_point: tuple[str, ...] = ()
    window: int = 1
    length: int = 128
    batch_size: int = 32
    column: str = "text"
    tokenizer: str | None = None
    bos: bool = False
    skip_first: int = 0
    max_norm: float | None = None
    keep_special: bool = False
    dtype: DType = "float16"
    rows_per_shard: int = 2**17
    valid: float = 0.05
    test: float = 0.05
    seed: int = 0
    device: str | None = None
    weights: str | None = None
    size: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class PatchesArguments(NamedTuple):
    """Build patches by local contrast normalisation as arrays, without training.

    Writes train.npy, valid.npy and test.npy [n, 1, size, size], float32, which numpy.load opens with mmap_mode="r"; beside each the maps
    of local means and standard deviations, such as train_ctx.npy [n, 2, 1, size, size], by which pixels are patch times deviation plus mean;
    and meta.json with these arguments. No image gives patches to two splits. The folder appears when it is complete; the
    same command builds an interrupted one anew, and leaves a complete one as it is. Its defaults are those of Evtimova & LeCun, TMLR 2022.

    Args:
        images: folder of images, with all below it, or a .zip file; default: two photographs
        out: folder to write
        size: width and height of a patch in pixels
        resize: length of an image's shorter side in pixels, before cropping
        n_train: number of training patches
        n_valid: number of validation patches
        n_test: number of test patches
        kernel: width of the Gaussian window in pixels, odd
        sigma: standard deviation of the window in pixels
        floor: least local standard deviation: its mean over 2 500 training crops (train), or over each batch of 250 (batch), as the original
        min_std: drop patches whose standard deviation is lower
        seed: decides which images are for which split, and where patches lie
        skip_unreadable: leave files out that cannot be read
    """

    images: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[IMAGES]")] = None
    out: Path = Path("patches")
    size: int = 28
    resize: int = 256
    n_train: int = 200_000
    n_valid: int = 20_000
    n_test: int = 20_000
    kernel: int = 13
    sigma: float = 5.0
    floor: Literal["train", "batch"] = "train"
    min_std: float = 0.5
    seed: int = 0
    skip_unreadable: bool = False
