from .amortised import Amortised as Amortised
from .amortised import AmortisedModel as AmortisedModel
from .base import AbstractSparseModel as AbstractSparseModel
from .inference import Inference as Inference
from .iterative import Iterative as Iterative
from .iterative import IterativeModel as IterativeModel
from .other_k import with_k as with_k
from .storage import ModelSpec as ModelSpec
from .storage import build_model as build_model
from .storage import load_model as load_model
from .storage import save_model as save_model
from .variational import Variational as Variational
from .variational import VariationalModel as VariationalModel

__all__ = [
    "AbstractSparseModel",
    "Amortised",
    "AmortisedModel",
    "Inference",
    "Iterative",
    "IterativeModel",
    "ModelSpec",
    "Variational",
    "VariationalModel",
    "build_model",
    "load_model",
    "save_model",
    "with_k",
]
