from .ablation import ablation_lines as ablation_lines
from .alphas import alpha_path as alpha_path
from .codes import edits_view as edits_view
from .codes import encoding_view as encoding_view
from .codes import sweep_frames as sweep_frames
from .comparison import images_beside as images_beside
from .curves import training_curves as training_curves
from .denoising import denoising_grid as denoising_grid
from .density import firing_density as firing_density
from .density import matched_cosines as matched_cosines
from .equal import equal_l0 as equal_l0
from .fields import fields_mosaic as fields_mosaic
from .fields import keys_and_neighbours as keys_and_neighbours
from .fields import query_mosaic as query_mosaic
from .frontier import FrontierPoint as FrontierPoint
from .frontier import sparsity_frontier as sparsity_frontier
from .images import atoms_mosaic as atoms_mosaic
from .images import image_grid as image_grid
from .noise import active_over_epochs as active_over_epochs
from .noise import pre_activation_densities as pre_activation_densities
from .probe import accuracy_curves as accuracy_curves
from .sweep import SweepPoint as SweepPoint
from .sweep import sweep_lines as sweep_lines
from .tiles import is_grey_image as is_grey_image
from .tiles import is_picture as is_picture
from .traversals import FilmStrip as FilmStrip
from .traversals import code_plane as code_plane
from .traversals import film_strips as film_strips
from .traversals import picture_grid as picture_grid
from .usage import code_usage as code_usage
from .usage import mean_activations as mean_activations

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
    "mean_activations",
    "picture_grid",
    "pre_activation_densities",
    "query_mosaic",
    "sparsity_frontier",
    "sweep_frames",
    "sweep_lines",
    "training_curves",
]
