"""Whether a config is that of a run; training a finished run further: its plan made anew, and its record of that."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from sparsecode.ops.collective import any_rank
from sparsecode.runs import Extension, Run, RunFolder
from sparsecode.specs import differences
from sparsecode.train.plan import clock

if TYPE_CHECKING:
    from sparsecode.train.fit import Devices

__all__ = ["conflicts", "extendable", "extended", "reached"]


def conflicts(there: Run, config: Run) -> list[str]:
    """In what the config of a run differs from the one asked for: lines `path: old -> new`.

    What is measured at validations does not count: it changes nothing of the training, and recipes name more of it over time.
    """
    return differences(there, _validated_as(there, config))


def _validated_as(there: Run, config: Run) -> Run:
    evaluation = msgspec.structs.replace(config.evaluate, validation=there.evaluate.validation)
    return msgspec.structs.replace(config, evaluate=evaluation)


def extendable(config: Run, folder: RunFolder, epochs: float) -> Run:
    """The config in the folder, if it is `config` or began as that; `config` itself otherwise.

    Raises ValueError for epochs that are not more than 0, and for a folder without a run.
    """
    if not (epochs > 0 and math.isfinite(epochs)):
        raise ValueError(f"extend is {epochs:g} epochs; expected a number above 0")
    if not folder.exists:
        raise ValueError(
            f"extend is {epochs:g} epochs, and {folder.path} holds no run; expected a finished one: train it first"
        )
    there = folder.config()
    return there if _validated_as(there, config) == there.unextended else config


def reached(config: Run, n: int, processes: int = 1) -> int | None:
    """The step at which the run was extended last, with n training samples; None if it never was."""
    if not config.extensions:
        return None
    return max(1, round(config.extensions[-1].reached * clock(config.train, n, processes).steps_per_epoch))


def extended(config: Run, folder: RunFolder, epochs: float, n: int, fabric: Devices) -> Run:
    """Plan a finished run for so many epochs more and write that to the folder; one that is being extended so goes on.

    Raises ValueError for a run that has not finished.
    """
    state = folder.state()
    begun = state is not None and state.step == reached(config, n, fabric.world_size)
    last = config.extensions[-1] if config.extensions else None
    extended = last is not None and math.isclose(config.train.epochs, last.reached + epochs)
    if extended and (state is None or not state.finished or begun or folder.evaluation() is None):
        return config
    if state is None or not state.finished or begun:
        where = folder.unfinished or "not begun"
        raise ValueError(
            f"extend is {epochs:g} epochs, and {folder.path} is not finished ({where}); go on with it first, without `extend`"
        )
    per_epoch = clock(config.train, n, fabric.world_size).steps_per_epoch
    done = state.step / per_epoch if state.ended else config.train.epochs
    further = msgspec.structs.replace(
        config,
        train=msgspec.structs.replace(config.train, epochs=done + epochs),
        extensions=(*config.extensions, Extension(config.train.epochs, done)),
    )
    any_rank(False, fabric.device)  # all have read
    if fabric.is_global_zero:
        folder.eval_file.unlink(missing_ok=True)  # first, lest the run seem to have finished by its new plan
        folder.write_config(further)
    return further
