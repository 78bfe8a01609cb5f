"""Amortisation gap: a coder compared with sparse coding with the same dictionary at equal L0."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.evaluate.base import in_parts
from sparsecode.evaluate.dictionary.geometry import Dictionary, dictionary_of
from sparsecode.evaluate.metrics import ExplainedVariance, l0
from sparsecode.evaluate.reconstruction.pursuits import greedy_codes, refitted_codes
from sparsecode.models.base import AbstractSparseModel
from sparsecode.solvers.encode import sparse_encode
from sparsecode.specs import Spec

__all__ = ["AmortisationGap", "LassoCodes", "amortisation_gap", "lasso_at", "model_gaps"]

TOLERANCE = 0.01  # how near the lasso's mean L0 must come, relative
SOLVED = 1e-3  # relative duality gap of its codes
SEARCH = 30  # halvings of the range of the weight, at most


class AmortisationGap(Spec, tag="amortisation_gap"):
    """The amortisation gap: normalised squared errors of `n` samples in model space, all with the same dictionary.

    `coder_error` with the coder's codes, of mean L0 `l0` above `theta`; `refitted` with the best amplitudes on the coder's
    support; `pursuit` by orthogonal matching pursuit with as many atoms for each sample; `lasso` by the L1 optimum whose
    weight gives the same mean L0, `lasso_refitted` with the best amplitudes on its support. `best` is the least of the last
    four: an upper bound on what k atoms of this dictionary can do. All are >= 0 codes where the coder's are (`positive`).

    `gap` = coder_error - best = `amplitude_gap` (coder_error - refitted) + `support_gap` (refitted - best), each >= 0 up to
    rounding (but for codes under theta, which count in coder_error alone). `lasso_weight` refers to atoms of norm 1; `lasso_l0` is what was reached, with relative duality gaps up to
    `lasso_gap`.
    """

    n: int
    theta: float
    positive: bool
    l0: float
    coder_error: float
    refitted: float
    pursuit: float
    lasso: float
    lasso_refitted: float
    best: float
    gap: float
    amplitude_gap: float
    support_gap: float
    lasso_weight: float
    lasso_l0: float
    lasso_gap: float


class LassoCodes(NamedTuple):
    """Codes [n, k], the weight that gave them, their mean L0 and the largest relative duality gap."""

    z: Tensor
    weight: float
    l0: float
    gap: float


@torch.no_grad()
def lasso_at(target: float, x: Float[Tensor, "n f"], D: Float[Tensor, "k f"], positive: bool = False) -> LassoCodes:
    """argmin 1/2 |x - z D|^2 + weight |z|_1 with the one weight for which the mean L0 is `target`, to within 1 %.

    The weight is determined by bisection of its logarithm; where no weight gives so many non-zeros, the nearest codes are
    returned. Raises ValueError unless 0 < target.
    """
    if not target > 0:
        raise ValueError(f"target is {target}; expected a mean L0 > 0")
    corr = (x @ D.T) if positive else (x @ D.T).abs()
    high = math.log(max(float(corr.max()), torch.finfo(x.dtype).tiny))  # every code is zero there
    low, least = None, high - math.log(1e6)
    best: LassoCodes | None = None
    weight = high - math.log(10)
    for _ in range(SEARCH):
        # From zero each time: codes near another weight's would keep some of its entries until their gap is tiny.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of codes that stop short: their gap is reported
            result = sparse_encode(x, D, math.exp(weight), positive=positive, tol=SOLVED, return_solution=True)
        count = float(l0(result.z).double().mean())
        if best is None or abs(count - target) < abs(best.l0 - target):
            gap = result.gap[result.gap.isfinite()]  # infinite for a sample of zeros
            best = LassoCodes(result.z, math.exp(weight), count, float(gap.max()) if len(gap) else 0.0)
        low, high = (weight, high) if count > target else (low, weight)
        if abs(count - target) <= TOLERANCE * target or (low is not None and high - low < 1e-6) or high <= least:
            break
        weight = high - math.log(3) if low is None else (low + high) / 2  # small weights take long
    assert best is not None
    return best


@torch.no_grad()
def amortisation_gap(
    x: Float[Tensor, "n f"], z: Float[Tensor, "n k"], dictionary: Dictionary, theta: float = 0.0
) -> AmortisationGap:
    """The gap in error between codes `z` of rows `x` (both in model space) and the best codes with equal mean L0.

    Raises ValueError if no code is active, or all are: then L0 says nothing, and `theta` must be stated.
    """
    atoms, bias = dictionary.atoms.to(x), dictionary.bias.to(x)
    norms = torch.linalg.vector_norm(atoms, dim=1)
    D = atoms / torch.where(norms > 0, norms, 1)[:, None]
    rows, support = x - bias, z.abs() > theta
    counts = support.sum(dim=1)
    mean = float(counts.double().mean())
    if not 0 < mean < z.shape[1]:
        raise ValueError(
            f"theta is {theta:g}, and {'no code is' if mean == 0 else 'all codes are'} above it in magnitude; state a theta "
            "that tells active codes from others (codes through a sigmoid are never 0)"
        )
    positive = bool((z >= 0).all())
    lasso = lasso_at(mean, rows, D, positive)
    errors = {
        "coder_error": _error(x, z @ atoms + bias),
        "refitted": _error(x, refitted_codes(rows, D, support, positive) @ D + bias),
        "pursuit": _error(x, greedy_codes(rows, D, counts, positive) @ D + bias),
        "lasso": _error(x, lasso.z @ D + bias),
        "lasso_refitted": _error(x, refitted_codes(rows, D, lasso.z != 0, positive) @ D + bias),
    }
    least = min(errors["refitted"], errors["pursuit"], errors["lasso"], errors["lasso_refitted"])
    return AmortisationGap(
        n=len(x),
        theta=theta,
        positive=positive,
        l0=mean,
        **errors,
        best=least,
        gap=errors["coder_error"] - least,
        amplitude_gap=errors["coder_error"] - errors["refitted"],
        support_gap=errors["refitted"] - least,
        lasso_weight=lasso.weight,
        lasso_l0=lasso.l0,
        lasso_gap=lasso.gap,
    )


@torch.no_grad()
def model_gaps(
    model: AbstractSparseModel,
    x: Tensor,
    theta: float = 0.0,
    dictionary: Dictionary | None = None,
    coders: Sequence[str] | None = None,
) -> dict[str, AmortisationGap]:
    """The amortisation gap of the model's coders, or of those named, on samples x [n, *F] in data space.

    Raises ValueError for models whose decoder is not linear, and as `amortisation_gap`.
    """
    dictionary = dictionary_of(model) if dictionary is None else dictionary
    x = x.to(next(model.parameters()))
    rows = in_parts(model.normalise, x, model.n_code)
    return {
        name: amortisation_gap(rows, in_parts(coder, x, model.n_code), dictionary, theta)
        for name, coder in model.coders().items()
        if coders is None or name in coders
    }


def _error(x: Tensor, y: Tensor) -> float:
    variance = ExplainedVariance()
    variance.update(x, y)
    return variance.normalised_mse()
