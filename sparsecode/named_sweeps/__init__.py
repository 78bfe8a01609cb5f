"""Named sweeps: recipes, axes, the quantity to plot, and the source with the differences from it."""

from __future__ import annotations

from sparsecode.named_sweeps.continual import CONTINUAL
from sparsecode.named_sweeps.experiment import Experiment
from sparsecode.named_sweeps.latent_sizes import LATENT_SIZES
from sparsecode.named_sweeps.noise import NOISE
from sparsecode.named_sweeps.noise_large import NOISE_LARGE
from sparsecode.named_sweeps.noise_rows import NOISE_ROWS

__all__ = ["EXPERIMENTS", "Experiment"]

EXPERIMENTS: dict[str, Experiment] = {**NOISE, **LATENT_SIZES, **NOISE_LARGE, **NOISE_ROWS, **CONTINUAL}
