"""Errors that the command line must know without importing torch; each is also a name of the file that raises it."""

from __future__ import annotations

__all__ = ["NonFiniteLossError", "OverrideError", "RunConflictError"]


class OverrideError(ValueError):
    """A change that the config does not admit."""


class NonFiniteLossError(ArithmeticError):
    """The training loss became NaN or infinite."""


class RunConflictError(FileExistsError):
    """The folder holds something that this run must not touch."""
