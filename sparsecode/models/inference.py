"""The settings of a solver: algorithm, start and stopping rule."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from sparsecode.solvers.evtimova_fista import EvtimovaFISTA
from sparsecode.solvers.loop import Solver
from sparsecode.specs import Spec

__all__ = ["Inference"]


class Inference(Spec, tag="inference"):
    """The settings of a solver of codes: algorithm, start and stopping rule.

    With `compat` the `original` rule of the paper's code takes the solver's place, in training and after.
    """

    solver: Annotated[
        Solver | None, Meta(description="default: coordinate descent for linear decoders on a CPU, else FISTA")
    ] = None
    start: Annotated[
        Literal["encoder", "zero"] | Annotated[float, Meta(ge=0)],
        Meta(description="start from the encoder's prediction, from zero, or from this value everywhere"),
    ] = "encoder"
    tol: Annotated[
        float,
        Meta(gt=0, description="stop a code at this relative duality gap (KKT residual, if the decoder is not linear)"),
    ] = 1e-3
    max_steps: Annotated[int, Meta(ge=1, description="maximum number of steps per code")] = 200
    original: Annotated[EvtimovaFISTA | None, Meta(description="the rule of the paper's code")] = None
    compat: Annotated[bool, Meta(description="solve by the original's rule, to reproduce its numbers")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compat and self.original is None:
            raise ValueError("Inference: compat is set and `original` is missing; expected the original's step and tau")
