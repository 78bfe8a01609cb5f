"""Tensors of other libraries: no code in a file is run, no size announced in it is believed."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sparsecode.data.numpy_files import read_npz as arrays_of
from sparsecode.files import absent, save_atomic, write_atomic
from sparsecode.interop.readers import shown

__all__ = [
    "load_torch",
    "names_in_torch",
    "read_npz",
    "read_safetensors",
    "save_torch",
    "take",
    "unwrapped",
    "whole",
    "working",
    "write_safetensors",
]

MATRICES = (
    "W_enc", "W_dec", "W_skip", "encoder.weight", "decoder.weight", "w_enc", "w_dec", "affine_skip_connection", "matrix",
    "inverse_matrix", "layer1.weight", "layer2.weight", "W.weight", "S.weight",
)  # fmt: skip
WRAPPERS = ("module.", "model.", "sae.", "ae.", "autoencoder.", "dictionary.")  # of DataParallel, Lightning and others
COMPILED = "_orig_mod."  # torch.compile puts it before the names of what it wraps


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises FileNotFoundError or ValueError naming the file."""
    if not path.is_file():
        raise FileNotFoundError(absent(path, "a .safetensors file"))
    try:
        return load(path.read_bytes())
    except (SafetensorError, KeyError, AttributeError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: damaged or cut short ({error}); restore it from a copy") from None


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Tensors as a safetensors file, whole or not at all."""
    write_atomic(path, save({name: value.contiguous() for name, value in tensors.items()}), checked=True)


def read_npz(path: Path) -> dict[str, Tensor]:
    """All arrays of an .npz file by their names in lower case; it may hold numbers alone (object arrays are pickles)."""
    try:
        arrays = arrays_of(path)
        loaded = {name.lower(): torch.from_numpy(array) for name, array in arrays.items()}
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: not an .npz file of plain numbers ({error}); pickled objects are never loaded, save arrays of floats"
        ) from None
    if len(loaded) < len(arrays):
        raise ValueError(f"{path}: {', '.join(arrays)}; expected names that differ by more than capitals")
    return loaded


def load_torch(path: Path, mapped: bool = False) -> dict[str, Any]:
    """The dictionary in a `torch.save` file, tensors on the CPU. `mapped`: left on disk, for a look at the names.

    Only tensors and plain containers are unpickled. Raises ValueError naming the file if there is anything else in it,
    which might be code, if it is damaged or compressed, and for tensors that are not plain blocks of stored numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(absent(path, "a file that torch.save wrote"))
    try:
        if zipped := zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                    raise ValueError("compressed, which torch.save never does")
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipped)
    except (
        pickle.UnpicklingError, RuntimeError, EOFError, LookupError, AttributeError, ValueError, TypeError,
        AssertionError, ArithmeticError, MemoryError, struct.error, zipfile.BadZipFile, OSError,
    ) as error:  # fmt: skip
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path}: damaged, or more than tensors and plain values in it, which could run code and is never loaded "
            f"({reason}); save its state_dict() alone"
        ) from None
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise ValueError(f"{path}: holds a {type(loaded).__name__}; expected a dictionary of tensors (a state_dict)")
    return loaded


def names_in_torch(path: Path) -> set[str]:
    """The keys in a `torch.save` file, without the prefixes of wrappers; none if it cannot be loaded."""
    try:
        return set(unwrapped(load_torch(path, mapped=True), path))
    except ValueError:
        return set()


def save_torch(path: Path, value: Mapping[str, Any]) -> None:
    """Write a dictionary of tensors and plain values as `torch.save` does."""

    def write(file: BytesIO) -> None:
        torch.save(dict(value), file)

    save_atomic(path, write, checked=True)


def unwrapped(loaded: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A state dict without what compiled, parallel and wrapped modules put before every name.

    A dictionary whose entry `state_dict` or `model_state_dict` is one is opened. Raises ValueError if two names become one.
    """
    for outer in ("state_dict", "model_state_dict"):
        if isinstance(inner := loaded.get(outer), dict):
            loaded = inner
    names = {name: str(name).replace(COMPILED, "") for name in loaded}
    while prefix := next((p for p in WRAPPERS if names and all(n.startswith(p) for n in names.values())), None):
        names = {name: new.removeprefix(prefix) for name, new in names.items()}
    if len(set(names.values())) < len(names):
        raise ValueError(
            f"{path}: the same tensor stands in it with and without {COMPILED}; save its state_dict() alone"
        )
    return {new: loaded[name] for name, new in names.items()}


def take(
    tensors: Mapping[str, Any], required: Iterable[str], path: Path, optional: Iterable[str] = ()
) -> dict[str, Tensor]:
    """The `required` tensors in `working` precision, in this order.

    Raises ValueError naming the file if one is missing or has not the expected number of dimensions, or if there is one
    more that is not `optional`.
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
    return working({name: tensors[name] for name in wanted}, path)


def working(tensors: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Tensors in one precision: the widest of theirs, float32 at least, in which half precision and float8 are exact.
    Single numbers are float64.

    Raises ValueError naming file and tensor for integers (quantised weights, whose scale is not known), complex numbers,
    sparse or quantised layouts, and tensors that announce more numbers than are stored.
    """
    dtype = torch.float32
    for name, value in tensors.items():
        _check_stored(name, value, path)
        if not value.is_floating_point():
            raise ValueError(
                f"{path}: {name} holds {str(value.dtype).removeprefix('torch.')}; expected floating-point numbers. Multiply "
                "quantised weights by their scale, and save floats"
            )
        expected = (2,) if name in MATRICES else (0, 1)
        if value.ndim not in expected:
            kind = "a matrix" if name in MATRICES else "a vector or one number"
            raise ValueError(f"{path}: {name} has shape {list(value.shape)}; expected {kind}")
        if value.ndim and value.itemsize > 1:  # a single number keeps its digits, and decides for no other
            dtype = torch.promote_types(dtype, value.dtype)
    try:
        return {name: value.detach().to(dtype if value.ndim else torch.float64) for name, value in tensors.items()}
    except (RuntimeError, NotImplementedError) as error:  # packed kinds of 4 bits
        raise ValueError(f"{path}: numbers of a kind that is not read ({error}); save float16 or float32") from None


def whole(value: Any, name: str, path: Path) -> list[int]:
    """The whole numbers in a tensor, as a list. Raises ValueError naming file and tensor if it holds anything else."""
    _check_stored(name, value, path)
    numbers: list[Any] = value.detach().reshape(-1).tolist() if value.ndim <= 1 else [None]
    if not all(isinstance(n, int | float) and abs(n) < 2**53 and n == int(n) for n in numbers):
        raise ValueError(f"{path}: {name} is {shown(numbers)}; expected whole numbers")
    return [int(n) for n in numbers]


def _check_stored(name: str, value: Any, path: Path) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{path}: {name} is a {type(value).__name__}; expected a tensor. Save its state_dict() alone")
    if value.layout != torch.strided or value.is_quantized or value.is_nested or value.device.type == "meta":
        raise ValueError(f"{path}: {name} is sparse, quantised, nested or empty of data; save it as a dense tensor")
    if value.numel() * value.itemsize > value.untyped_storage().nbytes():
        raise ValueError(
            f"{path}: {name} announces {value.numel()} numbers and stores fewer; save a contiguous copy of it"
        )
