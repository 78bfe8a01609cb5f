"""Terms of training objectives and of batch energies.

`Term` is the union of the terms that `Amortised.terms` may list from JSON and the command line.
"""

from typing import TYPE_CHECKING

from sparsecode.leaves import opened
from sparsecode.losses.dead_codes import AuxK, Resample
from sparsecode.losses.end_to_end import EndToEnd
from sparsecode.losses.kl import KL, kl_divergence
from sparsecode.losses.matryoshka import Matryoshka
from sparsecode.losses.nested_k import NestedK
from sparsecode.losses.penalty_term import Sparsity
from sparsecode.losses.target_l0 import TargetL0, TargetL0Module
from sparsecode.losses.task import Classify, Predict, Reconstruct, Task
from sparsecode.losses.term import Forward, TermLike, TermModule, TrainingTerm
from sparsecode.losses.total_correlation import TotalCorrelation, total_correlation
from sparsecode.losses.variance import BatchVariance, squared_error

__all__ = [
    "KL",
    "AuxK",
    "BatchVariance",
    "Classify",
    "EndToEnd",
    "Forward",
    "Matryoshka",
    "NestedK",
    "Predict",
    "Reconstruct",
    "Resample",
    "Sparsity",
    "TargetL0",
    "TargetL0Module",
    "Task",
    "Term",
    "TermLike",
    "TermModule",
    "TotalCorrelation",
    "TrainingTerm",
    "kl_divergence",
    "squared_error",
    "total_correlation",
]

Known = Sparsity | KL | AuxK | Resample | Matryoshka | NestedK | EndToEnd
if TYPE_CHECKING:
    Term = Known | TermLike
else:
    Term = opened(Known, TermLike)
