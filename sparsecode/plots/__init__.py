"""Arrays in, matplotlib figures out."""

from sparsecode.plots.ablation import ablation_lines
from sparsecode.plots.alpha_path import alpha_path
from sparsecode.plots.codes import edits_view, encoding_view, sweep_frames
from sparsecode.plots.comparison import images_beside
from sparsecode.plots.curves import training_curves
from sparsecode.plots.denoising import denoising_grid
from sparsecode.plots.density import firing_density, matched_cosines
from sparsecode.plots.equal import equal_l0
from sparsecode.plots.fields import fields_mosaic, keys_and_neighbours, query_mosaic
from sparsecode.plots.frontier import FrontierPoint, sparsity_frontier
from sparsecode.plots.images import atoms_mosaic, image_grid, is_grey_image
from sparsecode.plots.noise import active_over_epochs, pre_activation_densities
from sparsecode.plots.probe import accuracy_curves
from sparsecode.plots.sweep import SweepPoint, sweep_lines
from sparsecode.plots.tiles import is_picture
from sparsecode.plots.traversals import FilmStrip, code_plane, film_strips, picture_grid
from sparsecode.plots.usage import code_usage

__all__ = [
    "FilmStrip",
    "FrontierPoint",
    "SweepPoint",
    "ablation_lines",
    "accuracy_curves",
    "active_over_epochs",
    "alpha_path",
    "atoms_mosaic",
    "code_plane",
    "code_usage",
    "denoising_grid",
    "edits_view",
    "encoding_view",
    "equal_l0",
    "fields_mosaic",
    "film_strips",
    "firing_density",
    "image_grid",
    "images_beside",
    "is_grey_image",
    "is_picture",
    "keys_and_neighbours",
    "matched_cosines",
    "picture_grid",
    "pre_activation_densities",
    "query_mosaic",
    "sparsity_frontier",
    "sweep_frames",
    "sweep_lines",
    "training_curves",
]
