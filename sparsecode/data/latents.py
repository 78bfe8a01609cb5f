"""Features of CIFAR-10 images, on which the paper of noise-trained networks works."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Annotated
from zipfile import BadZipFile

import numpy as np
import torch
from msgspec import Meta

from sparsecode.data.sources import VARIABLE
from sparsecode.data.splits import Split, Splits
from sparsecode.specs import Count, Spec

__all__ = ["CIFAR10Latents"]

FILE = "cifar10_convmixer_latents.npz"


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
        path = Path(os.environ.get(VARIABLE, ".")) / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{FILE}: not in {path.parent.absolute()}. Set {VARIABLE} to the folder that holds it, or train on an array of "
                'your own: --set data=\'{"type":"arrays","path":"FILE.npy"}\''
            )
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {key: np.asarray(file[key]) for key in ("x_train", "y_train", "x_test", "y_test")}
        except (BadZipFile, EOFError, KeyError, ValueError, zlib.error) as error:
            raise ValueError(
                f"{path}: damaged, or without x_train, y_train, x_test and y_test ({error}); restore it from a copy"
            ) from None
        x, x_test = (torch.from_numpy(arrays[key].astype(np.float32)) for key in ("x_train", "x_test"))
        y, y_test = (torch.from_numpy(arrays[key].astype(np.int64)) for key in ("y_train", "y_test"))
        if x.ndim != 2 or (len(x), len(x_test)) != (len(y), len(y_test)) or not bool(torch.isfinite(x).all()):
            raise ValueError(
                f"{path}: x_train {tuple(x.shape)} with {len(y)} labels; expected finite [n, n_features] and a label for each"
            )
        if self.n_train + self.n_valid > len(x):
            raise ValueError(
                f"CIFAR10Latents: n_train + n_valid is {self.n_train + self.n_valid}, and {path} holds {len(x)}; expected at "
                "most that"
            )
        train = Split(x[: self.n_train], y[: self.n_train])
        valid = Split(x[len(x) - self.n_valid :], y[len(x) - self.n_valid :])
        return Splits(train, valid, Split(x_test, y_test), float(train.x.min()), float(train.x.max()))
