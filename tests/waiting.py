"""Waiting for another process, however slow the machine is."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 900.0  # seconds: of a process that hangs, not of one that is slow


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    """Return when `condition` holds; fails when `process` ends before that, or hangs."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None or condition(), f"the process ended with {process.returncode} before that"
        assert time.monotonic() < end, f"nothing came of the process in {PATIENCE:g} s"
        time.sleep(0.005)
