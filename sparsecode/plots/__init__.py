"""Arrays in, matplotlib figures out."""

from sparsecode.plots.comparison import images_beside
from sparsecode.plots.curves import training_curves
from sparsecode.plots.density import firing_density, matched_cosines
from sparsecode.plots.equal import equal_l0
from sparsecode.plots.frontier import FrontierPoint, sparsity_frontier
from sparsecode.plots.images import atoms_mosaic, image_grid, is_grey_image
from sparsecode.plots.probe import accuracy_curves
from sparsecode.plots.usage import code_usage

__all__ = [
    "FrontierPoint",
    "accuracy_curves",
    "atoms_mosaic",
    "code_usage",
    "equal_l0",
    "firing_density",
    "image_grid",
    "images_beside",
    "is_grey_image",
    "matched_cosines",
    "sparsity_frontier",
    "training_curves",
]
