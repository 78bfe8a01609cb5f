"""`sparsecode completion`: a script by which a shell completes commands, recipes, options and their choices."""

from __future__ import annotations

import ast
import io
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from importlib import import_module
from typing import Any

import tyro

from sparsecode.cli.arguments import train, using
from sparsecode.named_sweeps import EXPERIMENTS
from sparsecode.recipes import RECIPES

__all__ = ["completion_command"]

SPEC = (
    "COMPLETION_SPEC = "  # a line of the scripts that tyro writes; these delete a file's name when Tab is pressed in it
)
SCRIPT = """\
# eval "$(sparsecode completion bash)" in ~/.bashrc; in ~/.zshrc the same with zsh, after
# autoload -U compinit bashcompinit && compinit && bashcompinit
_sparsecode() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} options= choices= names=
    case "${{COMP_WORDS[1]}} ${{COMP_WORDS[2]}}" in
{options}
    esac
    case "$COMP_CWORD ${{COMP_WORDS[1]}}" in
{names}
    esac
    [[ $word == -* ]] && names=$options
    [[ -n $choices ]] && names=$choices
    COMPREPLY=($(compgen -W "$names" -- "$word"))
}}
complete -o default -F _sparsecode sparsecode
"""


def completion_command(arguments: using.CompletionArguments) -> None:
    """Print the script, which is the same for both shells."""
    del arguments
    from sparsecode.cli.main import COMMANDS, SUBCOMMANDS

    parts: list[str] = []
    for name, command in COMMANDS.items():
        if command.arguments:
            kind = getattr(
                import_module(f"sparsecode.cli.arguments.{command.arguments}"), f"{name.capitalize()}Arguments"
            )
            parts.append(_part(f'"{name} "*', _options(kind)))
    parts += [_part(f'"{n} {s}"', _options(kind)) for n, kinds in SUBCOMMANDS.items() for s, kind in kinds.items()]
    parts.append(_part('"train --resume"', _options(train.Resume)))
    tables, alike = train.all_kept(), dict[Any, list[str]]()
    for recipe in RECIPES:
        alike.setdefault(_without_defaults(tables.get(recipe)), []).append(recipe)
    merged: dict[str, list[str]] = {}
    for recipes in alike.values():
        table = tables.get(recipes[0])
        part = _part("", _options(train.arguments_of(table) if table else train.TrainPlace))
        merged.setdefault(part, []).extend(f'"train {recipe}"' for recipe in recipes)
    parts += ["|".join(cases) + part for part, cases in merged.items()]
    names = {
        '"1 "*': COMMANDS,
        '"2 train"': (*RECIPES, "--resume"),
        '"2 recipes"': RECIPES,
        '*" sweep"': (*RECIPES, *EXPERIMENTS),
        '"2 completion"': ("bash", "zsh"),
        **{f'"2 {name}"': kinds for name, kinds in SUBCOMMANDS.items()},
    }
    lines = [f'        {case}) names="{" ".join(words)}" ;;' for case, words in names.items()]
    print(SCRIPT.format(options="\n".join(f"        {part}" for part in parts), names="\n".join(lines)), end="")


def _without_defaults(item: train.Option | train.OptionTable | None) -> Any:
    """Equal for two recipes whose options have the same names and types: the first stands for both, which saves a second."""
    if isinstance(item, train.OptionTable):
        return tuple((name, _without_defaults(each)) for name, each in item.fields.items())
    return item and repr(item.kind)


def _options(kind: type[Any]) -> dict[str, tuple[str, ...]]:
    """The options of a record of arguments, and the values to choose from where there are such."""
    with redirect_stdout(io.StringIO()) as text, suppress(SystemExit):
        tyro.cli(kind, args=["--tyro-print-completion", "bash"], prog="sparsecode")
    (line,) = (line for line in text.getvalue().splitlines() if line.startswith(SPEC))
    options = ast.literal_eval(line.removeprefix(SPEC))["options"]
    return {flag: tuple(sorted(each.get("choices", ()))) for each in options for flag in each["flags"]}


def _part(case: str, options: Mapping[str, tuple[str, ...]]) -> str:
    """A branch of the first `case` of the script."""
    chosen = [f'{flag}) choices="{" ".join(values)}" ;;' for flag, values in options.items() if values]
    inner = f' case "$before" in {" ".join(chosen)} esac' if chosen else ""
    return f'{case}) options="{" ".join(options)}"{";" if inner else ""}{inner} ;;'
