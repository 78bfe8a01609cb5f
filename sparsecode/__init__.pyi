from . import data as data
from . import estimators as estimators
from . import evaluate as evaluate
from . import interop as interop
from . import losses as losses
from . import metrics as metrics
from . import models as models
from . import nn as nn
from . import penalties as penalties
from . import plots as plots
from . import recipes as recipes
from . import schedules as schedules
from . import solvers as solvers
from . import sweeps as sweeps
from . import train as train
from .estimators import NoiseSparseNetwork as NoiseSparseNetwork
from .estimators import SparseAutoencoder as SparseAutoencoder
from .estimators import SparseCoder as SparseCoder
from .estimators import SparseDictionary as SparseDictionary
from .estimators import VariationalSparseCoder as VariationalSparseCoder
from .fitting import Fitted as Fitted
from .fitting import fit as fit
from .init_from import InitFrom as InitFrom
from .interventions import Ablate as Ablate
from .interventions import Add as Add
from .interventions import Clamp as Clamp
from .interventions import attributions as attributions
from .interventions import spliced as spliced
from .models.storage import load_model as load_model
from .publishing import Pushed as Pushed
from .publishing import push as push
from .recipes import RECIPES as RECIPES
from .runner import run as run
from .runs import Evaluate as Evaluate
from .runs import Run as Run
from .runs import RunFolder as RunFolder
from .solvers.dictionary import learn_dictionary as learn_dictionary
from .solvers.encode import sparse_encode as sparse_encode
from .solvers.held_out import cross_validate_alpha as cross_validate_alpha
from .solvers.l0_search import alpha_for_l0 as alpha_for_l0
from .solvers.omp import omp_encode as omp_encode
from .solvers.path import alpha_max as alpha_max
from .solvers.path import sparse_path as sparse_path
from .specs import Spec as Spec
from .version import __version__ as __version__

__all__ = [
    "RECIPES",
    "Ablate",
    "Add",
    "Clamp",
    "Evaluate",
    "Fitted",
    "InitFrom",
    "NoiseSparseNetwork",
    "Pushed",
    "Run",
    "RunFolder",
    "SparseAutoencoder",
    "SparseCoder",
    "SparseDictionary",
    "Spec",
    "VariationalSparseCoder",
    "__version__",
    "alpha_for_l0",
    "alpha_max",
    "attributions",
    "cross_validate_alpha",
    "data",
    "estimators",
    "evaluate",
    "fit",
    "interop",
    "learn_dictionary",
    "load_model",
    "losses",
    "metrics",
    "models",
    "nn",
    "omp_encode",
    "penalties",
    "plots",
    "push",
    "recipes",
    "run",
    "schedules",
    "solvers",
    "sparse_encode",
    "sparse_path",
    "spliced",
    "sweeps",
    "train",
]
