"""Features of CIFAR-10 images, on which the paper of noise-trained networks works."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta

from sparsecode.data.downloads import VARIABLE
from sparsecode.data.numpy_files import read_npz
from sparsecode.data.published import CIFAR10_LATENTS
from sparsecode.data.splits import Split, Splits
from sparsecode.specs import Count, Spec

__all__ = ["CIFAR10Latents"]


class CIFAR10Latents(Spec, tag="cifar10-latents"):
    """256 features per CIFAR-10 image, with its label: a ConvMixer-256/8 trained on ImageNet32, before its head.

    50 000 training images in their order, the first `n_train` to train and the last `n_valid` to validate on; 1 000 test
    images. Values span about -0.9 to 3.8, norms have median 2.76. The file (arrays x_train, y_train, x_test, y_test) is
    read from `$SPARSECODE_DATA`; no public copy is known: any features of any images in this form will do.
    Raises FileNotFoundError or ValueError naming the file. Source: Bricken et al., ICML 2023, who train on such features.
    """

    n_train: Annotated[Count, Meta(description="training images to use")] = 49_000
    n_valid: Annotated[Count, Meta(description="validation images to use")] = 1_000

    def load(self) -> Splits:
        path = Path(os.environ.get(VARIABLE, ".")) / CIFAR10_LATENTS
        if not path.is_file():
            raise FileNotFoundError(
                f"{CIFAR10_LATENTS}: not in {path.parent.absolute()}. Set {VARIABLE} to the folder that holds it, or make some: "
                "sparsecode extract timm:convmixer_768_32 cifar10 --out latents, then "
                '--set data=\'{"type":"shards","path":"latents"}\''
            )
        try:
            arrays = read_npz(path, lambda _: ["x_train", "y_train", "x_test", "y_test"])
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{path}: damaged, or without x_train, y_train, x_test and y_test ({error}); restore it from a copy"
            ) from None
        if wrong := [key for key, array in arrays.items() if array.dtype.kind == "c" or not array.ndim]:
            raise ValueError(
                f"{path}: {wrong[0]} is {arrays[wrong[0]].dtype} {arrays[wrong[0]].shape}; expected arrays of real numbers"
            )
        x, x_test = (torch.from_numpy(arrays[key].astype(np.float32)) for key in ("x_train", "x_test"))
        y, y_test = (torch.from_numpy(arrays[key].astype(np.int64)) for key in ("y_train", "y_test"))
        rows_match = (tuple(y.shape), tuple(y_test.shape)) == ((len(x),), (len(x_test),))
        if (
            x.ndim != 2
            or x.shape[1:] != x_test.shape[1:]
            or not rows_match
            or not all(bool(torch.isfinite(part).all()) for part in (x, x_test))
        ):
            raise ValueError(
                f"{path}: x_train {tuple(x.shape)} with {len(y)} labels; expected finite [n, n_features] and a label for each"
            )
        if self.n_train + self.n_valid > len(x):
            raise ValueError(
                f"CIFAR10Latents: n_train + n_valid is {self.n_train + self.n_valid}, and {path} holds {len(x)}; expected at "
                "most that"
            )
        train = Split(x[: self.n_train], label=y[: self.n_train])
        valid = Split(x[len(x) - self.n_valid :], label=y[len(x) - self.n_valid :])
        return Splits(train, valid, Split(x_test, label=y_test), float(train.x.min()), float(train.x.max()))
