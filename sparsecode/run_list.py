"""The runs in a folder, a line for each."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sparsecode.evaluate.evaluation import Evaluation
from sparsecode.files import printable
from sparsecode.leaves import tag_of
from sparsecode.runs import RunFolder

__all__ = ["Summary", "list_runs"]


class Summary(NamedTuple):
    """A run in one line; `problem` is the reason why the rest is empty, `stands` the progress (empty for converted models).

    `objective` is the definition of the scores' objective.
    """

    name: str
    data: str = ""
    stands: str = ""
    evaluation: Evaluation | None = None
    problem: str = ""
    objective: str = ""


def list_runs(root: Path) -> list[Summary]:
    """Every run folder directly in `root`, by name, damaged ones too."""
    summaries = (_summary(RunFolder(path)) for path in sorted(root.iterdir())) if root.is_dir() else ()
    return [summary for summary in summaries if summary is not None]


def _summary(folder: RunFolder) -> Summary | None:
    """Summary of a folder; None if it is not a run."""
    name = printable(folder.path.name)
    try:
        if not folder.exists:
            return None
        config, state = folder.config(), folder.state()
        data = tag_of(config.data)
        stands = f"{state.step} of {state.total_steps}" if state else folder.unfinished
        if not stands:
            stands = "converted" if (folder.model / "cfg.json").is_file() else "not begun"
        return Summary(name, data, stands, folder.evaluation(), objective=config.model.objective)
    except (OSError, ValueError) as problem:
        return Summary(name, problem=str(problem))
