"""Denoising with nothing given: the accuracy of the estimated sigma, and PSNR with a dictionary learned from the noisy image.

The seven images of Set12 of 256 x 256 pixels. "alone" gets the noisy image and nothing else; "learned" knows sigma; "run" has
sigma and the dictionary of BSDS500 photographs of `denoising.py`; "nl_means" is scikit-image's, with sigma. BM3D's values are
those published for these images and sigma by Zhang et al., IEEE Trans. Image Processing 26(7), 2017, table II (other
draws of the noise). Sigma is estimated on Set12, every sixth image of BSD68 and the channels of scikit-learn's two photographs,
beside the median absolute deviation of the finest diagonal wavelet coefficients (Donoho & Johnstone, Biometrika 81, 1994; db2,
as in scikit-image). Noise is Gaussian, seeded per image, not clipped. Needs in $SPARSECODE_DATA what `denoising.py` does.

    python benchmarks/denoising_alone.py

prints two tables and saves results/denoising-alone.json. Seconds are of the processor, on one core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save, show
from denoising import Array, dictionary, nl_means, noisy_version, psnr
from rich.progress import track
from scipy.ndimage import convolve1d
from sklearn.datasets import load_sample_images

from sparsecode.evaluate import denoise_image, estimate_sigma

COMMAND = "python benchmarks/denoising_alone.py"
LEVELS = (5, 15, 25, 50)
DB2 = np.array([-0.12940952, -0.22414387, 0.83651630, -0.48296291])
BM3D = {15: [31.91, 34.93, 32.69, 31.14, 31.85, 31.07, 31.37], 25: [29.45, 32.85, 30.16, 28.56, 29.25, 28.42, 28.93], 50: [26.13, 29.69, 26.68, 25.04, 25.82, 25.10, 25.90]}  # fmt: skip


def wavelet_mad(y: Array) -> float:
    """Median absolute value of the finest diagonal db2 coefficients, over that of a standard normal."""
    details = convolve1d(convolve1d(y, DB2, axis=0, mode="reflect")[::2], DB2, axis=1, mode="reflect")[:, ::2]
    return float(np.median(np.abs(details)) / 0.6744897501960817)


def estimates(sets: dict[str, list[Array]]) -> list[dict[str, Any]]:
    """Errors of the estimated sigma by set and level."""
    rows: list[dict[str, Any]] = []
    for name, images in track(sets.items(), "sigma"):
        for sigma in LEVELS:
            noisy = [noisy_version(image, sigma, i) for i, image in enumerate(images)]
            row: dict[str, Any] = {"set": name, "sigma": sigma, "images": len(images)}
            for method, run in (("sparsecode", estimate_sigma), ("wavelet_mad", wavelet_mad)):
                errors = np.array([run(y) for y in noisy]) - sigma
                parts = {"bias": errors.mean(), "rms": np.sqrt((errors**2).mean()), "worst": np.abs(errors).max()}
                row[method] = {key: round(float(value), 3) for key, value in parts.items()}
            rows.append(row)
    return rows


def denoised(images: list[Array], atoms: Array) -> list[dict[str, Any]]:
    """Mean PSNR and seconds of the processor by sigma and method."""
    rows: list[dict[str, Any]] = []
    for sigma in LEVELS:
        scores: dict[str, list[tuple[float, float]]] = {}
        for i, clean in enumerate(track(images, f"denoising, {sigma}")):
            y = noisy_version(clean, sigma, i)
            methods: dict[str, Callable[[Array], Array]] = {
                "nl_means": partial(nl_means, sigma=sigma),
                "run": partial(denoise_image, D=atoms, sigma=sigma),
                "learned": partial(denoise_image, sigma=sigma),
                "alone": denoise_image,
            }
            for method, run in methods.items():
                began = time.process_time()
                result = run(y)
                scores.setdefault(method, []).append((psnr(clean, result), time.process_time() - began))
        means = {method: np.mean(values, axis=0).round(3).tolist() for method, values in scores.items()}
        row: dict[str, Any] = {
            "sigma": sigma,
            "psnr": {m: v[0] for m, v in means.items()},
            "seconds": {m: v[1] for m, v in means.items()},
        }
        if sigma in BM3D:
            row["psnr"]["bm3d_published"] = round(float(np.mean(BM3D[sigma])), 3)
        rows.append(row)
    return rows


def main() -> None:
    """Estimate, denoise, tabulate."""
    torch.set_num_threads(1)
    root = Path(os.environ["SPARSECODE_DATA"])
    arrays = np.load(root / "denoise_set12_bsd68.npz")
    small = [image.astype(np.float32) for image in arrays["set12_256"]]
    photos = [photo[:, :, c].astype(np.float32) for photo in load_sample_images().images for c in range(3)]
    sets = {
        "Set12": [*small, *arrays["set12_512"].astype(np.float32)],
        "BSD68": list(arrays["bsd68"][::6].astype(np.float32)),
        "photographs": photos,
    }
    atoms = dictionary(root)
    denoise_image(small[0][:64, :64], sigma=25)  # compiled before times are taken
    rows = denoised(small, atoms)
    errors = estimates(sets)
    methods = list(rows[1]["psnr"])
    show(
        "Set12, 256 x 256: PSNR in dB (seconds of the processor)",
        ["sigma", *methods],
        [
            [
                str(r["sigma"]),
                *(f"{r['psnr'].get(m, float('nan')):.2f} ({r['seconds'].get(m, 0):.2f})" for m in methods),
            ]
            for r in rows
        ],
    )
    show(
        "estimated sigma: bias, root mean square error, largest error",
        ["set, sigma", "sparsecode", "wavelet_mad"],
        [
            [f"{r['set']}, {r['sigma']}", *("  ".join(map(str, r[m].values())) for m in ("sparsecode", "wavelet_mad"))]
            for r in errors
        ],
    )
    print(save("denoising-alone", {"command": COMMAND, "denoised": rows, "sigma": errors}, ("scikit-image",)))


if __name__ == "__main__":
    main()
