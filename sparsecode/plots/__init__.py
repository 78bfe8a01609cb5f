"""Arrays in, matplotlib figures out."""

from sparsecode.plots.curves import training_curves
from sparsecode.plots.images import atoms_mosaic, image_grid

__all__ = ["atoms_mosaic", "image_grid", "training_curves"]
