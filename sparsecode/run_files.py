"""Where the files of a run are, and how far they say that it is: read without torch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sparsecode.train.fit_state import STATE_FILE, FitState, read_state

__all__ = ["RunFiles"]


class RunFiles(NamedTuple):
    """The files and folders in that of a run."""

    config: Path
    metrics: Path
    evaluation: Path
    model: Path
    resume: Path

    @classmethod
    def of(cls, folder: Path) -> RunFiles:
        """Those of the run in a folder."""
        return cls(*(folder / name for name in ("config.json", "metrics.jsonl", "eval.json", "model", "resume")))

    @property
    def state(self) -> Path:
        return self.resume / STATE_FILE

    def read_state(self) -> FitState | None:
        """The position of the training, None before the first checkpoint."""
        return read_state(self.state) if self.state.exists() else None

    @property
    def unfinished(self) -> str:
        """The progress of unfinished training (`step 280 of 600`); empty for finished training, and for models made otherwise."""
        try:
            state = self.read_state()
        except (OSError, ValueError):  # damaged: for those to say who need it
            return ""
        if state is None:
            return "no checkpoint yet" if self.metrics.exists() and not self.evaluation.exists() else ""
        return "" if state.finished else f"step {state.step} of {state.total_steps}"
