"""Configs of other libraries: JSON as Python writes it, and values of an expected kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sparsecode.files import absent, write_atomic
from sparsecode.specs import converted, parsed

__all__ = ["get", "read_json", "shown", "write_json"]

LARGEST_CONFIG = 2**24  # bytes


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object as Python's `json` writes it: NaN and Infinity, which other libraries write, are read.

    Raises FileNotFoundError or ValueError, each naming the file: for damaged JSON, for anything but an object at its root,
    for a key that stands there twice, for integers beyond 64 bits, and for deep nesting.
    """
    if not path.is_file():
        raise FileNotFoundError(absent(path, "a config in JSON"))
    if (size := path.stat().st_size) > LARGEST_CONFIG:
        raise ValueError(f"{path}: a config of {size / 2**20:.0f} MiB; expected at most {LARGEST_CONFIG / 2**20:.0f}")
    result = parsed(path.read_bytes(), str(path), "restore it from a copy", constant=float)
    if not isinstance(result, dict):
        raise ValueError(f"{path}: holds a {type(result).__name__}; expected a JSON object: restore it from a copy")
    _check_integers(result, path)
    return result


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Readable JSON, the file whole or not at all. NaN and infinity, which JSON does not have, become null.

    An existing file is replaced: the caller has checked that this is allowed.
    """
    write_atomic(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n", checked=True)


def get(config: Mapping[str, Any], key: str, kind: Any, path: Path) -> Any:
    """`config[key]` as `kind` ("a.b" looks into a); 4.0 is the int 4, and a float is finite.

    Raises ValueError naming file, key and kind.
    """
    value: Any = config
    try:
        for part in key.split("."):
            value = value[part]
        result = converted(value, kind, key)
        if isinstance(result, float) and not math.isfinite(result):
            raise ValueError("not finite")
        return result
    except (KeyError, TypeError, ValueError) as error:
        given = f"it is {shown(value)}" if isinstance(error, ValueError) else "it is not there"
        name = getattr(kind, "__name__", str(kind))
        raise ValueError(f"{path}: expected {key} to be {name}; {given}. Restore the file from a copy") from None


def shown(value: Any) -> str:
    """A value for a message: on one line, and short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_integers(value: Any, path: Path) -> None:
    """Refuse integers that no config of ours could hold."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError(f"{path}: the integer {shown(value)} needs more than 64 bits; restore it from a copy")
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_integers(child, path)
