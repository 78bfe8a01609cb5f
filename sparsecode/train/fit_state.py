"""How far a training is, as its checkpoint says: read without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from sparsecode.data.file_metadata import read_metadata
from sparsecode.specs import Spec, from_json

__all__ = ["REMEDY", "STATE_FILE", "Best", "FitState", "Stall", "read_state"]

STATE_FILE = "state.safetensors"
REMEDY = "restore it from a copy, or delete it to train from the start"


class Best(Spec, tag="best"):
    """The best validation value so far and its step."""

    value: float
    step: int


class Stall(Spec, tag="stall"):
    """The last validation value that improved by more than `train.min_change`, and the number of validations since."""

    value: float
    validations: int = 0


class FitState(Spec, tag="fit_state"):
    """The position of a training. `threads` affects the order of sums and is therefore restored on resume.

    `data` is the fingerprint of the samples: with others the result would be another experiment. `stopped_by` says what
    interrupted it, `ended` why it has finished before the last step.
    """

    step: Annotated[int, Meta(ge=0)]
    total_steps: int
    threads: int
    data: str
    best: Best | None = None
    stopped_by: str | None = None
    ended: str | None = None
    stall: Stall | None = None

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.step >= self.total_steps or self.ended is not None


def read_state(path: Path) -> FitState:
    """The position stored in `path`. Raises ValueError naming the file if it is damaged or cut short."""
    metadata = read_metadata(path, REMEDY)
    return from_json(metadata.get("sparsecode", "null").encode(), FitState, str(path))
