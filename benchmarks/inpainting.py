"""A photograph of 256x256 pixels, half of which are missing: PSNR beside sporco's masked convolutional sparse coding.

The missing pixels are drawn at random (seed 0). Nothing else is known to any method:

- sparsecode: 256 atoms of 8x8 learned from the observed pixels (`learn_dictionary(mask=)`), then `denoise_image(mask=)`.
- sporco: as in its example "Single-channel CSC With a Spatial Mask": low frequencies by total variation with the mask, the rest by
  `AddMaskSim(ConvBPDN)` with its dictionary of 36 atoms of 12x12, 100 iterations, at two weights.
- linear: interpolation between the observed pixels (SciPy).

PSNR in dB with peak 255, over the whole image with observed pixels kept, so that methods differ in missing ones alone. Needs
denoise_set12_bsd68.npz in $SPARSECODE_DATA, and sporco in this environment. Prints a table and saves results/inpainting.json.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import save, show
from numpy.typing import NDArray
from scipy.interpolate import griddata
from sporco import util
from sporco.admm import cbpdn, tvl2

from sparsecode import learn_dictionary
from sparsecode.evaluate.reconstruction.image_denoising import denoise_image

Array = NDArray[Any]
SIZE, N_CODE, ALPHA, SIGMA = 8, 256, 10.0, 3.0
WEIGHTS = (0.002, 0.01)
PAD = 12


def patches(values: Array) -> Array:
    """All patches [n, 64]."""
    return np.lib.stride_tricks.sliding_window_view(values, (SIZE, SIZE)).reshape(-1, SIZE * SIZE)


def ours(image: Array, mask: Array) -> Array:
    """A dictionary of the observed pixels, and the image filled with it."""
    x, m = patches(np.where(mask, image, 0))[::3], patches(mask)[::3]
    x = x - x.sum(axis=1, keepdims=True) / np.maximum(m.sum(axis=1, keepdims=True), 1)
    atoms = learn_dictionary(x.astype(np.float32), N_CODE, ALPHA, mask=m, epochs=15, tol=0.05).atoms
    return denoise_image(image.astype(np.float32), atoms, SIGMA, mask=mask)


def linear(image: Array, mask: Array) -> Array:
    """Linear interpolation; the nearest observed pixel outside the convex hull of all."""
    at, everywhere = np.argwhere(mask), tuple(np.indices(image.shape))
    inner, outer = (griddata(at, image[mask].astype(float), everywhere, kind) for kind in ("linear", "nearest"))
    return np.where(np.isnan(inner), outer, inner)


def convolutional(weight: float, image: Array, mask: Array) -> Array:
    """sporco's example for images with a spatial mask."""
    atoms = util.convdicts()["G:12x12x36"]
    seen = np.pad(mask.astype(np.float32), ((0, PAD), (0, PAD)))  # the margin counts as missing
    given = seen * np.pad(image.astype(np.float32) / 255, ((0, PAD), (0, PAD)))
    options = tvl2.TVL2Denoise.Options(
        {"Verbose": False, "MaxMainIter": 200, "DFidWeight": seen, "gEvalY": False, "AutoRho": {"Enabled": True}}
    )
    low = tvl2.TVL2Denoise(given, 0.05, options).solve()
    high = seen * (given - low)
    options = cbpdn.ConvBPDN.Options(
        {"Verbose": False, "MaxMainIter": 100, "HighMemSolve": True, "RelStopTol": 1e-3, "AuxVarObj": False,
         "AutoRho": {"Enabled": True, "StdResiduals": False}}
    )  # fmt: skip
    solver = cbpdn.AddMaskSim(cbpdn.ConvBPDN, atoms, high, seen, weight, opt=options)
    solver.solve()
    return 255 * (low + solver.reconstruct().squeeze())[: image.shape[0], : image.shape[1]]


def psnr(image: Array, mask: Array, filled: Array) -> float:
    """Peak 255, observed pixels kept."""
    return float(10 * np.log10(255**2 / np.mean(np.where(mask, 0, image.astype(float) - filled) ** 2)))


def main() -> None:
    """Fill, tabulate."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--image", type=int, default=1, help="which of Set12's images of 256 by 256 pixels")
    chosen = options.parse_args()
    image = np.load(Path(os.environ["SPARSECODE_DATA"]) / "denoise_set12_bsd68.npz")["set12_256"][chosen.image]
    mask = np.random.RandomState(0).rand(*image.shape) < 0.5
    methods: dict[str, Callable[[], Array]] = {
        "sparsecode": lambda: ours(image, mask),
        "linear": lambda: linear(image, mask),
    }
    methods |= {f"sporco {weight:g}": lambda weight=weight: convolutional(weight, image, mask) for weight in WEIGHTS}
    rows: list[dict[str, Any]] = []
    for name, run in methods.items():
        began = time.process_time()
        filled = run()
        print(name, round(psnr(image, mask, filled), 2), flush=True)
        rows.append(
            {
                "method": name,
                "psnr": round(psnr(image, mask, filled), 2),
                "cpu_seconds": round(time.process_time() - began, 1),
            }
        )
    show(
        "Half of the pixels missing",
        ["method", "PSNR", "processor seconds"],
        [[row["method"], f"{row['psnr']:.2f}", f"{row['cpu_seconds']:.1f}"] for row in rows],
    )
    settings = {"size": SIZE, "n_code": N_CODE, "alpha": ALPHA, "sigma": SIGMA, "image": f"set12_256[{chosen.image}]"}
    print(save("inpainting", {"settings": settings, "rows": rows}, ("sporco",)))


if __name__ == "__main__":
    main()
