"""Denoising of Set12 and BSD68 with a learned dictionary, beside scikit-image's wavelets and non-local means.

A dictionary of 256 atoms is learned on 8x8 patches of the BSDS500 training photographs, which share no image with BSD68;
photograph 12003, of which Set12's starfish is a part, is left out. Noise is Gaussian, seeded per image, not clipped; its
deviation is known to all methods. PSNR in dB with peak 255, mean over images. Needs in $SPARSECODE_DATA:
bsds500_train200_jpg.zip and denoise_set12_bsd68.npz (uint8 arrays set12_256, set12_512, bsd68 [n, h, w]).

Prints a table, saves results/denoising.json, and with --picture FILE draws an example (the images' licences do not let
us keep one here).
"""

from __future__ import annotations

import argparse
import io
import os
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save, show
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from skimage.restoration import denoise_nl_means, denoise_wavelet

from sparsecode import learn_dictionary
from sparsecode.evaluate.reconstruction.image_denoising import denoise_image
from sparsecode.plots import images_beside

Array = NDArray[Any]
SIGMAS = (15, 25, 50)
SIZE, N_CODE, ALPHA, EPOCHS, PER_IMAGE = 8, 256, 30.0, 5, 500
LEFT_OUT = "12003.jpg"


def dictionary(root: Path) -> Array:
    """Atoms [256, 64] learned on 99 500 patches less their means, grey levels 0 to 255."""
    rng = np.random.RandomState(0)
    parts: list[Array] = []
    with zipfile.ZipFile(root / "bsds500_train200_jpg.zip") as archive:
        names = [n for n in sorted(archive.namelist()) if n.endswith(".jpg") and not n.endswith(f"/{LEFT_OUT}")]
        for name in names:
            image = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("L"), np.float32)
            windows = np.lib.stride_tricks.sliding_window_view(image, (SIZE, SIZE))
            rows, columns = (rng.randint(n, size=PER_IMAGE) for n in windows.shape[:2])
            parts.append(windows[rows, columns].reshape(-1, SIZE * SIZE))
    x = np.concatenate(parts)
    return learn_dictionary(x - x.mean(axis=1, keepdims=True), N_CODE, ALPHA, epochs=EPOCHS, progress=True).atoms


def wavelet(y: Array, sigma: float) -> Array:
    """Soft thresholds per subband (BayesShrink), scikit-image's defaults."""
    return denoise_wavelet(y, sigma=sigma, method="BayesShrink", mode="soft", rescale_sigma=True)


def nl_means(y: Array, sigma: float) -> Array:
    """Patches of 7, windows of 23, h = 0.8 sigma with the fast algorithm: what its documentation advises."""
    return denoise_nl_means(y, patch_size=7, patch_distance=11, h=0.8 * sigma, sigma=sigma, fast_mode=True)


def noisy_version(clean: Array, sigma: float, seed: int) -> Array:
    """clean + sigma * N(0, 1)."""
    return clean + sigma * np.random.RandomState(seed).standard_normal(clean.shape).astype(np.float32)


def psnr(clean: Array, other: Array) -> float:
    """Peak 255, nothing clipped."""
    return float(10 * np.log10(255**2 / np.mean((clean.astype(np.float64) - other) ** 2)))


def one(
    atoms: Array, stride: int, task: tuple[str, int, Array, float]
) -> tuple[str, float, dict[str, tuple[float, float]]]:
    """PSNR and seconds of each method on one image at one noise level."""
    torch.set_num_threads(1)
    name, seed, clean, sigma = task
    noisy = noisy_version(clean, sigma, seed)
    methods: dict[str, Callable[[], Array]] = {
        "noisy": lambda: noisy,
        "wavelet": lambda: wavelet(noisy, sigma),
        "nl_means": lambda: nl_means(noisy, sigma),
        "sparsecode": lambda: denoise_image(noisy, atoms, sigma, stride=stride),
    }
    actual: dict[str, tuple[float, float]] = {}
    for method, run in methods.items():
        began = time.perf_counter()
        result = run()
        actual[method] = psnr(clean, result), time.perf_counter() - began
    return name, sigma, actual


def main() -> None:
    """Learn, denoise, tabulate."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--stride", type=int, default=1, help="pixels between patches")
    options.add_argument("--most", type=int, default=1000, help="images of each set, for a quick look")
    options.add_argument("--picture", type=Path, help="draw an example to this file")
    options.add_argument(
        "--dictionary", type=Path, help="atoms to use, learned and written there first if it is missing"
    )
    chosen = options.parse_args()
    root = Path(os.environ["SPARSECODE_DATA"])
    if chosen.dictionary and chosen.dictionary.exists():
        atoms: Array = np.load(chosen.dictionary)
    else:
        atoms = dictionary(root)
        if chosen.dictionary:
            np.save(chosen.dictionary, atoms)
    arrays = np.load(root / "denoise_set12_bsd68.npz")
    sets = {
        "Set12": [*arrays["set12_256"][: chosen.most], *arrays["set12_512"][: chosen.most]],
        "BSD68": list(arrays["bsd68"][: chosen.most]),
    }
    tasks = [
        (name, i, image.astype(np.float32), float(sigma))
        for name, images in sets.items()
        for i, image in enumerate(images)
        for sigma in SIGMAS
    ]
    tasks.sort(key=lambda task: -task[2].size)
    cores = len(os.sched_getaffinity(0))
    began = time.perf_counter()
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        done = list(track(pool.map(partial(one, atoms, chosen.stride), tasks), "denoising", total=len(tasks)))
    seconds = time.perf_counter() - began
    methods = list(done[0][2])
    rows: list[dict[str, Any]] = []
    for name in sets:
        for sigma in SIGMAS:
            actual = [scores for task, level, scores in done if (task, level) == (name, sigma)]
            means = {m: round(float(np.mean([s[m][0] for s in actual])), 3) for m in methods}
            costs = {m: round(float(np.mean([s[m][1] for s in actual])), 3) for m in methods}
            rows.append({"set": name, "sigma": sigma, "images": len(actual), "psnr": means, "seconds_per_image": costs})
    show(
        f"PSNR in dB (seconds per image and core); {seconds:.0f} s in all on {cores} cores, stride {chosen.stride}",
        ["set, sigma", *methods],
        [
            [f"{r['set']}, {r['sigma']}", *(f"{r['psnr'][m]:.2f} ({r['seconds_per_image'][m]:.2f})" for m in methods)]
            for r in rows
        ],
        "sparsecode: 256 atoms of 8x8 from BSDS500, error-constrained OMP, gain 1.15; wavelet: BayesShrink; noise known to all",
    )
    if chosen.picture:
        clean = arrays["set12_256"][0].astype(np.float32)
        noisy = noisy_version(clean, 25, 0)
        versions = [clean, noisy, denoise_image(noisy, atoms, 25), wavelet(noisy, 25), nl_means(noisy, 25)]
        names = ["clean", "noisy", "sparsecode", "wavelet", "nl_means"]
        labels = [
            f"{n} {psnr(clean, v):.2f} dB" if i else n for i, (n, v) in enumerate(zip(names, versions, strict=True))
        ]
        images_beside({"": versions}, labels, "Set12, sigma 25").savefig(chosen.picture, dpi=100)
    if chosen.most >= max(map(len, sets.values())):
        settings = {"stride": chosen.stride, "n_code": N_CODE, "size": SIZE, "alpha": ALPHA, "epochs": EPOCHS}
        print(save("denoising", {"settings": settings, "seconds": round(seconds, 1), "rows": rows}, ("scikit-image",)))


if __name__ == "__main__":
    main()
