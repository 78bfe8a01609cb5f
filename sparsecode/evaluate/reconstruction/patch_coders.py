"""Codes of noisy patches under a dictionary, by pursuit or by the lasso, as far as the level of the noise asks for."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.solvers.encode import sparse_encode
from sparsecode.specs import Positive, Spec

__all__ = ["CODERS", "LassoPatches", "Mask", "PatchArray", "PatchCoder", "PursuitPatches"]

PatchArray = NDArray[np.float32]
Mask = NDArray[np.bool_]


class PursuitPatches(Spec, tag="omp"):
    """Orthogonal matching pursuit until the residual is at the level of the noise: |x - z D|^2 <= (gain sigma)^2 n_features."""

    gain: Annotated[Positive, Meta(description="1.15 in the source, for patches of 8 x 8")] = 1.15

    def codes(self, x: PatchArray, D: PatchArray, sigma: float, mask: Mask | None = None) -> PatchArray:
        from sparsecode.kernels.omp import pursue, pursue_observed  # numba is slow to import

        n_code, n_features = D.shape
        z = np.zeros((len(x), n_code), np.float32)
        if mask is not None:
            most, rest = np.full(len(x), min(n_code, n_features)), (self.gain * sigma) ** 2 * mask.sum(axis=1)
            threads = torch.get_num_threads()
            pursue_observed(x, mask, D, z, most, 0.0, threads, unexplained=rest.astype(np.float32))
            return z
        # The kernel stops when |x|^2 less what is explained is 0: so much of |x|^2 is not to be explained.
        surplus = np.square(x).sum(axis=1) - np.float32((self.gain * sigma) ** 2 * n_features)
        most = np.full(len(x), min(n_code, n_features))
        pursue(D @ D.T, x @ D.T, surplus, z, most, 0.0, torch.get_num_threads())
        return z


class LassoPatches(Spec, tag="lasso"):
    """argmin 1/2 |x - z D|^2 + scale * sigma * |z|_1: noise of standard deviation sigma has coefficients of that size."""

    scale: Annotated[Positive, Meta(description="penalty weight in units of sigma")] = 1.6

    def codes(self, x: PatchArray, D: PatchArray, sigma: float, mask: Mask | None = None) -> PatchArray:
        return sparse_encode(x, D, self.scale * sigma, tol=1e-2, mask=mask)


PatchCoder = PursuitPatches | LassoPatches
CODERS: dict[str, PatchCoder] = {"omp": PursuitPatches(), "lasso": LassoPatches()}
