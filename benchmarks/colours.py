"""Denoising of colour pictures: in the basis of grey and two differences, channel by channel, and as YCbCr.

160 x 160 pixels of scikit-learn's two photographs with noise of sigma 25 (seed 0), which is given; nothing else is. PSNR in dB, peak 255.

    python benchmarks/colours.py

Prints a table and saves results/colours.json (half a minute of one core).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import save, show
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from sparsecode.evaluate import denoise_image

Array = NDArray[np.float32]
SIGMA, SIZE = 25.0, 160
PICTURES = {"china": (100, 200), "flower": (200, 280)}  # upper left corner
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def by_channel(noisy: Array) -> Array:
    """Red, green and blue, each by itself."""
    return np.stack([denoise_image(noisy[..., c], sigma=SIGMA) for c in range(3)], axis=2)


def by_ycbcr(noisy: Array) -> Array:
    """Luma and two chromas, each with the standard deviation that white noise has there."""
    channels = noisy @ YCBCR.T
    sigmas = SIGMA * np.linalg.norm(YCBCR, axis=1)
    parts = [denoise_image(channels[..., c].astype(np.float32), sigma=float(sigmas[c])) for c in range(3)]
    return (np.stack(parts, axis=2) @ np.linalg.inv(YCBCR).T).astype(np.float32)


def psnr(clean: Array, restored: Array) -> float:
    """In dB, of values clipped to 0 to 255."""
    return float(20 * np.log10(255 / np.sqrt(np.mean((np.clip(restored, 0, 255) - clean) ** 2))))


def main() -> None:
    """Denoise, print, save."""
    rows: list[dict[str, Any]] = []
    for name, (top, left) in PICTURES.items():
        clean = load_sample_image(f"{name}.jpg")[top : top + SIZE, left : left + SIZE].astype(np.float32)
        noise = np.random.default_rng(0).standard_normal(clean.shape)
        noisy = (clean + SIGMA * noise).astype(np.float32)
        restored = {
            "noisy": noisy,
            "grey and two differences": denoise_image(noisy, sigma=SIGMA),
            "channel by channel": by_channel(noisy),
            "YCbCr": by_ycbcr(noisy),
        }
        rows.append({"picture": name, "psnr": {way: psnr(clean, image) for way, image in restored.items()}})
    ways = list(rows[0]["psnr"])
    show("PSNR, dB", ("", *ways), [(r["picture"], *(f"{r['psnr'][way]:.2f}" for way in ways)) for r in rows])
    save("colours", {"sigma": SIGMA, "rows": rows}, ("scikit-learn",))


if __name__ == "__main__":
    main()
