"""Sweeps: a grid of changes over recipes, trained by a backend, and their results.

A backend is a function from jobs to an iterator of outcomes, in whatever order they finish.
"""

from sparsecode.sweeps.curves import SEED, curves_of, named
from sparsecode.sweeps.grid import PREVIOUS, Axis, Start, jobs_of
from sparsecode.sweeps.jobs import Backend, Job, Outcome
from sparsecode.sweeps.meanings import by_meaning
from sparsecode.sweeps.processes import processes
from sparsecode.sweeps.results import RESULTS, SweepResult, read_results, sweep
from sparsecode.sweeps.serial import serial
from sparsecode.sweeps.shared import shared
from sparsecode.sweeps.stacked import stacked

__all__ = [
    "PREVIOUS",
    "RESULTS",
    "SEED",
    "Axis",
    "Backend",
    "Job",
    "Outcome",
    "Start",
    "SweepResult",
    "by_meaning",
    "curves_of",
    "jobs_of",
    "named",
    "processes",
    "read_results",
    "serial",
    "shared",
    "stacked",
    "sweep",
]
