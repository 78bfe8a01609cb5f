"""Terminal output as plain text: no markup, control characters in names are escaped."""

from __future__ import annotations

from typing import Any

import rich.console
from rich.markup import escape
from rich.text import Text

from sparsecode.files import printable

__all__ = ["Console", "described"]


class Console(rich.console.Console):
    """Rich's console that prints strings as they are: `[x]` and `:x:` mean themselves, unseen characters are escaped.

    Style is an argument of `print`, or a `Text`.
    """

    def __init__(self, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Print nothing more, and raise BrokenPipeError, where rich ends the process: training saves before it ends."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise BrokenPipeError from None

    def render_str(self, text: str, **options: Any) -> Text:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().render_str(printable(text, kept="\n"), **options)


def described(name: str) -> str:
    """A name in the description of a progress bar or a status, which is markup."""
    return escape(printable(name))
