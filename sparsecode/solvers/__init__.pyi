from .coordinate import CoordinateDescent as CoordinateDescent
from .coupled_energy import CoupledEnergy as CoupledEnergy
from .decoder_energy import DecoderEnergy as DecoderEnergy
from .decoder_energy import energy_of as energy_of
from .dictionary import DictionaryFit as DictionaryFit
from .dictionary import learn_dictionary as learn_dictionary
from .encode import sparse_encode as sparse_encode
from .energy import Energy as Energy
from .energy import QuadraticEnergy as QuadraticEnergy
from .evtimova_fista import EvtimovaFISTA as EvtimovaFISTA
from .gradient import FISTA as FISTA
from .gradient import ISTA as ISTA
from .gradient import AdamDescent as AdamDescent
from .gradient import Algorithm as Algorithm
from .held_out import HeldOut as HeldOut
from .held_out import cross_validate_alpha as cross_validate_alpha
from .l0_search import alpha_for_l0 as alpha_for_l0
from .loop import Solver as Solver
from .loop import solve as solve
from .omp import omp_encode as omp_encode
from .path import SparsePath as SparsePath
from .path import alpha_max as alpha_max
from .path import sparse_path as sparse_path

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
    "EvtimovaFISTA",
    "HeldOut",
    "QuadraticEnergy",
    "Solver",
    "SparsePath",
    "alpha_for_l0",
    "alpha_max",
    "cross_validate_alpha",
    "energy_of",
    "learn_dictionary",
    "omp_encode",
    "solve",
    "sparse_encode",
    "sparse_path",
]
