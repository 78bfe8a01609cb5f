"""The command line without a run's figures, which take most of a short one. Arguments: those of `sparsecode`."""

from __future__ import annotations

import sys

import sparsecode.runner
from sparsecode.cli import main

if __name__ == "__main__":
    sparsecode.runner.draw = lambda *_: []  # pyright: ignore[reportAttributeAccessIssue] - its arguments do not matter
    sys.exit(main(sys.argv[1:]))
