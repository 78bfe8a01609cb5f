"""Finding codes: energies, one solver loop, its algorithms, and the plain function `sparse_encode`."""

from sparsecode.solvers.coordinate import CoordinateDescent
from sparsecode.solvers.energy import Energy, QuadraticEnergy
from sparsecode.solvers.gradient import FISTA, ISTA
from sparsecode.solvers.lasso import sparse_encode
from sparsecode.solvers.solve import Solver, solve

__all__ = ["FISTA", "ISTA", "CoordinateDescent", "Energy", "QuadraticEnergy", "Solver", "solve", "sparse_encode"]
