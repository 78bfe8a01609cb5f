"""One figure by each function of sparsecode.plots that draws, from few numbers and with names as long as those of real runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsecode import plots
from sparsecode.plots.curves import Course, curves_beside
from sparsecode.plots.forgetting import forgetting_matrices
from sparsecode.plots.probe import AccuracyPoint, accuracy_over
from sparsecode.plots.roc import roc_curves
from sparsecode.plots.sweep import sweep_panels
from sparsecode.plots.thresholding import KeptLine, threshold_curves
from sparsecode.plots.usage import mean_activations

__all__ = ["FIGURES", "frontier", "swept"]

RANDOM = np.random.default_rng(0)
SHAPE, SPAN = (8, 8), (0.0, 1.0)
IMAGES: NDArray[Any] = RANDOM.uniform(size=(12, 64))
KEYS: NDArray[Any] = RANDOM.normal(size=(30, 64))
CODES: NDArray[Any] = np.where(RANDOM.uniform(size=(3, 40)) < 0.3, RANDOM.normal(size=(3, 40)), 0.0)
RUN = "digits-topk k=8 seed=0"
RECORDS = [
    {"kind": "train", "step": 10 * i, "loss": 1e6 * math.exp(-i) + 5, "offset": 1 - 900 * math.exp(-i), "dead": 0.0}
    for i in range(1, 200)
] + [
    {"kind": "evaluate", "step": 400 * i, "encode/l0": 300.0 if i == 1 else 10.0, "encode/dead": 0.0}
    for i in range(1, 6)
]
LINE = KeptLine([0, 0.1, 0.5], [64.0, 20, 2], [0.01, 0.02, 0.1], [0.01, 0.018, 0.09])
OTHER = KeptLine([0, 0.1, 0.5], [64.0, 30, 5], [0.02, 0.03, 0.2], [0.02, 0.028, 0.19])
DENSITY = np.linspace(-1, 1, 21), np.exp(-(np.linspace(-1, 1, 20) ** 2))


def frontier(*counts: float, references: bool = False) -> Figure:
    points = [plots.FrontierPoint(f"{i}", [count], [20 + i], [0.5 + 0.01 * i]) for i, count in enumerate(counts)]
    beside = {"matching pursuit in the run's dictionary": points} if references else None
    return plots.sparsity_frontier({"line": points, "other": points[:1]}, "weight", "frontier", beside)


def swept(*places: float | str) -> Figure:
    return plots.sweep_lines({"line": [plots.SweepPoint(place, [1.0, 2.0]) for place in places]}, "x", "y", "title")


def _panels() -> Mapping[str, Mapping[str, list[plots.SweepPoint]]]:
    lines = {
        f"{RUN}, {coder}": [plots.SweepPoint(k, [less + k / 9, 1 + less + k / 9]) for k in (8, 64)]
        for less, coder in enumerate(("encode", "amortised"))
    }
    return dict.fromkeys(("patches", "digits"), lines)


FIGURES: dict[str, Callable[[], Figure]] = {
    "ablation_lines": lambda: plots.ablation_lines(
        [0, 0.1, 0.3], {"noise on": [[0.9], [0.2, 0.3], [0.01]], "off": [[0.8], [0.1], []]}, "noise", "active units"
    ),
    "accuracy_curves": lambda: plots.accuracy_curves(
        {f"{RUN}, features {i}": ([1, 2, 5, 10, 20, 50, 100, 101], [0.3 + 0.05 * i + 0.03 * j for j in range(8)], [0.02] * 8) for i in range(9)},
        "mean and standard deviation over 20 subsets of labels; bands: one standard deviation each way",
    ),
    "accuracy_over": lambda: accuracy_over(
        {f"{n} labels per class": {f"{RUN}, {i}": [AccuracyPoint(k, 0.3 * i + 0.01 * k, 0.1) for k in (8, 16)] for i in (1, 2)} for n in (5, 20)},
        "model.n_code",
    ),
    "active_over_epochs": lambda: plots.active_over_epochs(
        {RUN: ([0.5, 1, 2], [0.9, 0.05, 0.001])}, "units active", ends={RUN: 0.0005}
    ),
    "alpha_path": lambda: plots.alpha_path(
        np.array([10.0, 1, 0.1]), np.array([0.0, 8, 40]), np.array([1, 0.4, 0.01]), "x.npy in d.npy", 0.7
    ),
    "atoms_mosaic": lambda: plots.atoms_mosaic(KEYS, SHAPE, most=25, title=f"{RUN}: learned atoms, most used first"),
    "code_plane": lambda: plots.code_plane(IMAGES, np.linspace(-1, 1, 4), np.linspace(-1, 1, 3), SHAPE, SPAN, RUN),
    "code_usage": lambda: plots.code_usage(
        {c: (np.array([0.0, 0.5, 1.0] * 9), RANDOM.integers(0, 9, 99)) for c in ("encode (solved)", "amortised (encoder)")},
        f"{RUN}: use of the codes by 2000 test samples, active: |z| > 0.001",
    ),
    "curves_beside": lambda: curves_beside(
        {f"encode/{q}": {f"{RUN} {i}": Course([0.5, 1, 1.5, 2], [20.0, 21 + i, 21.5 + i, 21.7 + i]) for i in range(3)} for q in ("psnr", "l0", "dead", "mse")}, "validation split"
    ),
    "denoising_grid": lambda: plots.denoising_grid(
        IMAGES, {f"standard deviation {s}": (IMAGES, IMAGES) for s in (0.075, 0.15)}, SHAPE, SPAN, f"{RUN}: noisy, restored"
    ),
    "edits_view": lambda: plots.edits_view(
        CODES, IMAGES[:3], int(np.flatnonzero(CODES[0])[0]), ["code 3 as it is", "code 3 times 0.01", "code 3 times -0.5"],
        SHAPE, SPAN, f"{RUN}: test sample 0, code 3 edited",
    ),
    "encoding_view": lambda: plots.encoding_view(IMAGES[:3], CODES, IMAGES[:3], SHAPE, SPAN, f"{RUN}: test samples"),
    "equal_l0": lambda: plots.equal_l0(
        {f"{c}, L0 8.0: its dictionary (model space)": {"the run": 0.1, "orthogonal matching pursuit": 1.7} for c in ("encode", "amortised")},
        f"{RUN}: errors at equal L0",
    ),
    "fields_mosaic": lambda: plots.fields_mosaic(KEYS, SHAPE, most=25, title=f"{RUN}: keys of the most active units"),
    "film_strips": lambda: plots.film_strips(
        [plots.FilmStrip(f"sample {i}, code 3", IMAGES[:9], IMAGES[:1], 3) for i in range(3)], SHAPE, SPAN,
        [f"{v:.3g}" for v in np.linspace(-3, 3, 9)], "sample", f"{RUN}: one code at a time; the nearest frame is marked",
    ),
    "firing_density": lambda: plots.firing_density(
        {c: RANDOM.uniform(0, 0.2, 99) for c in ("encode", "amortised")}, 100, RANDOM.uniform(size=99), title=f"{RUN}, test split"
    ),
    "forgetting_matrices": lambda: forgetting_matrices(
        {f"{RUN} {i}": [[0.9, 0.1, 0.0], [0.5, 0.9, 0.1], [0.2, 0.4, 0.9]] for i in range(3)}, ["0, 1", "2, 3", "4, 5"], "forgetting"
    ),
    "image_grid": lambda: plots.image_grid(
        {"test sample": IMAGES, "encode (solved)": IMAGES, "amortised (encoder)": IMAGES}, SHAPE, 0, 1, f"{RUN}: reconstructions"
    ),
    "images_beside": lambda: plots.images_beside(
        {name: [RANDOM.uniform(size=(20, 30))] * 3 for name in ("photo.png", "colour.png")}, ["noisy", "restored", "clean"],
        "noisy, restored and clean",
    ),
    "keys_and_neighbours": lambda: plots.keys_and_neighbours(
        KEYS[:12], IMAGES, RANDOM.uniform(size=12), SHAPE, SPAN, f"{RUN}: keys and the training images nearest to them"
    ),
    "matched_cosines": lambda: plots.matched_cosines({f"{RUN}, a": [0.1, 0.9], "b": [-0.2, 1.0]}, "matched atoms"),
    "mean_activations": lambda: mean_activations(
        np.linspace(0, 1, 11).tolist(), [0, 3, 9, 4, 1, 0, 0, 0, 0, 0], 0.1, f"{RUN}: mean activations, KL 0.3 nats over 64 units"
    ),
    "picture_grid": lambda: plots.picture_grid(
        IMAGES, SHAPE, SPAN, f"{RUN}: 12 draws from the prior, 3.2 of 40 codes on"
    ),
    "pre_activation_densities": lambda: plots.pre_activation_densities({"noise off": DENSITY, "noise on": (DENSITY[0], DENSITY[1][::-1] ** 3)}, RUN),
    "query_mosaic": lambda: plots.query_mosaic(
        [("clean", IMAGES[0]), ("noisy", IMAGES[1])], KEYS, RANDOM.uniform(1, 2, 30), SHAPE, SPAN, title=f"{RUN}: units active"
    ),
    "roc_curves": lambda: roc_curves(
        {f"{RUN}, {s}": (np.linspace(0, 1, 9), np.linspace(0, 1, 9) ** p) for p, s in ((0.3, "error"), (0.5, "objective"))}, "class 0"
    ),
    "sparsity_frontier": lambda: frontier(2, 9, 31, 64, references=True),
    "sweep_lines": lambda: swept(0, 0.05, 0.1, 0.3, 0.8, 1.5, 3, 10),
    "sweep_panels": lambda: sweep_panels(
        _panels(), "model.activation.k", "PSNR, dB", "digits by k"
    ),
    "threshold_curves": lambda: threshold_curves({RUN: LINE, "other": OTHER}, {RUN: OTHER, "other": LINE}, "thresholds"),
    "training_curves": lambda: plots.training_curves(RECORDS, RUN),
}  # fmt: skip
