"""Image models for `sparsecode extract`, and batches of a data source as they take them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sparsecode.data import Data, Splits
from sparsecode.data.images import PARTS, SplitName
from sparsecode.data.import_paths import RANDOM, imported, load_weights, names_import_path
from sparsecode.specs import converted, parsed

__all__ = [
    "TIMM",
    "ImageBatch",
    "ImageModel",
    "Preprocessing",
    "batches_of",
    "image_model",
    "names_image_model",
    "source_of",
]

TIMM = "timm:"


class Preprocessing(NamedTuple):
    """What a model takes: squares of `size` pixels, `channels`, and values less `mean` over `std` for each channel; None: as they are."""

    size: int | None = None
    channels: int | None = None
    mean: Sequence[float] = ()
    std: Sequence[float] = ()

    def __call__(self, x: Tensor) -> Tensor:
        """Samples [B, C, H, W], or [B, H, W] of grey pictures, as the model takes them; anything else as it is.

        Raises ValueError for other samples than pictures where these are asked for, and means of another number than the channels.
        """
        if self == Preprocessing():
            return x
        if x.ndim not in (3, 4):
            raise ValueError(
                f"samples have shape {tuple(x.shape[1:])}; expected pictures: leave --size, --mean and --std out"
            )
        x = x.unsqueeze(1) if x.ndim == 3 else x
        if self.channels is not None and x.shape[1] == 1:
            x = x.expand(-1, self.channels, -1, -1)
        if self.size is not None and x.shape[2:] != (self.size, self.size):
            x = interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        for name, values in (("--mean", self.mean), ("--std", self.std)):
            if values and len(values) not in (1, x.shape[1]):
                raise ValueError(
                    f"{name} has {len(values)} values; expected 1, or one for each of {x.shape[1]} channels"
                )
        mean, std = (x.new_tensor(values).reshape(1, -1, 1, 1) if values else None for values in (self.mean, self.std))
        x = x if mean is None else x - mean
        return x if std is None else x / std


class ImageModel(NamedTuple):
    """A module, and what it takes."""

    module: nn.Module
    takes: Preprocessing


class ImageBatch(NamedTuple):
    """Samples of one split, as the model takes them, numbered through all splits by `group`; their labels, if there are any."""

    part: SplitName
    x: Tensor
    group: Tensor
    label: Tensor | None


def names_image_model(model: str) -> bool:
    """Whether MODEL is `timm:NAME` or an import path, `package.module:NAME`, and no file or folder."""
    return names_import_path(model) or (model.startswith(TIMM) and not Path(model).exists())


def image_model(model: str, weights: str | None, seed: int) -> ImageModel:
    """A model of timm without its head, or the module, or the result of the function without arguments, at an import path.

    `weights`: a file of a state dict (`.safetensors`, or a `.pt` without pickled code), or `random`; None: timm's pretrained ones, or
    the module as it is. Raises ImportError, FileNotFoundError or ValueError naming what is wrong.
    """
    torch.manual_seed(seed)
    if model.startswith(TIMM):
        loaded = _timm(model.removeprefix(TIMM), pretrained=weights is None)
    else:
        loaded = ImageModel(imported(model), Preprocessing())
    if weights is not None and weights != RANDOM:
        load_weights(loaded.module, Path(weights))
    return loaded


def _timm(name: str, pretrained: bool) -> ImageModel:
    try:
        import timm as package  # pyright: ignore[reportMissingImports] - only where it is installed
    except ImportError as error:
        raise ImportError(f"{TIMM}{name} needs timm ({error}); pip install 'sparsecode[timm]'") from None
    timm: Any = package
    if not timm.is_model(name):
        like = ", ".join(timm.list_models(f"*{name.partition('_')[0]}*")[:5])
        raise ValueError(
            f"{TIMM}{name}: timm has no such model; {f'some that are like it: {like}' if like else 'timm.list_models() lists them'}"
        )
    try:
        module: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:  # whatever hub, network and files raise
        raise ValueError(
            f"{TIMM}{name}: its weights could not be had ({' '.join(str(error).split())[:200]}); give a file of them with --weights FILE, "
            f"or leave them as they start with --weights {RANDOM}"
        ) from None
    takes: dict[str, Any] = timm.data.resolve_model_data_config(module)
    channels, _, size = takes["input_size"]
    return ImageModel(module, Preprocessing(size, channels, takes["mean"], takes["std"]))


def source_of(text: str) -> Data:
    """A data source by its name (`cifar10`) or as JSON. Raises ValueError for others."""
    if text.lstrip().startswith("{"):
        return converted(parsed(text, "DATA", "mend it"), Data, "DATA")
    try:
        return converted({"type": text}, Data, "DATA")
    except ValueError:
        if not Path(text).suffix and not Path(text).is_dir():
            raise
    kind, what = ("image_folder", "a folder of images") if Path(text).is_dir() else ("arrays", "a .npy or .npz file")
    source = json.dumps({"type": kind, "path": text})
    raise ValueError(f"DATA is {text!r}; expected a data source by its name, or as JSON: {what} is '{source}'")


def batches_of(splits: Splits, takes: Preprocessing, size: int) -> Iterator[ImageBatch]:
    """All samples of train, valid and test, in this order, `size` at a time."""
    number = 0
    for part in PARTS:
        split = getattr(splits, part)
        for start in range(0, split.n, size):
            some = split.take(slice(start, start + size))
            yield ImageBatch(part, takes(some.x), torch.arange(number, number + some.n), some.label)
            number += some.n
