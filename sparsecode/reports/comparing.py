"""Figures that need no prior: one sample in the codes of several models, and the plane of two codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode import plots
from sparsecode.data.splits import Splits
from sparsecode.evaluate.base import CHUNK, in_parts
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_posterior
from sparsecode.nn.priors import StandardNormal

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.figure import Figure

__all__ = ["codes_beside", "manifold", "shows_codes"]

ENCODED = 2000  # test samples that say where codes lie
TAIL = 0.02  # share of them outside the plane, on each side


def shows_codes(model: AbstractSparseModel) -> bool:
    """Whether a model's codes give pictures back."""
    return model.reconstructs and model.n_sites == 1 and plots.is_picture(model.shape)


@torch.no_grad()
def codes_beside(
    models: Mapping[str, AbstractSparseModel], splits: Splits, row: int | None = None, coder: str | None = None
) -> Figure:
    """A row per model: a test sample, its code by this model as stems, and the decoding; by default the first with codes in all.

    Raises ValueError if there is no such sample or coder, or a model whose codes give no pictures of the sample's shape.
    """
    for name, model in models.items():
        if not shows_codes(model) or model.shape != splits.shape:
            raise ValueError(
                f"{name}: samples have shape {model.shape}; expected a model that reconstructs pictures of {splits.shape}"
            )
    if row is not None and not 0 <= row < splits.test.n:
        raise ValueError(f"sample is {row}; expected 0 to {splits.test.n - 1}, of the test split")
    coders = [model.coders()[model.coder_called(coder)] for model in models.values()]
    if row is None:
        x = splits.test.x[:CHUNK]
        on = torch.stack([(encode(_as(x, model)) != 0).any(dim=1).cpu() for encode, model in _pairs(coders, models)])
        row = int(on.all(dim=0).float().argmax())
    x = splits.test.x[row : row + 1]
    codes = [encode(_as(x, model)) for encode, model in _pairs(coders, models)]
    decoded = [model.denormalise(model.decode(z)) for z, model in _pairs(codes, models)]
    title = f"test sample {row} in the codes of {len(models)} models"
    images = np.concatenate([_array(image).reshape(1, *splits.shape) for image in decoded])
    inputs = np.repeat(_array(x), len(models), axis=0)
    shown = [_array(z[0]) for z in codes]
    return plots.encoding_view(inputs, shown, images, splits.shape, splits.span(), title, tuple(models))


@torch.no_grad()
def manifold(model: AbstractSparseModel, splits: Splits, name: str, side: int = 20) -> Figure:
    """Decodings of side x side codes of a model with two: the first to the right, the second upwards.

    Where the prior is N(0, 1), codes are its quantiles (i + 1/2) / side, so that every picture is as probable as any other; else they lie
    evenly between the 2nd and the 98th percentile of up to 2000 test samples' codes. Source of the first: Kingma & Welling, ICLR 2014, figure 4.
    Raises ValueError for a model that has not two codes, or gives no pictures.
    """
    if model.n_code != 2 or not shows_codes(model):
        raise ValueError(f"the model has {model.n_code} codes of samples {model.shape}; expected 2, of pictures")
    weights = next(model.parameters())
    if has_posterior(model) and isinstance(model.spec.prior, StandardNormal):
        share = (torch.arange(side, dtype=torch.float64) + 0.5) / side
        axes = torch.special.ndtri(share).repeat(2, 1)
        range_words = "quantiles of the prior"
    else:
        coder = next(iter(model.coders().values()))
        codes = in_parts(lambda x: coder(_as(x, model)).cpu(), splits.test.x[:ENCODED], model.n_code).double()
        low, high = codes.quantile(torch.tensor([TAIL, 1 - TAIL], dtype=torch.float64), dim=0)
        axes = torch.stack([torch.linspace(float(a), float(b), side) for a, b in zip(low, high, strict=True)])
        range_words = f"between {TAIL:.0%} and {1 - TAIL:.0%} of test samples"
    across, up = axes
    z = torch.cartesian_prod(up.flip(0), across).flip(1).to(weights)
    images = in_parts(lambda part: model.denormalise(model.decode(part)).cpu(), z, model.n_code)
    title = f"{name}: the plane of its two codes, {range_words}"
    return plots.code_plane(_array(images), _array(across), _array(up), model.shape, splits.span(), title)


def _pairs(first: list[Any], models: Mapping[str, AbstractSparseModel]) -> zip[tuple[Any, AbstractSparseModel]]:
    return zip(first, models.values(), strict=True)


def _as(x: Tensor, model: AbstractSparseModel) -> Tensor:
    return x.to(next(model.parameters()))


def _array(tensor: Tensor) -> NDArray[Any]:
    return np.asarray(tensor.detach().cpu())
