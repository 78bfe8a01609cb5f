"""Augmentation of training images: random mirroring and cropping, new in every epoch."""

from __future__ import annotations

import hashlib
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.data.arrays import Arrays
from sparsecode.data.cifar import CIFAR10
from sparsecode.data.images import ImageFolder
from sparsecode.data.mnist import MNIST, FashionMNIST
from sparsecode.data.olivetti import Olivetti
from sparsecode.data.sklearn_data import Digits, Photos
from sparsecode.data.splits import Reader, Samples, Splits
from sparsecode.ops.rng import generator
from sparsecode.records import Batch
from sparsecode.specs import Spec

__all__ = ["Augmented", "AugmentedStream", "Pictures"]

Pictures = CIFAR10 | MNIST | FashionMNIST | Digits | Photos | ImageFolder | Olivetti | Arrays


class Augmented(Spec, tag="augmented"):
    """Training images of `source` are mirrored and cropped at random, anew in every epoch; validation and test stay as they are.

    A part of the image with `pad` pixels of the lowest value on each side, of a share of the image's area drawn uniformly from
    [`scale`, 1], at a random place, scaled to the image's size by linear interpolation (exactly, if `scale` is 1), and mirrored
    with probability `flip`. Targets are the changed images. What is drawn is a function of seed, epoch and place in it.
    Raises ValueError for samples that are no images, or with targets of their own.
    Source: `scale` 0.75, `flip` 0.5, `pad` 0 in the first code of Bricken et al., ICML 2023, which also had RandAugment, colour jitter
    and random erasing; the other use, `pad` 4 with `scale` 1, is that of He et al., CVPR 2016.
    """

    source: Pictures
    flip: Annotated[float, Meta(ge=0, le=1, description="probability of mirroring left and right")] = 0.5
    pad: Annotated[int, Meta(ge=0, description="pixels on each side to crop from")] = 4
    scale: Annotated[float, Meta(gt=0, le=1, description="the least share of the area that a crop keeps")] = 1.0

    def load(self) -> Splits:
        splits = self.source.load()
        if len(splits.shape) < 2 or splits.train.target is not None or splits.train.ctx is not None:
            what = "have targets" if splits.train.target is not None else f"have shape {splits.shape}"
            raise ValueError(f"Augmented: samples of source {what}; expected images [..., height, width] alone")
        mark = f"{splits.fingerprint()} {self.flip} {self.pad} {self.scale}"
        return splits._replace(stream=AugmentedStream(splits.training, self, splits.low, mark))


class AugmentedStream:
    """Samples changed when they are read; the draws of an epoch are a function of (seed, epoch)."""

    def __init__(self, samples: Samples, spec: Augmented, low: float, mark: str) -> None:
        self.samples, self.spec, self.low, self.mark = samples, spec, low, mark
        self.n = samples.n

    def to(self, device: torch.device, dtype: torch.dtype) -> AugmentedStream:
        return AugmentedStream(self.samples.to(device, dtype), self.spec, self.low, self.mark)

    def reader(self, seed: int) -> Reader:
        """The order of the samples' own reader, and what is drawn for each place in it."""
        read, drawn, drawn_of = self.samples.reader(seed), torch.empty(0), -1

        def augmented(epoch: int, first: int, last: int) -> Batch:
            nonlocal drawn, drawn_of
            if epoch != drawn_of:
                drawn, drawn_of = torch.rand(self.n, 4, generator=generator(seed, "augmentation", epoch)), epoch
            batch = read(epoch, first, last)
            return batch._replace(x=_changed(batch.x, drawn[first:last].to(batch.x), self.spec, self.low))

        return augmented

    def fingerprint(self) -> str:
        """A short hash of all samples and of the settings."""
        return hashlib.sha256(self.mark.encode()).hexdigest()[:16]


def _changed(x: Float[Tensor, "b *f"], drawn: Float[Tensor, "b 4"], spec: Augmented, low: float) -> Tensor:
    """x with the crops and mirrorings that `drawn`, uniform on [0, 1), stands for."""
    height, width = x.shape[-2:]
    images = x.reshape(len(x), -1, height, width)
    if spec.pad:
        images = torch.nn.functional.pad(images, (spec.pad,) * 4, value=low)
    side = (spec.scale + (1 - spec.scale) * drawn[:, 3]).sqrt()
    for dim, size in ((2, height), (3, width)):
        part = (side * size).round().clamp(min=1)
        start = (drawn[:, dim - 2] * (size + 2 * spec.pad - part + 1)).floor()
        place = ((torch.arange(size).to(x) + 0.5) * (part / size)[:, None] - 0.5).clamp(min=0)
        place = start[:, None] + torch.minimum(place, part[:, None] - 1)
        if dim == 3:
            place = torch.where((drawn[:, 2] < spec.flip)[:, None], place.flip(1), place)
        images = _interpolated(images, place, dim)
    return images.reshape(x.shape)


def _interpolated(images: Float[Tensor, "b c h w"], place: Float[Tensor, "b s"], dim: int) -> Tensor:
    """Images at real places [B, s] along an axis, linear between pixels; whole places give the pixels themselves."""
    before = place.floor()
    shape = [len(place), 1, 1, 1]
    shape[dim] = place.shape[1]

    def at(index: Tensor) -> Tensor:
        wanted = list(images.shape)
        wanted[dim] = place.shape[1]
        return images.gather(dim, index.long().reshape(shape).expand(wanted))

    first = at(before)
    if bool((place == before).all()):
        return first
    after = at((before + 1).clamp(max=images.shape[dim] - 1))
    return torch.lerp(first, after, (place - before).reshape(shape))
