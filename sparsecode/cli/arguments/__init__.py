"""Arguments of each command. Nothing here imports torch or matplotlib, so that `--help` answers at once."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from sparsecode.specs import SEEDS

__all__ = [
    "DataPath",
    "MoreRuns",
    "RunPath",
    "UsageError",
    "described",
    "option_error",
    "parsed",
    "parsed_subcommand",
    "repeated",
]

T = TypeVar("T")

RunPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="run folder", metavar="RUN")]
MoreRuns = Annotated[
    tuple[Path, ...],
    tyro.conf.Positional,
    tyro.conf.arg(help="more run folders", metavar="[RUN [RUN ...]]", help_behavior_hint="(optional)"),
]
DataPath = Annotated[
    Path | None,
    tyro.conf.arg(
        name="data.path", help="where the run's data are now, if they have moved; they must be the same samples"
    ),
]


class UsageError(Exception):
    """The command line asks for something that cannot be."""


def option_error(error: ValueError) -> UsageError:
    """The error of a record of settings with the option in the place of its field: `--per-band: got -1` for `FeatureSettings.per_band: got -1`."""
    return UsageError(re.sub(r"^\w+\.(\w+)", lambda field: f"--{field[1].replace('_', '-')}", str(error)))


def parsed(kind: type[T], argv: Sequence[str], prog: str) -> T:
    """The arguments of a command as an instance of `kind`, whose docstring is the help. Raises SystemExit as tyro does, UsageError for seeds out of range."""
    result = tyro.cli(kind, args=argv, prog=prog, description=described(inspect.getdoc(kind) or ""))
    if (seed := getattr(result, "seed", None)) is not None and not 0 <= seed < SEEDS:
        raise UsageError(f"--seed {seed}: expected a whole number from 0 to {SEEDS - 1}")
    return result


def parsed_subcommand(kinds: Mapping[str, type[Any]], argv: Sequence[str], prog: str) -> Any:
    """The arguments of one of several subcommands; errors as `parsed`."""
    if argv and argv[0] in kinds:
        return parsed(kinds[argv[0]], argv[1:], f"{prog} {argv[0]}")
    return tyro.extras.subcommand_cli_from_dict(dict(kinds), args=argv, prog=prog)


def described(doc: str) -> str:
    """The text of a docstring before its arguments, wrapped to the terminal's width, COLUMNS if that is set.

    tyro joins lines that begin with a letter, and does not wrap: each line begins with two spaces.
    """
    width = max(40, shutil.get_terminal_size().columns)
    text = doc.partition("Args:\n")[0].strip()
    return "\n\n".join(
        textwrap.fill(
            " ".join(part.split()), width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
        )
        for part in text.split("\n\n")
    )


def repeated(argv: Sequence[str], names: Sequence[str]) -> list[str]:
    """`--set A B` as `--set A --set B`, for the options of these names whose values have a `=`."""
    results: list[str] = []
    taking = ""
    for word in argv:
        if taking and "=" in word and not word.startswith("-"):
            results += [] if results[-1] == taking else [taking]
        elif not word.startswith("-"):
            taking = ""
        if word.startswith("-"):
            taking = word if word in names else ""
        results.append(word)
    return results
