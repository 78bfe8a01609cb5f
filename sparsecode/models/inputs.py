"""Argument handling of a model's public functions: torch tensors, or NumPy arrays, for which NumPy arrays are returned."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.ops.arrays import array_of, native

if TYPE_CHECKING:
    from sparsecode.models.base import AbstractSparseModel

__all__ = ["refuse_not_finite", "takes_codes", "takes_samples"]

M = TypeVar("M", bound="AbstractSparseModel")
A = TypeVar("A", NDArray[Any], Tensor)


def takes_samples(method: Callable[[M, Tensor], Tensor]) -> Callable[[M, A], A]:
    """Decorate a method of samples x: tensors [..., *F] or [..., n_features] of the model's dtype and device, or NumPy arrays.

    The method gets x with one leading axis; its result has those of x. Arrays of any floating-point type are converted, and
    the result is an array then, computed without gradients. Raises TypeError for other kinds and dtypes, and ValueError for
    other shapes, other devices, NaN and infinity.
    """

    @wraps(method)
    def checked(self: M, x: Any) -> Any:
        flat = (math.prod(self.shape),)
        value = array_of("x", x)
        shape = tuple(value.shape)
        sample = next((f for f in (self.shape, flat) if len(shape) > len(f) and shape[-len(f) :] == f), None)
        if sample is None:
            batch = " or ".join(str(["n", *part]).replace("'", "") for part in dict.fromkeys([self.shape, flat]))
            one = " (one sample: x[None])" if shape in (self.shape, flat) else ""
            raise ValueError(f"x has shape {shape}; expected {batch}{one}")
        return _called(partial(method, self), "x", value, sample, _reference(self))

    return checked


def takes_codes(method: Callable[[M, Tensor], Tensor]) -> Callable[[M, A], A]:
    """Decorate a method of codes z [..., n_code], as `takes_samples` does one of samples."""

    @wraps(method)
    def checked(self: M, z: Any) -> Any:
        value, n_code = array_of("z", z), self.n_code
        if value.ndim < 2 or value.shape[-1] != n_code:
            one = " (one code: z[None])" if tuple(value.shape) == (n_code,) else ""
            raise ValueError(f"z has shape {tuple(value.shape)}; expected [n, {n_code}]{one}")
        return _called(partial(method, self), "z", value, (n_code,), _reference(self))

    return checked


def _called(run: Callable[[Tensor], Tensor], name: str, value: Any, sample: tuple[int, ...], like: Tensor) -> Any:
    """`run` of the rows of `value`, whose trailing axes are `sample`, as a tensor that fits the weight `like`."""
    rows = _tensor(name, value, like)
    lead = tuple(value.shape[: -len(sample)])
    if len(lead) > 1:
        rows = rows.reshape(math.prod(lead), *sample)
    if not torch.compiler.is_compiling():  # a traced graph cannot depend on values
        refuse_not_finite(name, rows, lead)
    if isinstance(value, Tensor):
        result = run(rows)
        return result if len(lead) == 1 else result.reshape(*lead, *result.shape[1:])
    with torch.no_grad():
        result = run(rows).cpu()
    result = result.float() if result.dtype == torch.bfloat16 else result  # NumPy has no bfloat16
    return result.reshape(*lead, *result.shape[1:]).numpy()


def refuse_not_finite(name: str, rows: Tensor, lead: tuple[int, ...]) -> None:
    """Raise ValueError if any of the rows, numbered by the axes `lead`, contains NaN or infinity."""
    if not rows.numel() or all(
        bool(end.isfinite()) for end in torch.aminmax(rows)
    ):  # a tenth of the time of the next line
        return
    finite = rows.isfinite()
    first = torch.unravel_index(finite.flatten(1).all(dim=1).int().argmin(), lead)
    row = ", ".join(str(int(i)) for i in first)
    word = str(rows.dtype).removeprefix("torch.")
    raise ValueError(
        f"{name} contains NaN, infinity or values beyond {word}, first in row {row}; expected finite values"
    )


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
    return tensor
