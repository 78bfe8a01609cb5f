from .base import How as How
from .base import Measure as Measure
from .base import Result as Result
from .base import Table as Table
from .evaluation import Evaluation as Evaluation
from .evaluation import evaluate_model as evaluate_model
from .measures import DURING_TRAINING as DURING_TRAINING
from .measures import STANDARD as STANDARD
from .measures import AnyMeasure as AnyMeasure
from .reconstruction.denoise import Denoising as Denoising
from .reconstruction.restore import Restoration as Restoration
from .reconstruction.score import Score as Score
from .reconstruction.score import Scores as Scores
from .reconstruction.sites import LinearMap as LinearMap
from .reconstruction.sites import Sites as Sites
from .units.activity import UnitActivity as UnitActivity
from .units.codes import Codes as Codes
from .variational.bounds import Elbo as Elbo
from .variational.gates import Gates as Gates

__all__ = [
    "DURING_TRAINING",
    "STANDARD",
    "AnyMeasure",
    "Codes",
    "Denoising",
    "Elbo",
    "Evaluation",
    "Gates",
    "How",
    "LinearMap",
    "Measure",
    "Restoration",
    "Result",
    "Score",
    "Scores",
    "Sites",
    "Table",
    "UnitActivity",
    "evaluate_model",
]
