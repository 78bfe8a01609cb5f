"""Finding codes: energies, one solver loop, its algorithms, and the plain function `sparse_encode`."""

from sparsecode.solvers.energy import Energy, QuadraticEnergy
from sparsecode.solvers.gradient import FISTA, ISTA, Solver
from sparsecode.solvers.lasso import sparse_encode
from sparsecode.solvers.solve import solve

__all__ = ["FISTA", "ISTA", "Energy", "QuadraticEnergy", "Solver", "solve", "sparse_encode"]
