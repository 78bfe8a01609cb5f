"""What the functions that encode arrays share: checks of their arguments, and the way through x chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Problem",
    "above_zero",
    "like",
    "matrix",
    "native",
    "prepare",
    "refuse_not_finite",
    "tensor_like",
    "whole",
    "working_dtype",
]

CHUNK = 2048


class Problem(NamedTuple):
    """Samples, atoms in the dtype and on the device they are solved in, and the array that receives the codes."""

    x: Any
    atoms: Tensor
    codes: Any
    chunk: int

    def chunks(self, progress: bool) -> Iterator[tuple[slice, Tensor]]:
        """The rows of x in turn, checked to be finite, and their squares too."""
        for start in _track(range(0, len(self.x), self.chunk), progress):
            part = slice(start, min(start + self.chunk, len(self.x)))
            rows = tensor_like(self.x[part], self.atoms)
            refuse_not_finite(rows, lambda row, start=start: f"row {row + start}")
            yield part, rows

    def write(self, part: slice, z: Tensor) -> None:
        """Put codes where they belong."""
        if isinstance(self.codes, Tensor):
            self.codes[part] = z
        else:
            self.codes[part] = z.numpy()


def prepare(x: Any, D: Any, out: Any, chunk: int | None) -> Problem:
    """Check samples `x` [n, n_features], atoms `D` [n_code, n_features] and `out` [n, n_code], if given."""
    x, atoms = matrix("x", x), matrix("D", D)
    if not len(atoms):
        raise ValueError("D has no rows; expected at least one atom")
    device = x.device if isinstance(x, Tensor) else "cpu"
    atoms = torch.as_tensor(native(atoms)).to(device=device, dtype=working_dtype(x))
    if atoms.shape[1] != x.shape[1]:
        raise ValueError(
            f"D has {atoms.shape[1]} columns and x has {x.shape[1]}; expected as many: D is [n_code, n_features], "
            "one atom per row" + (" (did you pass D transposed?)" if len(atoms) == x.shape[1] else "")
        )
    if not bool(torch.isfinite(atoms).all()):
        raise ValueError("D contains NaN or infinity; expected finite atoms")
    if not bool(atoms.square().sum(dim=1).isfinite().all()):
        raise ValueError(f"D is too large for {_word(atoms)}: squares of its values overflow; rescale D")
    chunk = CHUNK if chunk is None else whole("chunk", chunk)
    codes = _empty(x, (len(x), len(atoms)), x.dtype) if out is None else like("out", out, x, len(atoms))
    return Problem(x, atoms, codes, chunk)


def refuse_not_finite(rows: Tensor, name: Callable[[int], str]) -> None:
    """Raise ValueError if a row of `rows` [b, n_features] is not finite or its squares overflow; `name(i)` is row i."""
    # A finite sum has finite terms only, and this one takes no second array; over all rows it may overflow, so look again.
    flat = rows.reshape(-1)
    if bool(torch.dot(flat, flat).isfinite()):
        return
    finite, small = rows.isfinite().all(dim=1), rows.square().sum(dim=1).isfinite()
    if not bool(finite.all()):
        bad = name(int(finite.int().argmin()))
        raise ValueError(f"x contains NaN or infinity, first in {bad}; expected finite samples")
    if not bool(small.all()):
        bad = name(int(small.int().argmin()))
        raise ValueError(f"x is too large for {_word(rows)}: squares of its values overflow, first in {bad}; rescale x")


def matrix(name: str, value: Any) -> Any:
    """`value` if it is a floating-point array or tensor with two axes; TypeError or ValueError otherwise."""
    if not isinstance(value, np.ndarray | Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}; expected a NumPy array or a torch tensor")
    array = cast("NDArray[Any] | Tensor", value)
    if array.ndim != 2:
        raise ValueError(
            f"{name} has shape {tuple(array.shape)}; expected two axes, [n_samples, n_features]-like "
            f"(one row: {name}[None])"
        )
    floating = array.is_floating_point() if isinstance(array, Tensor) else array.dtype.kind == "f"
    if not floating:
        raise TypeError(f"{name} has dtype {array.dtype}; expected a floating-point type: convert it to float32 first")
    if isinstance(array, np.ndarray) and array.dtype.itemsize > 8:
        raise TypeError(f"{name} has dtype {array.dtype}; float64 is the widest that can be solved: convert it first")
    return array


def native(array: Any) -> Any:
    """A copy in this machine's byte order (torch knows no other); tensors as they are."""
    return array.astype(array.dtype.newbyteorder("=")) if isinstance(array, np.ndarray) else array


def working_dtype(x: Any) -> torch.dtype:
    """What `x` is solved in: float64 for float64, else float32."""
    double = x.dtype == torch.float64 if isinstance(x, Tensor) else x.dtype.itemsize >= 8
    return torch.float64 if double else torch.float32


def tensor_like(rows: Any, atoms: Tensor) -> Tensor:
    """A copy of `rows` as a tensor of the dtype and device of `atoms`: a read-only memory map cannot back one."""
    return torch.as_tensor(native(rows)).to(atoms)


def _word(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _empty(x: Any, shape: tuple[int, int], dtype: Any) -> Any:
    return x.new_empty(shape) if isinstance(x, Tensor) else np.empty(shape, dtype)


def like(name: str, value: Any, x: Any, n_code: int) -> Any:
    """`value` if it has the kind and dtype of `x` and the shape [n_samples, n_code]; TypeError or ValueError otherwise."""
    same_kind = isinstance(value, Tensor) == isinstance(x, Tensor) and isinstance(value, np.ndarray | Tensor)
    if not same_kind or value.dtype != x.dtype:
        given = f"{type(value).__name__} of dtype {getattr(value, 'dtype', '?')}"
        raise TypeError(f"{name} is a {given}; expected the kind and dtype of x: {type(x).__name__}, {x.dtype}")
    if tuple(value.shape) != (len(x), n_code):
        raise ValueError(f"{name} has shape {tuple(value.shape)}; expected [n_samples, n_code] = {(len(x), n_code)}")
    if name == "out" and isinstance(value, np.ndarray) and not value.flags.writeable:
        raise ValueError(
            "out is read-only; expected an array that can be written (a memory map opened with mode r+ or w+)"
        )
    return value


def above_zero(name: str, value: Any) -> float:
    """`value` as a float if it is a finite number > 0; ValueError otherwise."""
    number = value.item() if isinstance(value, np.generic | Tensor) and value.ndim == 0 else value
    if not (isinstance(number, int | float) and math.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {value!r}; expected a finite number > 0")
    return float(number)


def whole(name: str, value: Any) -> int:
    """`value` as an int if it is a whole number >= 1; ValueError otherwise."""
    if not (isinstance(value, int | np.integer) and value >= 1):
        raise ValueError(f"{name} is {value!r}; expected a whole number >= 1")
    return int(value)


def _track(starts: range, progress: bool) -> Any:
    if not progress:
        return starts
    from rich.progress import track

    return track(starts, description="encoding")
