"""Gabor functions and differences of Gaussians fitted to pictures by least squares, many at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Fit", "fit_dogs", "fit_gabors"]

STEPS = 60
TOGETHER = 32  # pictures
NYQUIST = 0.5
WEIGHTS = 3  # a, b, c: the last parameters of both kinds, in which they are linear


class Fit(NamedTuple):
    """For each picture, the best function of one kind: `quality` = 1 - residual / variance [n], its values [n, h w], of which
    `offset` [n] is the constant; `parameters` [n, p] are those of the picture less its mean and over its standard deviation.

    Raising the number of parameters always raises the quality; `bic` = n log(residual / n) + parameters log n, of which the
    least is the best, allows for it.
    """

    quality: Tensor
    bic: Tensor
    parameters: Tensor
    values: Tensor
    offset: Tensor


class Sloped(NamedTuple):
    """Values [n, f] and their derivatives with respect to the parameters [n, f, p]."""

    values: Tensor
    slopes: Tensor


Formula = Callable[[Tensor, Tensor], Sloped]  # of parameters [n, p] and pixels [f, 2]


def _gabor(p: Float[Tensor, "n 9"], at: Float[Tensor, "f 2"]) -> Sloped:
    """(a cos + b sin)(2 pi f t) exp(-t^2 / 2 s_t^2 - l^2 / 2 s_l^2) + c, l along the stripes and t across them.

    p = row, column, angle of the stripes, log s_t, log s_l, log f, a, b, c.
    """
    row, column, angle, log_t, log_l, log_f, a, b, c = p.T[:, :, None]
    cos, sin = angle.cos(), angle.sin()
    down, right = at[:, 0] - row, at[:, 1] - column
    along, across = right * cos - down * sin, right * sin + down * cos
    t2, l2 = (across / log_t.exp()).square(), (along / log_l.exp()).square()
    envelope = torch.exp(-(t2 + l2) / 2)
    phase = 2 * math.pi * log_f.exp() * across
    even, odd = envelope * phase.cos(), envelope * phase.sin()
    wave, turned = a * even + b * odd, (b * even - a * odd) * 2 * math.pi * log_f.exp()
    by_across, by_along = turned - wave * across / (2 * log_t).exp(), -wave * along / (2 * log_l).exp()
    slopes = (
        by_along * sin - by_across * cos,
        -by_along * cos - by_across * sin,
        by_across * along - by_along * across,
        wave * t2,
        wave * l2,
        turned * across,
        even,
        odd,
        torch.ones_like(even),
    )
    return Sloped(wave + c, torch.stack(slopes, dim=2))


def _dog(p: Float[Tensor, "n 7"], at: Float[Tensor, "f 2"]) -> Sloped:
    """a exp(-r^2 / 2 s^2) + b exp(-r^2 / 2 (s q)^2) + c; p = row, column, log s, log log q, a, b, c."""
    row, column, log_s, log_log_q, a, b, c = p.T[:, :, None]
    down, right = at[:, 0] - row, at[:, 1] - column
    square, log_q = down.square() + right.square(), log_log_q.exp()
    inner, outer = square * (-2 * log_s).exp(), square * (-2 * (log_s + log_q)).exp()
    centre, surround = torch.exp(-inner / 2), torch.exp(-outer / 2)
    by_inner, by_outer = a * centre, b * surround
    pull = by_inner * (-2 * log_s).exp() + by_outer * (-2 * (log_s + log_q)).exp()
    slopes = (
        pull * down,
        pull * right,
        by_inner * inner + by_outer * outer,
        by_outer * outer * log_q,
        centre,
        surround,
        torch.ones_like(centre),
    )
    return Sloped(by_inner + by_outer + c, torch.stack(slopes, dim=2))


class _Family(NamedTuple):
    """A kind of function: its formula, starting points [levels, candidates, shape parameters], the range of these."""

    formula: Formula
    grid: Tensor
    low: Tensor
    high: Tensor


def _grid(*axes: Sequence[float]) -> Tensor:
    return torch.cartesian_prod(*(torch.tensor(axis, dtype=torch.float64) for axis in axes))


def _pixels(pictures: Float[Tensor, "n h w"]) -> Float[Tensor, "f 2"]:
    height, width = pictures.shape[1:]
    return torch.cartesian_prod(torch.arange(height), torch.arange(width)).double()


def _places(length: int) -> list[float]:
    """Five places along an axis, the first and the last in the margin."""
    return [(length - 1) * share for share in (0.1, 0.3, 0.5, 0.7, 0.9)]


def _gabors(height: int, width: int) -> _Family:
    short, long = min(height, width), max(height, width)
    angles = [math.pi * i / 8 for i in range(8)]
    levels = [
        _grid(_places(height), _places(width), angles, [math.log(s)], [math.log(s * r) for r in (1, 2)], [math.log(f)])
        for s, f in [(s, f) for s in (0.08 * short + 0.3, 0.16 * short) for f in (0.35 / s, 0.15 / s, 0.05 / s)]
    ]
    low = [-1.0, -1.0, -math.inf, math.log(0.4), math.log(0.4), math.log(0.1 / long)]
    high = [height, width, math.inf, math.log(long), math.log(long), math.log(NYQUIST)]
    return _family(_gabor, levels, low, high)


def _dogs(height: int, width: int) -> _Family:
    short, long = min(height, width), max(height, width)
    levels = [
        _grid(_places(height), _places(width), [math.log(s)], [math.log(math.log(q)) for q in (1.3, 1.6, 3.0)])
        for s in (0.04 * short + 0.3, 0.08 * short + 0.3, 0.16 * short, 0.3 * short)
    ]
    low = [-1.0, -1.0, math.log(0.4), math.log(math.log(1.1))]
    high = [height, width, math.log(long), math.log(math.log(10.0))]
    return _family(_dog, levels, low, high)


def _family(formula: Formula, levels: list[Tensor], low: list[float], high: list[float]) -> _Family:
    lower, upper = (torch.tensor(v, dtype=torch.float64) for v in (low, high))
    return _Family(formula, torch.stack(levels).clamp(lower, upper), lower, upper)


def _fit(family: _Family, pictures: Float[Tensor, "n f"], at: Float[Tensor, "f 2"]) -> Fit:
    """Least squares for all pictures at once: the best of each level of a grid, then Levenberg-Marquardt from there."""
    y = pictures - pictures.mean(dim=1, keepdim=True)
    scale = y.square().mean(dim=1, keepdim=True).sqrt()
    # what rounding leaves of equal values is no shape
    varied = scale > 1e-9 * pictures.abs().amax(dim=1, keepdim=True)
    y = torch.where(varied, y / scale, 0.0)
    starts = torch.cat([_starts(family, level, y, at) for level in family.grid])
    targets = y.repeat(len(family.grid), 1)
    parameters = _marquardt(family, starts, targets, at)
    values = family.formula(parameters, at).values
    residual = (targets - values).square().sum(dim=1).reshape(-1, len(y))
    best = residual.nan_to_num(math.inf).argmin(dim=0)
    row = best * len(y) + torch.arange(len(y), device=y.device)
    left = residual.gather(0, best[None])[0] / y.shape[1]
    quality = torch.where(varied[:, 0], 1 - left, 0.0)
    bic = y.shape[1] * left.clamp(min=1e-12).log() + parameters.shape[1] * math.log(y.shape[1])
    mean, result = pictures.mean(dim=1), parameters[row]
    offset = result[:, -1] * scale[:, 0] + mean
    return Fit(quality, bic, result, values[row] * scale + mean[:, None], offset)


def _basis(family: _Family, shapes: Float[Tensor, "g s"], at: Float[Tensor, "f 2"]) -> Float[Tensor, "g f l"]:
    """The functions whose weighted sum has these shape parameters: its derivatives with respect to the weights."""
    weights = shapes.new_zeros(len(shapes), WEIGHTS)
    return family.formula(torch.cat([shapes, weights], dim=1), at).slopes[:, :, -WEIGHTS:]


def _starts(
    family: _Family, shapes: Float[Tensor, "g s"], y: Float[Tensor, "n f"], at: Float[Tensor, "f 2"]
) -> Float[Tensor, "n p"]:
    """For each picture, the candidate of least squared error and its weights."""
    explained: list[Tensor] = []
    for part in shapes.split(100):
        basis = torch.linalg.qr(_basis(family, part, at)).Q
        explained.append(torch.einsum("nf,gfl->ngl", y, basis).square().sum(dim=2))
    best = shapes[torch.cat(explained, dim=1).argmax(dim=1)]
    weights = torch.linalg.pinv(_basis(family, best, at)) @ y[:, :, None]
    return torch.cat([best, weights[:, :, 0]], dim=1)


def _marquardt(
    family: _Family, p: Float[Tensor, "n p"], y: Float[Tensor, "n f"], at: Float[Tensor, "f 2"]
) -> Float[Tensor, "n p"]:
    """Damped Gauss-Newton steps, each row with a damping of its own; shape parameters are kept in their range."""
    n_shape = len(family.low)
    p, damping = p.clone(), torch.full_like(p[:, 0], 1e-2)
    values, slopes = family.formula(p, at)
    left = y - values
    error = left.square().sum(dim=1)
    going = torch.arange(len(p))
    for _ in range(STEPS):
        if not len(going):
            break
        slope, damp = slopes[going], damping[going]
        normal = slope.mT @ slope
        ridge = torch.diag_embed(damp[:, None] * normal.diagonal(dim1=1, dim2=2) + 1e-9)
        step = torch.linalg.solve_ex(normal + ridge, slope.mT @ left[going, :, None]).result[:, :, 0]
        then = p[going] + step
        then[:, :n_shape] = then[:, :n_shape].clamp(family.low, family.high)
        tried = family.formula(then, at)
        rest = y[going] - tried.values
        gain = error[going] - rest.square().sum(dim=1)
        better = gain > 0
        damping[going] = torch.where(better, damp / 4, damp * 4)
        accepted = going[better]
        p[accepted], left[accepted], slopes[accepted] = then[better], rest[better], tried.slopes[better]
        error[accepted] -= gain[better]
        going = going[(gain > 1e-7 * y.shape[1]) | (~better & (damping[going] < 1e6))]
    return p


def fit_gabors(pictures: Float[Tensor, "n h w"]) -> Fit:
    """The Gabor functions nearest to n pictures in least squares; parameters as in `_gabor`, angles in radians."""
    return _all(_gabors(*pictures.shape[1:]), pictures)


def fit_dogs(pictures: Float[Tensor, "n h w"]) -> Fit:
    """The differences of two round Gaussians of one centre nearest to n pictures in least squares; parameters as in `_dog`."""
    return _all(_dogs(*pictures.shape[1:]), pictures)


@torch.no_grad()
def _all(family: _Family, pictures: Tensor) -> Fit:
    at = _pixels(pictures)
    parts = [_fit(family, part.flatten(1).double(), at) for part in pictures.split(TOGETHER)]
    return Fit(*(torch.cat(column) for column in zip(*parts, strict=True)))
