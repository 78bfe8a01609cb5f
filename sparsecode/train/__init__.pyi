from .observers import MetricsFile as MetricsFile
from .observers import Observer as Observer
from .observers import ProgressBar as ProgressBar
from .observers import Snapshot as Snapshot
from .optim import SGD as SGD
from .optim import Adagrad as Adagrad
from .optim import Adam as Adam
from .optim import Clip as Clip
from .optim import Group as Group
from .optim import Optim as Optim
from .optim import OptimiserLike as OptimiserLike
from .optim import RMSprop as RMSprop
from .optim import SparseAdam as SparseAdam
from .plan import NonFiniteLossError as NonFiniteLossError
from .plan import StopTraining as StopTraining
from .plan import Train as Train
from .session import TrainingSession as TrainingSession
from .trackers import TensorBoard as TensorBoard

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "Clip",
    "Group",
    "MetricsFile",
    "NonFiniteLossError",
    "Observer",
    "Optim",
    "OptimiserLike",
    "ProgressBar",
    "RMSprop",
    "Snapshot",
    "SparseAdam",
    "StopTraining",
    "TensorBoard",
    "Train",
    "TrainingSession",
]
