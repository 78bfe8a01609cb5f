"""What `sparsecode train` takes: options by a table that is made from a recipe's config, and kept so that help needs no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import types
import typing
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tyro

from sparsecode.choices import Accelerator
from sparsecode.cli.arguments import DataPath, parsed
from sparsecode.files import cache_folder, write_atomic

__all__ = [
    "Option",
    "OptionTable",
    "Resume",
    "TrainPlace",
    "all_kept",
    "arguments_of",
    "dataclass_of",
    "keep",
    "kept",
    "print_help",
]

PACKAGE = Path(__file__).parents[2]
HELP = ("-h", "--help")
NAMES: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": str, "None": None, "...": ...}
GENERICS: dict[str, Any] = {"union": typing.Union, "literal": Literal, "tuple": tuple, "list": list, "dict": dict}


@dataclasses.dataclass
class TrainPlace:
    """Output folder and devices; none of these change the experiment."""

    out: Annotated[Path | None, tyro.conf.arg(help="run folder; default runs/RECIPE")] = None
    set: Annotated[
        tuple[str, ...],
        tyro.conf.arg(help="PATH=JSON: any part of the config, whole variants too", metavar="PATH=JSON"),
    ] = ()
    accelerator: Annotated[Accelerator, tyro.conf.arg(help="auto: cuda where there is one, else cpu")] = "auto"
    devices: Annotated[int, tyro.conf.arg(help="several train one model together (DDP)")] = 1
    track: Annotated[
        tuple[str, ...], tyro.conf.arg(help="also write metrics to these trackers, by name", metavar="NAME")
    ] = ()
    tensorboard: Annotated[bool, tyro.conf.arg(help="--track tensorboard (extra [tensorboard])")] = False
    figures: Annotated[bool, tyro.conf.arg(help="draw the run's figures when it has finished")] = True
    extend: Annotated[
        float | None,
        tyro.conf.arg(
            help="train a finished run for this many more epochs, with schedules recomputed for the new length"
        ),
    ] = None


@dataclasses.dataclass
class Resume(TrainPlace):
    """Go on with an interrupted run, with the config stored in it."""

    resume: Annotated[Path, tyro.conf.arg(help="the run folder")] = Path()
    data_path: DataPath = None


class Option(msgspec.Struct, tag=True):
    """A number, string or tuple of a config: its type in a form that JSON holds, its value, and its help."""

    kind: Any
    default: Any
    help: str = ""

    @classmethod
    def of(cls, kind: Any, default: Any, help: str) -> Option:
        return cls(_encoded(kind), default, help)


class OptionTable(msgspec.Struct, tag=True):
    """The options of a config or of a part of it, in order, under its description."""

    about: str
    fields: dict[str, Option | OptionTable]


def arguments_of(table: OptionTable) -> type:
    """The dataclass of all that `sparsecode train RECIPE` takes: the options of the recipe, and where to train."""
    made = dataclasses.make_dataclass("Options", [], bases=(dataclass_of(table), TrainPlace))
    made.__doc__ = table.about
    return made


def dataclass_of(table: OptionTable, name: str = "Config") -> type:
    """A dataclass with a field for each option, nested as the table is, with its defaults."""
    fields: list[tuple[str, Any, Any]] = []
    for key, item in table.fields.items():
        if isinstance(item, OptionTable):
            nested = dataclass_of(item, f"{name}_{key}")
            described = Annotated[nested, tyro.conf.arg(help=item.about)]  # which tyro would look for in source text
            fields.append((key, described, dataclasses.field(default_factory=nested)))
        else:
            kind = _decoded(item.kind)
            default = msgspec.convert(item.default, kind)  # tuples are lists in JSON
            fields.append((key, Annotated[kind, tyro.conf.arg(help=item.help)], dataclasses.field(default=default)))
    made = dataclasses.make_dataclass(name, fields)
    made.__doc__ = table.about
    return made


def print_help(argv: list[str]) -> None:
    """Print the help that `argv` asks for and raise SystemExit, if that can be done without the recipe; otherwise return."""
    if argv[0].partition("=")[0] == "--resume" and any(word in HELP for word in argv):
        parsed(Resume, HELP[:1], "sparsecode train")
    if len(argv) == 2 and argv[1] in HELP and (table := kept(argv[0])):
        parsed(arguments_of(table), argv[1:], f"sparsecode train {argv[0]}")


def kept(recipe: str) -> OptionTable | None:
    """The table of a recipe, if `keep` was called by a package with the same source text."""
    return all_kept().get(recipe)


def all_kept() -> dict[str, OptionTable]:
    """The tables of all recipes, or none."""
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        stamp, _, data = _file().read_bytes().partition(b"\n")
        if stamp == _stamp(data):
            return msgspec.json.decode(data, type=dict[str, OptionTable])
    return {}


def keep(tables: dict[str, OptionTable]) -> None:
    """Write the tables of all recipes to the cache folder, where that is possible."""
    data = msgspec.json.encode(tables)
    with suppress(OSError):
        write_atomic(_file(), _stamp(data) + b"\n" + data, checked=True)


def _file() -> Path:
    """One for each copy of the package, so that a new version replaces what the old one wrote."""
    return cache_folder() / "options" / f"{hashlib.sha256(bytes(PACKAGE)).hexdigest()[:16]}.json"


def _stamp(data: bytes) -> bytes:
    """A checksum of `data` and of the package's source, of which the tables are a function."""
    return hashlib.sha256(_source() + data).hexdigest().encode()


@cache
def _source() -> bytes:
    hasher = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        hasher.update(hashlib.sha256(path.read_bytes()).digest())
    return hasher.digest()


def _encoded(kind: Any) -> Any:
    """A type of JSON values as JSON: a name, or a list that begins with one. Raises TypeError for other types."""
    for name, known in NAMES.items():
        if kind is known or (known is None and kind is type(None)):
            return name
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _encoded(arguments[0])
    for name, known in GENERICS.items():
        if origin is known or (name == "union" and origin is types.UnionType):
            return [name, *(arguments if name == "literal" else map(_encoded, arguments))]
    raise TypeError(f"{kind} is no type of JSON values")


def _decoded(kind: Any) -> Any:
    if isinstance(kind, str):
        return NAMES[kind]
    name, *arguments = kind
    return GENERICS[name][tuple(arguments if name == "literal" else map(_decoded, arguments))]
