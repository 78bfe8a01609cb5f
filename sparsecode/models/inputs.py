"""What a model's public functions take: torch tensors, or NumPy arrays, which give NumPy arrays back."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.ops.arrays import array_of, native

if TYPE_CHECKING:
    from sparsecode.models.base import AbstractSparseModel

__all__ = ["takes_codes", "takes_samples"]

M = TypeVar("M", bound="AbstractSparseModel")
A = TypeVar("A", NDArray[Any], Tensor)


def takes_samples(method: Callable[[M, Tensor], Tensor]) -> Callable[[M, A], A]:
    """A method of samples x: tensors [n, *F] or [n, n_features] of the model's dtype and device, or NumPy arrays.

    Arrays of any floating-point type are converted, and the result is an array then. Raises TypeError for other kinds and
    dtypes, and ValueError for other shapes, other devices, NaN and infinity.
    """

    @wraps(method)
    def checked(self: M, x: Any) -> Any:
        n_features = math.prod(self.shape)
        like, value = _reference(self), array_of("x", x)
        shape = tuple(value.shape)
        if len(shape) < 2 or shape[1:] not in (self.shape, (n_features,)):
            batch = " or ".join(
                str(["n", *part]).replace("'", "") for part in dict.fromkeys([self.shape, (n_features,)])
            )
            one = " (one sample: x[None])" if shape in (self.shape, (n_features,)) else ""
            raise ValueError(f"x has shape {shape}; expected {batch}{one}")
        return _result(method(self, _tensor("x", value, like)), value)

    return checked


def takes_codes(method: Callable[[M, Tensor], Tensor]) -> Callable[[M, A], A]:
    """A method of codes z [n, n_code]: as `takes_samples` of samples."""

    @wraps(method)
    def checked(self: M, z: Any) -> Any:
        like, value, n_code = _reference(self), array_of("z", z), self.n_code
        if value.ndim != 2 or value.shape[1] != n_code:
            one = " (one code: z[None])" if tuple(value.shape) == (n_code,) else ""
            raise ValueError(f"z has shape {tuple(value.shape)}; expected [n, {n_code}]{one}")
        return _result(method(self, _tensor("z", value, like)), value)

    return checked


def _reference(model: AbstractSparseModel) -> Tensor:
    """A weight, for its dtype and device."""
    first = next(model.parameters(), None)
    return first if first is not None else next(b for b in model.buffers() if b.ndim and b.is_floating_point())


def _tensor(name: str, value: Any, like: Tensor) -> Tensor:
    word = str(like.dtype).removeprefix("torch.")
    if isinstance(value, Tensor):
        if value.dtype != like.dtype:
            raise TypeError(
                f"{name} has dtype {value.dtype} and the model computes in {word}; expected the same: pass {name}.to({like.dtype})"
            )
        if value.device != like.device:
            raise ValueError(
                f"{name} is on {value.device} and the model on {like.device}; expected one device: pass "
                f"{name}.to({str(like.device)!r})"
            )
        tensor = value
    else:
        tensor = torch.as_tensor(native(value)).to(like)
    finite = tensor.isfinite()
    if not bool(finite.all()):
        row = int(finite.flatten(1).all(dim=1).int().argmin())
        raise ValueError(
            f"{name} contains NaN, infinity or values beyond {word}, first in row {row}; expected finite values"
        )
    return tensor


def _result(found: Tensor, given: Any) -> Any:
    if not isinstance(given, np.ndarray):
        return found
    found = found.detach().cpu()
    return (found.float() if found.dtype == torch.bfloat16 else found).numpy()
