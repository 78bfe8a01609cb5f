"""Finding codes: energies, one solver loop, its algorithms, and the plain functions `sparse_encode` and `omp_encode`."""

from sparsecode.solvers.coordinate import CoordinateDescent
from sparsecode.solvers.coupled import CoupledEnergy
from sparsecode.solvers.decoded import DecoderEnergy, energy_of
from sparsecode.solvers.energy import Energy, QuadraticEnergy
from sparsecode.solvers.gradient import FISTA, ISTA
from sparsecode.solvers.lasso import sparse_encode
from sparsecode.solvers.original import OriginalFISTA
from sparsecode.solvers.pursuit import omp_encode
from sparsecode.solvers.solve import Solver, solve

__all__ = [
    "FISTA",
    "ISTA",
    "CoordinateDescent",
    "CoupledEnergy",
    "DecoderEnergy",
    "Energy",
    "OriginalFISTA",
    "QuadraticEnergy",
    "Solver",
    "energy_of",
    "omp_encode",
    "solve",
    "sparse_encode",
]
