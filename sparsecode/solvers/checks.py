"""Shared parts of functions that encode arrays: argument checks, and iteration over x in chunks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsecode.ops.arrays import matrix, native, overlap, overlaps_itself
from sparsecode.ops.csr import CSR, CSRRows
from sparsecode.ops.memory import require_memory
from sparsecode.solvers.observed import checked_mask, checked_missing, filled
from sparsecode.solvers.scaling import lost

__all__ = [
    "Problem",
    "above_zero",
    "like",
    "out_of_range",
    "prepare",
    "refuse_not_finite",
    "refuse_too_many",
    "tensor_like",
    "whole",
    "working_dtype",
]

CHUNK = 2048


class Problem(NamedTuple):
    """Samples, atoms in the dtype and on the device of the solver, and what receives the codes: an array, or `CSRRows`."""

    x: Any
    atoms: Tensor
    codes: Any
    chunk: int
    z0: Any
    mask: Any = None
    nan_is_missing: bool = False

    def chunks(self, progress: bool) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """The rows of x in turn, checked to be finite where they are observed, 0 elsewhere; and where that is, if not everywhere."""
        for start in _track(range(0, len(self.x), self.chunk), progress):
            part = slice(start, min(start + self.chunk, len(self.x)))
            rows = tensor_like(self.x[part], self.atoms)
            rows, observed = filled(rows, None if self.mask is None else self.mask[part], self.nan_is_missing)
            refuse_not_finite(rows, lambda row, start=start: f"row {row + start}")
            yield part, rows, observed

    def write(self, part: slice, z: Tensor) -> Tensor | None:
        """Store codes in `out`; returns a mask [b] of rows whose largest value is no normal number there, if any can be."""
        if isinstance(self.codes, CSRRows):
            stored = self.codes.append(z)
            return lost(z, stored) if stored.dtype.itemsize == 2 else None
        if isinstance(self.codes, Tensor):
            self.codes[part] = z
        else:
            with np.errstate(over="ignore", under="ignore"):
                self.codes[part] = z.numpy()
        half = self.codes.dtype.itemsize == 2
        return lost(z, torch.as_tensor(native(self.codes[part])).to(z.device)) if half else None

    def result(self) -> Any:
        """The codes, when all rows are written."""
        return self.codes.result() if isinstance(self.codes, CSRRows) else self.codes


def prepare(
    x: Any, D: Any, out: Any, chunk: int | None, z0: Any = None, mask: Any = None, missing: Any = None
) -> Problem:
    """Check samples `x` and `mask` [n, n_features], atoms `D` [n_code, n_features], and `out` and `z0` [n, n_code], if given."""
    x, given = matrix("x", x), matrix("D", D)
    mask, nan_is_missing = checked_mask(mask, x), checked_missing(missing)
    if not len(given):
        raise ValueError("D has no rows; expected at least one atom")
    if given.shape[1] != x.shape[1]:
        raise ValueError(
            f"D has {given.shape[1]} columns and x has {x.shape[1]}; expected as many: D is [n_code, n_features], "
            "one atom per row" + (" (did you pass D transposed?)" if len(given) == x.shape[1] else "")
        )
    device = x.device if isinstance(x, Tensor) else torch.device("cpu")
    refuse_too_many(len(given), working_dtype(x))
    atoms = torch.as_tensor(native(given)).to(device=device, dtype=working_dtype(x))
    if not bool(torch.isfinite(atoms).all()):
        wide = bool(torch.isfinite(torch.as_tensor(native(given))).all())
        raise ValueError(
            f"D has values beyond {_word(atoms)}, in which x is solved; rescale D or pass x as float64"
            if wide
            else "D contains NaN or infinity; expected finite atoms"
        )
    if given.dtype.itemsize > atoms.dtype.itemsize:
        gone = lost(torch.as_tensor(native(given)), atoms.cpu())
        if bool(gone.any()):
            raise ValueError(
                f"row {int(gone.int().argmax())} of D is too small for {_word(atoms)}, in which x is solved; expected values that "
                "it can hold: leave the row out, rescale D or pass x as float64"
            )
    chunk = CHUNK if chunk is None else whole("chunk", chunk)
    start = None if z0 is None else like("z0", z0, x, len(atoms))
    if isinstance(out, str) and out != CSR:
        raise ValueError(f"out is {out!r}; expected {CSR!r} or an array to write to")
    if out is None or isinstance(out, str):
        n_code, on = len(atoms), device if isinstance(x, Tensor) else None
        kept = (
            _empty(x, (len(x), n_code), x.dtype) if out is None else CSRRows(n_code, x.dtype if on else atoms.dtype, on)
        )
        return Problem(x, atoms, kept, chunk, start, mask, nan_is_missing)
    codes = like("out", out, x, len(atoms))
    if overlaps_itself(codes):
        raise ValueError("out has entries that share memory (an expanded or broadcast array); expected one of its own")
    for name, other in (("x", x), ("D", given), ("z0", start)):
        itself = name == "z0" and z0 is out  # each row is read before it is written
        if other is not None and not itself and overlap(codes, other):
            raise ValueError(f"out shares memory with {name}; expected an array of its own")
    return Problem(x, atoms, codes, chunk, start, mask, nan_is_missing)


def refuse_too_many(n_code: int, dtype: torch.dtype) -> None:
    """Raise ValueError if the Gram matrix of `n_code` atoms is larger than the memory of this machine."""
    require_memory(n_code * n_code * dtype.itemsize, f"the Gram matrix of {n_code} atoms", "expected fewer atoms")


def refuse_not_finite(rows: Tensor, name: Callable[[int], str], squares: bool = False) -> None:
    """Raise ValueError if a row of `rows` [b, n_features], or its `squares`, are not finite; `name(i)` is row i."""
    # A finite sum has finite terms only, and this one takes no second array; over all rows it may overflow, so look again.
    flat = rows.reshape(-1)
    if bool(torch.dot(flat, flat).isfinite()):
        return
    finite = rows.isfinite().all(dim=1)
    if not bool(finite.all()):
        bad = name(int(finite.int().argmin()))
        raise ValueError(
            f"x contains NaN or infinity, first in {bad}; expected finite samples (NaN for missing entries: pass missing='nan')"
            if bool(rows.isnan().any())
            else f"x contains infinity, first in {bad}; expected finite samples"
        )
    if not squares:
        return
    small = rows.square().sum(dim=1).isfinite()
    if not bool(small.all()):
        bad = name(int(small.int().argmin()))
        raise ValueError(f"x is too large for {_word(rows)}: squares of its values overflow, first in {bad}; rescale x")


def working_dtype(x: Any) -> torch.dtype:
    """The dtype of the solver for `x`: float64 for float64, else float32."""
    double = x.dtype == torch.float64 if isinstance(x, Tensor) else x.dtype.itemsize >= 8
    return torch.float64 if double else torch.float32


def tensor_like(rows: Any, atoms: Tensor) -> Tensor:
    """`rows` as a tensor of the dtype and device of `atoms`, of an array a copy: a read-only memory map cannot back one."""
    return torch.as_tensor(native(rows)).to(atoms)


def out_of_range(n: int, x: Any, fixed_step: bool) -> str:
    """The warning for `n` codes that overflowed or underflowed."""
    half, double = x.dtype.itemsize == 2, x.dtype.itemsize == 8
    remedy = "pass x as float32" if half else "rescale x or D" if double else "rescale x or D, or pass x as float64"
    return f"{n} of {len(x)} codes are beyond the range of {_word(x)}; {remedy}" + (
        ", or choose a shorter step_size" if fixed_step else ""
    )


def _word(array: Any) -> str:
    return str(array.dtype).removeprefix("torch.")


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
    if name == "out" and isinstance(value, Tensor) and value.requires_grad:
        raise ValueError("out requires gradients; expected a tensor that can be written in place: out.detach()")
    return matrix(name, value)


def above_zero(name: str, value: Any) -> float:
    """`value` as a float if it is a finite number > 0; ValueError otherwise."""
    number = value.item() if isinstance(value, np.generic | Tensor) and value.ndim == 0 else value
    try:
        number = float(number) if isinstance(number, int | float) and not isinstance(number, bool) else math.nan
    except OverflowError:  # an integer with more than 308 digits
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {_brief(value)}; expected a finite number > 0")
    return number


def whole(name: str, value: Any) -> int:
    """`value` as an int if it is a whole number >= 1; ValueError otherwise."""
    if not (isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1):
        raise ValueError(f"{name} is {_brief(value)}; expected a whole number >= 1")
    return int(value)


def _brief(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _track(starts: range, progress: bool) -> Any:
    if not progress:
        return starts
    from rich.progress import track

    return track(starts, description="encoding")
