"""The runs in a folder, a line for each: read without torch, which takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from sparsecode.files import printable
from sparsecode.run_files import RunFiles
from sparsecode.specs import migrated, parsed

__all__ = ["Scored", "Summary", "list_runs"]

SCORES = "scores"


class Scored(NamedTuple):
    """The scores of a run's first coder that stand in a list; `objective_of` is the definition of the objective."""

    coder: str
    psnr: float | None
    objective: float
    l0: float
    objective_of: str


class Summary(NamedTuple):
    """A run in one line; `problem` is the reason why the rest is empty, `stands` the progress (empty for converted models)."""

    name: str
    data: str = ""
    stands: str = ""
    scored: Scored | None = None
    problem: str = ""


def list_runs(root: Path) -> list[Summary]:
    """Every run folder directly in `root`, by name, damaged ones too.

    The files are read as JSON of a known format; that all values of a config fit is checked where the config is used.
    """
    summaries = (_summary(path) for path in sorted(root.iterdir())) if root.is_dir() else ()
    return [summary for summary in summaries if summary is not None]


def _summary(folder: Path) -> Summary | None:
    """Summary of a folder; None if it is not a run."""
    name, files = printable(folder.name), RunFiles.of(folder)
    try:
        if not files.config.is_file():
            return None
        config, state = _read(files.config), files.read_state()
        stands = f"{state.step} of {state.total_steps}" if state else files.unfinished
        if not stands:
            stands = "converted" if (files.model / "cfg.json").is_file() else "not begun"
        scored = _scored(folder, _read(files.evaluation), files.evaluation) if files.evaluation.exists() else None
        return Summary(name, _data_of(config, files.config), stands, scored)
    except (OSError, ValueError) as problem:
        return Summary(name, problem=str(problem))


def _read(file: Path) -> Any:
    """The record in a file, as plain JSON types in the newest format."""
    return migrated(parsed(file.read_bytes(), str(file)), str(file))


def _data_of(config: Any, file: Path) -> str:
    """The type of the data of a run."""
    try:
        kind = config["data"]["type"]
    except (KeyError, TypeError):
        kind = None
    if not isinstance(kind, str) or not isinstance(config.get("model"), dict):
        raise ValueError(f"{file}: not the config of a run: expected data and a model, each with its type")
    return printable(kind)


def _scored(folder: Path, evaluation: Any, file: Path) -> Scored:
    """The scores of the first coder. Raises ValueError naming the file if it has none."""
    try:
        coder, score = next(iter(evaluation["measures"][SCORES].items()))
        objective, l0, psnr = float(score["objective"]), float(score["l0"]), score["psnr"]
        psnr = None if psnr is None else float(psnr)
        defined = score.get("objective_of")
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise ValueError(
            f"{file}: not the scores of a run ({error!r}); restore it from a copy, or score the run again"
        ) from None
    if not isinstance(defined, str):  # written before scores said so: the config, whose classes need torch, does
        from sparsecode.runs import RunFolder

        defined = RunFolder(folder).config().model.objective
    return Scored(printable(coder), psnr, objective, l0, defined)
