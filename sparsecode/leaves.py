"""Leaves defined by users: the objects that a config's field accepts besides the known ones, and how files store them."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any

import msgspec

__all__ = [
    "admitted",
    "built",
    "foreign_types",
    "holds_objects",
    "members",
    "opened",
    "plain",
    "qualified",
    "tag_of",
    "unfit",
    "unknown_tag",
]

OPEN: list[
    tuple[frozenset[Any], tuple[str, ...]]
] = []  # the members of a union, and the attributes required of any other object
OWN = "sparsecode."
PLAIN = (bool, int, float, str, bytes, type(None), list, tuple, dict)


def opened(known: Any, like: type) -> Any:
    """`known`, a type or union of types; fields of it accept from now on any object with the attributes of the protocol `like`.

    Files and the command line know the members of `known` alone, and read other leaves only where their classes are given.
    """
    names = {n for kind in like.__mro__ for n in (*vars(kind), *vars(kind).get("__annotations__", ()))}
    wanted = sorted(n for n in names if n == "__call__" or not n.startswith("_"))
    OPEN.append((frozenset(members(known)), tuple(wanted)))
    return known


def members(hint: Any) -> list[Any]:
    """The alternatives of a type, with unions and Annotated unpacked."""
    if typing.get_origin(hint) is Annotated:
        return members(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [m for part in typing.get_args(hint) for m in members(part)]
    return [hint]


def is_foreign(value: Any) -> bool:
    """Whether a value is an object of a class that is not this library's, nor one of JSON's."""
    return not isinstance(value, PLAIN) and not f"{type(value).__module__}.".startswith(OWN)


def holds_objects(value: Any) -> bool:
    """Whether a value is, or a tuple, list or dictionary holds, anything but JSON's types."""
    if isinstance(value, list | tuple | dict):
        return any(map(holds_objects, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, PLAIN)


def admitted(value: Any, hint: Any, where: str) -> Any:
    """`value`, or a tuple or dictionary that holds it, if a leaf of a user may stand in a field of type `hint`.

    A single object in place of a tuple of them becomes a tuple of one. Raises msgspec.ValidationError for JSON's types, and
    ValueError naming the place and what may stand there for an object that lacks something or cannot be recorded.
    """
    inner = _inner(hint, value)
    if inner is not None:
        if isinstance(value, dict):
            return {key: admitted(item, inner, f"{where}[{key!r}]") for key, item in value.items()}
        return tuple(admitted(item, inner, f"{where}[{i}]") for i, item in enumerate(value))
    several = _inner(hint, ())
    if several is not None and not isinstance(value, PLAIN):
        return (admitted(value, several, where),)
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        if isinstance(value, PLAIN) or not _known(hint):
            raise
    if problem := unfit(value, hint, where, ", ".join(_known(hint))):
        raise ValueError(problem)
    try:
        plain(value)
    except (TypeError, AttributeError) as error:
        raise ValueError(
            f"{where} is {value!r}, which no file can record ({error}); expected arguments kept as attributes, each a number, "
            "string, list or dictionary: make it a dataclass or a Spec"
        ) from None
    return value


def unfit(value: Any, hint: Any, where: str, known: str) -> str:
    """Why an object cannot stand in a field of type `hint`, as a message in which `known` says what else can; empty if it fits."""
    if isinstance(value, tuple(m for m in members(hint) if isinstance(m, type))):
        return ""
    lacks = [[name for name in wanted if not hasattr(value, name)] for wanted in _wanted(hint) if is_foreign(value)]
    least = min(lacks, key=len, default=None)
    if isinstance(value, type) and (least == [] or value in members(hint)):
        return f"{where} is the class {value.__name__}; expected an object of it: write {value.__name__}(...)"
    if least == []:
        return ""
    other = f", or an object with {', '.join(least)}, which {type(value).__name__} lacks" if least else ""
    return f"{where} is {value!r}; expected {known}{other}"


def foreign_types(config: Any) -> tuple[type, ...]:
    """The classes of all foreign leaves in a config."""
    return tuple(dict.fromkeys(type(leaf) for leaf in _foreign(config, type(config))))


def _foreign(value: Any, hint: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple | dict):
        inner = _inner(hint, value)
        for item in value.values() if isinstance(value, dict) else value:
            yield from _foreign(item, inner)
    elif not isinstance(value, PLAIN):
        if _is_foreign_to(value, hint):
            yield value
        hints = _hints_of(type(value))
        for name, item in _fields(value).items():
            yield from _foreign(item, hints.get(name))


def _is_foreign_to(value: Any, hint: Any) -> bool:
    """Not so in a field of type Any: what it holds is data, such as the result of a measure, recorded as it is."""
    return hint is not Any and is_foreign(value) and type(value) not in members(hint)


def qualified(kind: type) -> str:
    """The name by which files record a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def tag_of(leaf: Any) -> str:
    """The name of a leaf in files and messages."""
    tag = getattr(leaf, "__struct_config__", None)
    return qualified(type(leaf)) if is_foreign(leaf) or tag is None else str(tag.tag)


def plain(value: Any, hint: Any = None) -> Any:
    """A config, or a part of one in a field of type `hint`, as plain JSON types.

    A leaf that is not one of `hint`, nor of this library, is its fields under its class's qualified name.
    """
    if not any(True for _ in _foreign(value, hint)):
        return msgspec.to_builtins(value)
    inner = _inner(hint, value)
    if isinstance(value, dict):
        return {key: plain(item, inner) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, inner) for item in value]
    hints = _hints_of(type(value))
    tag = qualified(type(value)) if _is_foreign_to(value, hint) else value.__struct_config__.tag
    return {"type": tag} | {name: plain(item, hints.get(name)) for name, item in _fields(value).items()}


def _fields(leaf: Any) -> dict[str, Any]:
    """The constructor arguments of a leaf. Raises AttributeError for one that is not stored under its name."""
    if isinstance(leaf, msgspec.Struct):
        names: Sequence[str] = leaf.__struct_fields__
    elif dataclasses.is_dataclass(leaf):
        names = [field.name for field in dataclasses.fields(leaf) if field.init]
    elif type(leaf).__init__ is object.__init__:
        names = ()
    else:
        names = tuple(inspect.signature(type(leaf)).parameters)
    return {name: getattr(leaf, name) for name in names}


def built(raw: Any, hint: Any, leaves: Sequence[type], where: str = "") -> Any:
    """Plain JSON types as `hint`, where foreign leaves are made from the classes in `leaves`.

    Raises ValueError naming a class that is not among them, and msgspec.ValidationError for what does not fit.
    """
    if not _records_foreign(raw):
        return msgspec.convert(raw, hint)
    inner = _inner(hint, raw)
    if isinstance(raw, list):
        return tuple(built(item, inner, leaves, f"{where}[{i}]") for i, item in enumerate(raw))
    if not isinstance(raw.get("type"), str):
        return {key: built(item, inner, leaves, f"{where}.{key}".lstrip(".")) for key, item in raw.items()}
    tag = raw["type"]
    kind = _class(tag, leaves, where) if "." in tag else _known(hint).get(tag)
    if kind is None:
        return msgspec.convert(raw, hint)  # whose error names the place
    hints = _hints_of(kind)
    values = {
        name: built(item, hints.get(name, Any), leaves, f"{where}.{name}".lstrip("."))
        for name, item in raw.items()
        if name != "type"
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where or tag}: {tag} does not take what was saved ({error})") from None


def _class(tag: str, leaves: Sequence[type], where: str) -> type:
    last = tag.rpartition(".")[2]
    for same in (lambda kind: qualified(kind) == tag, lambda kind: kind.__name__ == last):  # a module may have moved
        results = [kind for kind in leaves if same(kind)]
        if len(results) == 1:
            return results[0]
    raise ValueError(
        f"{where or 'its config'} was saved with {tag}, which is not part of sparsecode; import it in Python and pass "
        f"leaves=[{last}]"
    )


def unknown_tag(raw: Any, hint: Any, path: str = "") -> str | None:
    """Where plain JSON types name a record that `hint` does not know, which, and what it knows; None if nowhere."""
    if isinstance(raw, list):
        inner = _inner(hint, raw)
        return next(
            (result for i, item in enumerate(raw) if (result := unknown_tag(item, inner, f"{path}[{i}]"))), None
        )
    if not isinstance(raw, dict):
        return None
    tag, known = raw.get("type"), _known(hint)
    if known and tag is not None and not (isinstance(tag, str) and tag in known):
        return f"{path}.type is {tag!r}; expected {', '.join(known)}".lstrip(".")
    kind = known.get(tag) if isinstance(tag, str) else next(iter(known.values()), None) if len(known) == 1 else None
    hints, inner = {} if kind is None else _hints_of(kind), _inner(hint, raw)
    parts = (unknown_tag(item, hints.get(key, inner), f"{path}.{key}") for key, item in raw.items())
    return next((result for result in parts if result), None)


def _records_foreign(raw: Any) -> bool:
    if isinstance(raw, dict):
        tag = raw.get("type")
        return (isinstance(tag, str) and "." in tag) or any(map(_records_foreign, raw.values()))
    return isinstance(raw, list) and any(map(_records_foreign, raw))


@cache
def _hints_of(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _inner(hint: Any, value: Any) -> Any:
    """The type of what a tuple or dictionary holds, where `value` is one and `hint` allows it."""
    if isinstance(value, list | tuple):
        return next((typing.get_args(m)[0] for m in members(hint) if typing.get_origin(m) in (tuple, list)), None)
    if isinstance(value, dict):
        return next((typing.get_args(m)[1] for m in members(hint) if typing.get_origin(m) is dict), None)
    return None


def _known(hint: Any) -> dict[str, Any]:
    """The records among the alternatives of a type, by tag."""
    kinds = [m for m in members(hint) if isinstance(m, type) and issubclass(m, msgspec.Struct)]
    return {str(m.__struct_config__.tag): m for m in kinds}


def _wanted(hint: Any) -> list[tuple[str, ...]]:
    """The sets of attributes of which an object must have one for a field of this type; empty if no other object is accepted."""
    given = set(members(hint))
    return [wanted for known, wanted in OPEN if known <= given]
