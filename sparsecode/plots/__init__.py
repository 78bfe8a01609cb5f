"""Arrays in, matplotlib figures out."""

from sparsecode.plots.curves import training_curves
from sparsecode.plots.images import atoms_mosaic, image_grid, is_grey_image

__all__ = ["atoms_mosaic", "image_grid", "is_grey_image", "training_curves"]
