from .activity import UnitActivity as UnitActivity
from .base import How as How
from .base import Measure as Measure
from .base import Result as Result
from .base import Table as Table
from .bounds import Elbo as Elbo
from .codes import Codes as Codes
from .denoise import Denoising as Denoising
from .evaluation import Evaluation as Evaluation
from .evaluation import evaluate_model as evaluate_model
from .gates import Gates as Gates
from .measures import DURING_TRAINING as DURING_TRAINING
from .measures import STANDARD as STANDARD
from .measures import AnyMeasure as AnyMeasure
from .restore import Restoration as Restoration
from .score import Score as Score
from .score import Scores as Scores

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
    "Measure",
    "Restoration",
    "Result",
    "Score",
    "Scores",
    "Table",
    "UnitActivity",
    "evaluate_model",
]
