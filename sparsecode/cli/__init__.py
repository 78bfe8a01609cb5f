"""The command line."""

from sparsecode.cli.main import main

__all__ = ["main"]
