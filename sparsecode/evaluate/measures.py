"""The union of known measures: those that configs and the command line accept."""

from __future__ import annotations

import typing
from functools import cache
from typing import TYPE_CHECKING

from sparsecode.evaluate.base import Measure, Result
from sparsecode.evaluate.networks.under_attack import UnderAttack
from sparsecode.evaluate.reconstruction.denoising import Denoising
from sparsecode.evaluate.reconstruction.host_measure import LossRecovered
from sparsecode.evaluate.reconstruction.restoration import Restoration
from sparsecode.evaluate.reconstruction.score import Scores
from sparsecode.evaluate.reconstruction.sites import LinearMap, Sites
from sparsecode.evaluate.units.activity import UnitActivity
from sparsecode.evaluate.units.code_scale import CodeScale
from sparsecode.evaluate.units.codes import Codes
from sparsecode.evaluate.units.training_state import TrainingState
from sparsecode.evaluate.variational.elbo import Elbo
from sparsecode.evaluate.variational.gate_use import Gates
from sparsecode.leaves import opened

__all__ = ["DURING_TRAINING", "STANDARD", "AnyMeasure", "result_kinds"]

Known = (
    Scores
    | Denoising
    | Restoration
    | Elbo
    | Gates
    | Codes
    | CodeScale
    | UnitActivity
    | TrainingState
    | Sites
    | LinearMap
    | LossRecovered
    | UnderAttack
)

if TYPE_CHECKING:
    AnyMeasure = Known | Measure
else:
    AnyMeasure = opened(Known, Measure)

STANDARD: tuple[AnyMeasure, ...] = (
    Scores(),
    Denoising(),
    Restoration(),
    Elbo(),
    UnitActivity(),
    Sites(),
    LinearMap(),
)
DURING_TRAINING: tuple[AnyMeasure, ...] = (Scores(), Gates(), Restoration(), Sites())


@cache
def result_kinds() -> dict[str, type[Result]]:
    """The records that known measures give, by their type in JSON: what `measure` says that it returns."""
    returned = (typing.get_type_hints(kind.measure)["return"] for kind in typing.get_args(Known))
    return {str(kind.__struct_config__.tag): kind for kind in (typing.get_args(hint)[1] for hint in returned)}
