"""Fits find again what receptive fields were made of, and refuse what is neither."""

import math

import pytest
import torch
from noisy import digits
from torch import Tensor

from sparsecode.evaluate.units.receptive_fields import (
    GOOD,
    Fields,
    fit_fields,
    nearest_images,
    spatial_profiles,
    summary,
)

N, SIDE = 24, 14
DOWN, RIGHT = torch.meshgrid(torch.arange(SIDE).double(), torch.arange(SIDE).double(), indexing="ij")


def uniform(low: float, high: float, rng: torch.Generator) -> Tensor:
    """[N, 1, 1], to be spread over pixels."""
    return (low + (high - low) * torch.rand(N, generator=rng, dtype=torch.float64))[:, None, None]


def noisy(fields: Tensor, noise: float, rng: torch.Generator) -> Tensor:
    fields = fields / fields.flatten(1).std(dim=1)[:, None, None]
    return (fields + noise * torch.randn(fields.shape, generator=rng, dtype=torch.float64))[:, None]


def gabors(rng: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """A quarter to half a cycle per deviation of the envelope."""
    true = {
        "row": uniform(4, 9, rng),
        "column": uniform(4, 9, rng),
        "angle": uniform(0, 180, rng),
        "across": uniform(1.5, 2.5, rng),
        "ratio": uniform(1, 2, rng),
        "cycles": uniform(0.25, 0.5, rng),
    }
    angle = torch.deg2rad(true["angle"])
    down, right = DOWN - true["row"], RIGHT - true["column"]
    along, across = right * angle.cos() - down * angle.sin(), right * angle.sin() + down * angle.cos()
    true["frequency"] = true["cycles"] / true["across"]
    envelope = (-(across / true["across"]).square() / 2 - (along / true["across"] / true["ratio"]).square() / 2).exp()
    wave = (2 * math.pi * true["frequency"] * across + uniform(0, 2 * math.pi, rng)).cos()
    return true, 3.0 * envelope * wave + 0.2


def dogs(rng: torch.Generator) -> Tensor:
    """Centres with a surround of half to all of their volume, bright and dark."""
    true = {
        "row": uniform(4, 9, rng),
        "column": uniform(4, 9, rng),
        "size": uniform(0.8, 1.6, rng),
        "wider": uniform(1.5, 2.5, rng),
    }
    square = (DOWN - true["row"]).square() + (RIGHT - true["column"]).square()
    centre = (-square / (2 * true["size"] ** 2)).exp()
    surround = (-square / (2 * (true["size"] * true["wider"]) ** 2)).exp() / true["wider"] ** 2
    true["balance"] = uniform(0.5, 1, rng)
    return (centre - true["balance"] * surround) * uniform(-1, 1, rng).sign()


def flat(values: Tensor) -> Tensor:
    return values[:, 0, 0]


@pytest.mark.parametrize(("noise", "degrees", "relative"), [(0.0, 0.01, 1e-4), (0.3, 2.0, 0.06)])
def test_gabors_are_found_again(rng: torch.Generator, noise: float, degrees: float, relative: float) -> None:
    true, made = gabors(rng)
    result = fit_fields(noisy(made, noise, rng))
    turned = (result.orientation - flat(true["angle"]) + 90) % 180 - 90
    assert float(turned.abs().max()) < degrees
    assert torch.allclose(result.frequency, flat(true["frequency"]), rtol=relative)
    assert torch.allclose(
        result.centre, torch.stack([flat(true["row"]), flat(true["column"])], dim=1), atol=0.01 + noise
    )
    assert torch.allclose(result.size, flat(true["across"] * true["ratio"].sqrt()), rtol=3 * relative)
    assert torch.allclose(result.aspect, flat(true["ratio"]), rtol=6 * relative)
    assert torch.allclose(result.gabor, torch.full((N,), 1 / (1 + noise**2)).double(), atol=1e-6 + noise / 8)
    assert bool((result.kind == 0).all())
    assert summary(result).gabor == 1.0


@pytest.mark.parametrize(("noise", "distance", "balance"), [(0.0, 0.01, 0.02), (0.3, 0.3, 0.35)])
def test_centres_and_surrounds_are_found_again(
    rng: torch.Generator, noise: float, distance: float, balance: float
) -> None:
    made = dogs(rng)
    result = fit_fields(noisy(made, noise, rng))
    assert bool((result.kind == 1).all())
    assert summary(result).dog == 1.0
    assert bool((result.dog > 0.99 / (1 + noise**2) - noise / 8).all())
    parts = torch.stack([made.clamp(min=0).flatten(1).sum(dim=1), (-made).clamp(min=0).flatten(1).sum(dim=1)])
    assert float((result.centre_surround - parts.amin(dim=0) / parts.amax(dim=0)).abs().median()) < balance
    values = made.flatten(1)
    fitted = result.dog_values.flatten(1)
    agreement = torch.cosine_similarity(values - values.mean(1, True), fitted - fitted.mean(1, True), dim=1)
    assert float(agreement.min()) > 1 - distance


def test_white_noise_is_neither(rng: torch.Generator) -> None:
    result = fit_fields(torch.randn(N, 1, SIDE, SIDE, generator=rng, dtype=torch.float64))
    assert float(torch.maximum(result.gabor, result.dog).max()) < 0.3
    whole = summary(result)
    assert (whole.gabor, whole.dog, whole.neither) == (0.0, 0.0, 1.0)
    assert whole.frequency is whole.centre_surround is whole.opponency is None


def test_values_are_the_fit_and_what_is_left_its_quality(rng: torch.Generator) -> None:
    _, made = gabors(rng)
    keys = noisy(made, 0.5, rng)
    result = fit_fields(keys)
    for values, quality in ((result.gabor_values, result.gabor), (result.dog_values, result.dog)):
        left = (keys[:, 0] - values).flatten(1).square().sum(dim=1)
        spread = keys.flatten(1).var(dim=1, correction=0) * SIDE**2
        assert torch.allclose(1 - left / spread, quality)


def test_fits_do_not_depend_on_scale_or_company(rng: torch.Generator) -> None:
    _, made = gabors(rng)
    keys = noisy(made, 0.2, rng)
    alone, together = fit_fields(keys[:3] * 1e-4), fit_fields(keys)
    assert torch.allclose(alone.frequency, together.frequency[:3], rtol=1e-4)
    assert torch.allclose(alone.gabor, together.gabor[:3], rtol=1e-6)


def test_a_field_of_one_value_is_fitted_by_nothing() -> None:
    result = fit_fields(torch.ones(1, 1, 8, 8))
    assert result.gabor.tolist() == result.dog.tolist() == [0.0]
    assert all(bool(torch.isfinite(getattr(result, name)).all()) for name in Fields._fields)


def test_colours_are_told_from_profiles(rng: torch.Generator) -> None:
    made = dogs(rng)
    blue_yellow = torch.tensor([0.5, 0.5, -1.0], dtype=torch.float64)
    grey = torch.ones(3, dtype=torch.float64)
    keys = torch.cat([made[:4, None] * colour[:, None, None] for colour in (blue_yellow, grey)])
    profile, colour, share = spatial_profiles(keys)
    assert torch.allclose(share, torch.ones(8).double())
    assert torch.allclose(profile[:, None] * colour[:, :, None, None], keys)
    result = fit_fields(keys)
    assert torch.allclose(result.opponency, torch.tensor([1.0] * 4 + [0.0] * 4).double(), atol=1e-9)
    assert torch.allclose(result.chroma, torch.tensor([1.0] * 4 + [0.0] * 4).double(), atol=1e-9)
    assert summary(result).opponency is not None
    assert float(result.dog.min()) > GOOD


def test_the_nearest_image_is_found_in_any_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits().train.x.flatten(1)
    keys = torch.cat([5 * images[[3, 700, 1200]], torch.zeros(1, images.shape[1])])
    monkeypatch.setattr("sparsecode.evaluate.units.receptive_fields.CHUNK", 100)
    result = nearest_images(keys, images)
    assert torch.allclose(result.cosine, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    cosines = torch.nn.functional.normalize(images, dim=1) @ torch.nn.functional.normalize(keys[:3], dim=1).T
    assert result.row[:3].tolist() == cosines.argmax(dim=0).tolist()
