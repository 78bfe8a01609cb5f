"""Opening other libraries' files: no code in them is run, nothing in them is taken for granted."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sparsecode.data.numpy_files import read_npz as arrays_of
from sparsecode.files import save_atomic, write_atomic
from sparsecode.specs import converted, parsed

__all__ = [
    "get",
    "load_torch",
    "names_in_torch",
    "read_json",
    "read_npz",
    "read_safetensors",
    "save_torch",
    "take",
    "working",
    "write_json",
    "write_safetensors",
]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises FileNotFoundError or ValueError naming the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    found = parsed(path.read_bytes(), str(path), "restore it from a copy")
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds a {type(found).__name__}; expected a JSON object: restore it from a copy")
    return found


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Readable JSON, the file whole or not at all."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises FileNotFoundError or ValueError naming the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return load(path.read_bytes())
    except KeyError as kind:
        raise ValueError(f"{path}: holds tensors of type {kind}, which torch does not read; convert them") from None
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged or cut short ({error}); restore it from a copy") from None


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Tensors as a safetensors file, whole or not at all."""
    write_atomic(path, save({name: value.contiguous() for name, value in tensors.items()}))


def read_npz(path: Path) -> dict[str, Tensor]:
    """All arrays of an .npz file, which may hold numbers alone (object arrays are pickles)."""
    try:
        return {name: torch.from_numpy(array) for name, array in arrays_of(path).items()}
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: not an .npz file of plain numbers ({error}); pickled objects are never loaded, save arrays of floats"
        ) from None


def load_torch(path: Path) -> dict[str, Any]:
    """The dictionary in a `torch.save` file, tensors on the CPU.

    Only tensors and plain containers are unpickled. Raises ValueError naming the file if there is anything else in it,
    which might be code, or if it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, AttributeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path}: damaged, or more than tensors and plain values in it, which could run code and is never loaded "
            f"({reason}); save its state_dict() alone"
        ) from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds a {type(found).__name__}; expected a dictionary of tensors (a state_dict)")
    return found


def names_in_torch(path: Path) -> set[str]:
    """The keys in a `torch.save` file; none if it cannot be loaded."""
    try:
        return set(load_torch(path))
    except ValueError:
        return set()


def save_torch(path: Path, value: Mapping[str, Any]) -> None:
    """Write a dictionary of tensors and plain values as `torch.save` does."""

    def write(file: BytesIO) -> None:
        torch.save(dict(value), file)

    save_atomic(path, write)


def take(tensors: Mapping[str, Any], required: Iterable[str], path: Path, optional: Iterable[str] = ()) -> list[Tensor]:
    """The `required` tensors in `working` precision, in this order.

    Raises ValueError naming the file if one is missing, or if there is one more that is not `optional`.
    """
    wanted = list(required)
    missing, more = set(wanted) - set(tensors), set(tensors) - set(wanted) - set(optional)
    if missing or more:
        raise ValueError(
            f"{path}: "
            + "; ".join(
                f"{word} {', '.join(sorted(names))}"
                for word, names in (("missing", missing), ("unknown", more))
                if names
            )
            + f"; expected {', '.join(wanted)}"
            + "".join(f", perhaps {name}" for name in optional)
        )
    return working([tensors[name] for name in wanted], path)


def working(tensors: Iterable[Any], path: Path) -> list[Tensor]:
    """Tensors in one precision: the widest of theirs, float32 at least. Integers and half precision are exact in it."""
    found = list(tensors)
    if not all(isinstance(value, Tensor) for value in found):
        raise ValueError(f"{path}: not all of its entries are tensors; restore it from a copy")
    if wrong := next((value.dtype for value in found if value.is_complex()), None):
        raise ValueError(f"{path}: holds {str(wrong).removeprefix('torch.')} numbers; expected real ones")
    dtype = torch.float64 if any(value.dtype == torch.float64 for value in found) else torch.float32
    return [value.detach().to(dtype) for value in found]


def get(config: Mapping[str, Any], key: str, kind: Any, path: Path) -> Any:
    """`config[key]` as `kind` ("a.b" looks into a). Raises ValueError naming file, key and kind."""
    value: Any = config
    try:
        for part in key.split("."):
            value = value[part]
        return converted(value, kind, key)
    except (KeyError, TypeError, ValueError) as error:
        given = f"it is {value!r}" if isinstance(error, ValueError) else "it is not there"
        name = getattr(kind, "__name__", str(kind))
        raise ValueError(f"{path}: expected {key} to be {name}; {given}. Restore the file from a copy") from None
