from .coordinate import CoordinateDescent as CoordinateDescent
from .coupled import CoupledEnergy as CoupledEnergy
from .decoded import DecoderEnergy as DecoderEnergy
from .decoded import energy_of as energy_of
from .dictionary import DictionaryFit as DictionaryFit
from .dictionary import learn_dictionary as learn_dictionary
from .energy import Energy as Energy
from .energy import QuadraticEnergy as QuadraticEnergy
from .gradient import FISTA as FISTA
from .gradient import ISTA as ISTA
from .gradient import AdamDescent as AdamDescent
from .gradient import Algorithm as Algorithm
from .lasso import sparse_encode as sparse_encode
from .loop import Solver as Solver
from .loop import solve as solve
from .original import OriginalFISTA as OriginalFISTA
from .pursuit import omp_encode as omp_encode

__all__ = [
    "FISTA",
    "ISTA",
    "AdamDescent",
    "Algorithm",
    "CoordinateDescent",
    "CoupledEnergy",
    "DecoderEnergy",
    "DictionaryFit",
    "Energy",
    "OriginalFISTA",
    "QuadraticEnergy",
    "Solver",
    "energy_of",
    "learn_dictionary",
    "omp_encode",
    "solve",
    "sparse_encode",
]
