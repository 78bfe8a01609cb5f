"""Terminal output as plain text: no markup, control characters in names are escaped."""

from __future__ import annotations

from copy import copy
from typing import Any

import rich.console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sparsecode.cli.narrow import fitted
from sparsecode.files import printable

__all__ = ["Console", "described"]


class Console(rich.console.Console):
    """Rich's console that prints strings as they are: `[x]` and `:x:` mean themselves, unseen characters are escaped.

    Style is an argument of `print`, or a `Text`.
    """

    def __init__(self, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's, with tables in the width of the terminal; captions on the left have that width, too, not that of their table."""
        for item in objects:
            if isinstance(item, Table):
                for table in fitted(self, item):
                    self._print_table(table, options)
        others = [item for item in objects if not isinstance(item, Table)]
        if others or not objects:
            super().print(*others, **options)

    def _print_table(self, table: Table, options: dict[str, Any]) -> None:
        caption = table.caption if table.caption_justify == "left" else None
        if caption:
            table = copy(table)
            table.caption = None
        super().print(table, **options)
        if caption:
            super().print(caption, style="table.caption", highlight=False)

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
