"""Convolutional sparse coding beside sporco: seconds to the same objective, certified by the same duality gap.

One photograph of scikit-learn less its blurred copy, 128 by 128 pixels, 32 random atoms of 8 by 8 pixels and norm 1, circular boundaries, 1/2 |x - sum_m z_m * d_m|^2 + WEIGHT |z|_1. sporco (ADMM in the Fourier domain) runs with its
automatic penalty parameter and stops after so many iterations; every objective and gap is computed by one function, in float64.
Source of the peer: Wohlberg, SPORCO, SciPy 2017.
"""

from __future__ import annotations

import time
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from common import save, show
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_images
from sporco.admm import cbpdn

from sparsecode.nn import ConvolutionalDictionary
from sparsecode.penalties import L1
from sparsecode.solvers import DecoderEnergy, solve

SIDE, ATOMS, SIZE, WEIGHT, REPEATS, THREADS = 128, 32, 8, 0.02, 3, 2
TOLERANCES = (1e-1, 3e-2, 1e-2, 3e-3)
ITERATIONS = (25, 50, 100, 200)


def main() -> None:
    """Run both, print the table, save the results."""
    torch.set_num_threads(THREADS)
    luma = np.asarray(load_sample_images().images[0]) @ np.array([0.299, 0.587, 0.114]) / 255
    image = luma[100 : 100 + SIDE, 200 : 200 + SIDE]
    image = (image - gaussian_filter(image, 3)).astype(np.float32)
    spec = ConvolutionalDictionary(size=SIZE, boundary="circular")
    decoder = spec.build(ATOMS * SIDE**2, (SIDE, SIDE), torch.Generator().manual_seed(0))
    x = torch.from_numpy(image).reshape(1, -1)
    exact = DecoderEnergy(x.double(), deepcopy(decoder).double(), L1(), WEIGHT)
    kernels = decoder.filters.detach().numpy()[:, 0].transpose(1, 2, 0).astype(np.float32)
    energy = DecoderEnergy(x, decoder, L1(), WEIGHT)

    def ours(tol: float) -> torch.Tensor:
        return solve(energy, None, torch.zeros(1, ATOMS * SIDE**2), max_steps=5000, tol=tol).z

    def theirs(iterations: int) -> torch.Tensor:
        options = cbpdn.ConvBPDN.Options({"Verbose": False, "MaxMainIter": iterations, "RelStopTol": 0.0})
        codes = cbpdn.ConvBPDN(kernels, image, WEIGHT, options, dimK=0).solve()
        return torch.from_numpy(np.asarray(codes, np.float64).squeeze().transpose(2, 0, 1).reshape(1, -1).copy())

    sides: list[tuple[str, Any, Any]] = [
        *(("sparsecode", ours, tol) for tol in TOLERANCES),
        *(("sporco", theirs, n) for n in ITERATIONS),
    ]
    seconds: dict[int, list[float]] = {i: [] for i in range(len(sides))}
    codes: dict[int, torch.Tensor] = {}
    for _ in range(REPEATS):  # in turn
        for i, (_, function, argument) in enumerate(sides):
            start = time.perf_counter()
            codes[i] = function(argument)
            seconds[i].append(time.perf_counter() - start)
    rows = [
        {
            "library": name,
            "setting": f"tol {argument:g}" if name == "sparsecode" else f"{argument} iterations",
            "seconds": float(np.median(seconds[i])),
            "objective": float(exact.per_sample(codes[i].double())),
            "gap": float(exact.gap(codes[i].double())),
            "active": int((codes[i] != 0).sum()),
        }
        for i, (name, _, argument) in enumerate(sides)
    ]
    columns = ("library", "setting", "seconds", "objective", "relative gap", "active codes")
    show(
        f"{SIDE} by {SIDE} pixels, {ATOMS} atoms of {SIZE} by {SIZE}, weight {WEIGHT}",
        columns,
        [
            (
                r["library"],
                r["setting"],
                f"{r['seconds']:.2f}",
                f"{r['objective']:.5f}",
                f"{r['gap']:.1e}",
                str(r["active"]),
            )
            for r in rows
        ],
    )
    save("convolutional", {"rows": rows}, ("sporco",))


if __name__ == "__main__":
    main()
