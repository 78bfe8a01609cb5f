"""The known measures: what the union names, configs and the command line accept."""

from __future__ import annotations

import typing
from functools import cache

from sparsecode.evaluate.activity import UnitActivity
from sparsecode.evaluate.base import Result
from sparsecode.evaluate.bounds import Elbo
from sparsecode.evaluate.codes import Codes
from sparsecode.evaluate.denoise import Denoising
from sparsecode.evaluate.gates import Gates
from sparsecode.evaluate.restore import Restoration
from sparsecode.evaluate.score import Scores
from sparsecode.evaluate.sites import LinearMap, Sites

__all__ = ["DURING_TRAINING", "STANDARD", "AnyMeasure", "result_kinds"]

AnyMeasure = Scores | Denoising | Restoration | Elbo | Gates | Codes | UnitActivity | Sites | LinearMap

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
    returned = (typing.get_type_hints(kind.measure)["return"] for kind in typing.get_args(AnyMeasure))
    return {str(kind.__struct_config__.tag): kind for kind in (typing.get_args(hint)[1] for hint in returned)}
