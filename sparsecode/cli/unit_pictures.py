"""Figures of `sparsecode units`: receptive fields of one run, and comparisons of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.data import Splits
from sparsecode.data.splits import Split
from sparsecode.evaluate.base import rows_together
from sparsecode.evaluate.units.activity import BLOCK, NoiseSource, with_noise
from sparsecode.evaluate.units.receptive_fields import FieldsSummary, fit_fields, nearest_images, summary
from sparsecode.evaluate.units.unit_use import UnitUse
from sparsecode.models.amortised import AmortisedModel
from sparsecode.nn.affine import AffineModule
from sparsecode.plots import denoising_grid, fields_mosaic, is_picture, keys_and_neighbours, query_mosaic

__all__ = ["Pictured", "data_space_keys", "density", "most_active", "pictured"]

BINS = 200
SAMPLES = 10  # in a row
NEIGHBOURS = 20


class Pictured(NamedTuple):
    """The pictures of one run by name, a summary of what its keys look like, and their mean largest cosine to an image."""

    figures: dict[str, Figure]
    fields: FieldsSummary
    cosine: float


def data_space_keys(model: AmortisedModel, rows: Tensor) -> Tensor:
    """Gradient of the pre-activations with respect to the pixels [n, n_features]: keys times the normaliser's derivative at a sample of 0."""
    assert isinstance(model.encoder, AffineModule)
    keys = model.encoder.map(model.decoder)[0].detach()[rows]
    with torch.enable_grad():
        x = torch.zeros(len(rows), *model.shape).to(keys).requires_grad_()
        (result,) = torch.autograd.grad((model.normalise(x) * keys).sum(), x)
    return result.flatten(1)


@torch.no_grad()
def most_active(model: AmortisedModel, split: Split, theta: float, n: int) -> Tensor:
    """At most n units that are active on at least one sample without noise, most active first."""
    use: UnitUse | None = None
    for x in split.x.split(rows_together(model.n_code)):
        z = model.encode(x)
        use = UnitUse(z.shape[1], theta, z.device) if use is None else use
        use.update(z)
    assert use is not None
    order = use.counts.argsort(descending=True, stable=True)[:n]
    return order[use.counts[order] > 0]


@torch.no_grad()
def density(
    model: AmortisedModel, split: Split, noise: NoiseSource | None, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Edges [m + 1] and counts [m] of a histogram of all pre-activations, of noisy samples if there is noise."""
    results: list[Tensor] = []
    for start, part in split.chunks(BLOCK):
        x = part.x
        if noise is not None:
            x = model.denormalise(with_noise(model.normalise(x), noise, seed, "activity", start))
        results.append(model.pre_activations(x))
    counts, edges = np.histogram(_array(torch.cat(results)), bins=BINS)
    return edges, counts


@torch.no_grad()
def pictured(
    name: str,
    model: AmortisedModel,
    splits: Splits,
    split: Split,
    noise: NoiseSource,
    sigmas: Sequence[float],
    *,
    units: int,
    query: int,
    theta: float,
    seed: int,
) -> Pictured | str:
    """The figures of a run on pictures, or the reason why there are none."""
    if not is_picture(model.shape) or model.n_sites > 1:
        return (
            f"samples have shape {model.shape}, which are no pictures: no receptive fields, queries or denoised samples"
        )
    rows = most_active(model, split, theta, units)
    if not len(rows):
        return f"no unit is active without noise (|h| > {theta:g}): no receptive fields to see"
    height, width = model.shape[-2:]
    keys = data_space_keys(model, rows)
    fields = summary(fit_fields(keys.reshape(len(rows), -1, height, width)))
    train = splits.train.x.flatten(1)
    near = nearest_images(keys, train)
    span = splits.span()
    few = slice(NEIGHBOURS)
    images = _array(train[near.row[few]])
    figures = {
        "fields": fields_mosaic(_array(keys), model.shape, title=f"{name}: keys of the {len(rows)} most active units"),
        "neighbours": keys_and_neighbours(
            _array(keys[few]),
            images,
            _array(near.cosine[few]),
            model.shape,
            span,
            f"{name}: keys and the training images nearest to them",
        ),
        "query": _query(name, model, split, noise, query, theta, seed, span),
    }
    if model.reconstructs:
        figures["levels"] = _levels(name, model, splits, split, noise, sigmas, seed)
    return Pictured(figures, fields, float(near.cosine.mean()))


def _query(
    name: str,
    model: AmortisedModel,
    split: Split,
    noise: NoiseSource,
    query: int,
    theta: float,
    seed: int,
    span: tuple[float, float],
) -> Figure:
    clean = split.x[query : query + 1]
    noisy = _noisy(model, clean, noise, seed)
    z = model.encode(noisy)[0]
    active = (z.abs() > theta).nonzero()[:, 0]
    seen = {"clean": clean, f"noisy, sigma {noise.sigma:.3g}": noisy}
    if model.reconstructs:
        seen["reconstruction"] = model.reconstruct(noisy)
    return query_mosaic(
        [(label, _array(x[0])) for label, x in seen.items()],
        _array(data_space_keys(model, active)),
        _array(z[active].abs()),
        model.shape,
        span,
        title=f"{name}: units active on sample {query}",
    )


def _levels(
    name: str,
    model: AmortisedModel,
    splits: Splits,
    split: Split,
    noise: NoiseSource,
    sigmas: Sequence[float],
    seed: int,
) -> Figure:
    shown = split.take(torch.linspace(0, split.n - 1, min(SAMPLES, split.n)).long())
    levels: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    for sigma in sigmas:
        noisy = _noisy(model, shown.x, noise._replace(sigma=sigma), seed)
        made = model.reconstruct(noisy)
        levels[f"sigma {sigma:.3g}"] = _array(shown.pixels(noisy)), _array(shown.pixels(made))
    title = f"{name}: noisy samples above, their reconstructions below"
    return denoising_grid(_array(shown.pixels(shown.x)), levels, model.shape, (splits.low, splits.high), title)


def _noisy(model: AmortisedModel, x: Tensor, noise: NoiseSource, seed: int) -> Tensor:
    return model.denormalise(with_noise(model.normalise(x), noise, seed, "picture"))


def _array(tensor: Tensor) -> NDArray[Any]:
    return np.asarray(tensor.detach().cpu())
