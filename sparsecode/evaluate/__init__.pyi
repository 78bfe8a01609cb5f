from .base import WHOLE as WHOLE
from .base import Measure as Measure
from .base import MeasureSettings as MeasureSettings
from .base import OtherResult as OtherResult
from .base import Result as Result
from .base import Table as Table
from .dictionary.dictionary_recovery import matching as matching
from .dictionary.geometry import Dictionary as Dictionary
from .dictionary.geometry import cosines as cosines
from .dictionary.geometry import dictionary_of as dictionary_of
from .dictionary.logit_effects import LogitEffects as LogitEffects
from .dictionary.logit_effects import logit_effects as logit_effects
from .dictionary.similarity import DictionarySimilarity as DictionarySimilarity
from .dictionary.similarity import activation_correlations as activation_correlations
from .dictionary.similarity import atom_similarity as atom_similarity
from .dictionary.similarity import code_similarity as code_similarity
from .evaluation import Evaluation as Evaluation
from .evaluation import evaluate_model as evaluate_model
from .measures import DURING_TRAINING as DURING_TRAINING
from .measures import STANDARD as STANDARD
from .measures import AnyMeasure as AnyMeasure
from .networks.under_attack import UnderAttack as UnderAttack
from .probes.absorption import Absorption as Absorption
from .probes.absorption import AbsorptionSettings as AbsorptionSettings
from .probes.absorption import feature_absorption as feature_absorption
from .probes.sparse_probe import KSparse as KSparse
from .probes.sparse_probe import KSparseSettings as KSparseSettings
from .probes.sparse_probe import k_sparse_probe as k_sparse_probe
from .reconstruction.amortisation import amortisation_gap as amortisation_gap
from .reconstruction.amortisation import model_gaps as model_gaps
from .reconstruction.denoising import Denoising as Denoising
from .reconstruction.host_loss import HostBatch as HostBatch
from .reconstruction.host_loss import HostLoss as HostLoss
from .reconstruction.host_loss import RecoveredLoss as RecoveredLoss
from .reconstruction.host_loss import recovered_losses as recovered_losses
from .reconstruction.host_measure import LossRecovered as LossRecovered
from .reconstruction.image_denoising import denoise_image as denoise_image
from .reconstruction.loss_recovered import loss_recovered as loss_recovered
from .reconstruction.noise_level import estimate_sigma as estimate_sigma
from .reconstruction.references import reference_scores as reference_scores
from .reconstruction.references import references as references
from .reconstruction.restoration import Restoration as Restoration
from .reconstruction.score import Score as Score
from .reconstruction.score import Scores as Scores
from .reconstruction.sites import LinearMap as LinearMap
from .reconstruction.sites import Sites as Sites
from .units.activity import UnitActivity as UnitActivity
from .units.activity import activity as activity
from .units.code_scale import CodeScale as CodeScale
from .units.codes import Codes as Codes
from .units.feature_collection import CodedRows as CodedRows
from .units.feature_collection import coded_rows as coded_rows
from .units.feature_collection import collect_features as collect_features
from .units.feature_collection import features_of as features_of
from .units.feature_collection import rows_of_codes as rows_of_codes
from .units.feature_file import FeatureOrigin as FeatureOrigin
from .units.feature_file import read_features as read_features
from .units.feature_file import write_features as write_features
from .units.features import CodeExample as CodeExample
from .units.features import CodeFeatures as CodeFeatures
from .units.features import Features as Features
from .units.features import FeatureSettings as FeatureSettings
from .units.noise_terms import noise_terms as noise_terms
from .units.receptive_fields import fit_fields as fit_fields
from .units.receptive_fields import nearest_images as nearest_images
from .units.receptive_fields import summary as summary
from .units.training_state import TrainingState as TrainingState
from .variational.elbo import Elbo as Elbo
from .variational.gate_use import Gates as Gates

__all__ = [
    "DURING_TRAINING",
    "STANDARD",
    "WHOLE",
    "Absorption",
    "AbsorptionSettings",
    "AnyMeasure",
    "CodeExample",
    "CodeFeatures",
    "CodeScale",
    "CodedRows",
    "Codes",
    "Denoising",
    "Dictionary",
    "DictionarySimilarity",
    "Elbo",
    "Evaluation",
    "FeatureOrigin",
    "FeatureSettings",
    "Features",
    "Gates",
    "HostBatch",
    "HostLoss",
    "KSparse",
    "KSparseSettings",
    "LinearMap",
    "LogitEffects",
    "LossRecovered",
    "Measure",
    "MeasureSettings",
    "OtherResult",
    "RecoveredLoss",
    "Restoration",
    "Result",
    "Score",
    "Scores",
    "Sites",
    "Table",
    "TrainingState",
    "UnderAttack",
    "UnitActivity",
    "activation_correlations",
    "activity",
    "amortisation_gap",
    "atom_similarity",
    "code_similarity",
    "coded_rows",
    "collect_features",
    "cosines",
    "denoise_image",
    "dictionary_of",
    "estimate_sigma",
    "evaluate_model",
    "feature_absorption",
    "features_of",
    "fit_fields",
    "k_sparse_probe",
    "logit_effects",
    "loss_recovered",
    "matching",
    "model_gaps",
    "nearest_images",
    "noise_terms",
    "read_features",
    "recovered_losses",
    "reference_scores",
    "references",
    "rows_of_codes",
    "summary",
    "write_features",
]
