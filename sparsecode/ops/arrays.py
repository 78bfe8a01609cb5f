"""Checks of arrays and tensors: supported kinds, and shared memory."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["array_of", "matrix", "native", "overlap", "overlaps_itself"]

PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ENTRIES = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def matrix(name: str, value: Any) -> Any:
    """`value` as a plain array or tensor of floating-point numbers with two axes; TypeError or ValueError otherwise."""
    array = array_of(name, value)
    if array.ndim != 2:
        raise ValueError(
            f"{name} has shape {tuple(array.shape)}; expected two axes, [n_samples, n_features]-like "
            f"(one row: {name}[None])"
        )
    return array


def array_of(name: str, value: Any) -> Any:
    """`value` as a plain array or tensor of floating-point numbers of any shape.

    Data frames, and whatever else NumPy can view as an array, become arrays. Raises TypeError for what is no dense array of
    float16, bfloat16 (torch), float32 or float64.
    """
    return _dense(name, value) if isinstance(value, Tensor) else _plain(name, value)


def _plain(name: str, value: Any) -> NDArray[Any]:
    kind = type(value).__name__
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} is a sparse {kind}; expected a dense array: pass {name}.toarray()")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; expected one without a mask: fill it first ({name}.filled(0))")
    if isinstance(value, np.matrix):
        raise TypeError(f"{name} is a numpy.matrix; expected an array: pass numpy.asarray({name})")
    if not isinstance(value, np.ndarray) and not hasattr(value, "__array__"):
        raise TypeError(f"{name} is a {kind}; expected a NumPy array or a torch tensor")
    array = cast("NDArray[Any]", value if type(value) in (np.ndarray, np.memmap) else np.asarray(value))
    if array.dtype.kind != "f":
        raise TypeError(f"{name} has dtype {array.dtype}; expected a floating-point type: convert it to float32 first")
    if array.dtype.itemsize > 8:
        raise TypeError(f"{name} has dtype {array.dtype}; float64 is the widest that can be solved: convert it first")
    return array


def _dense(name: str, value: Tensor) -> Tensor:
    if value.is_nested:
        raise TypeError(f"{name} is a nested tensor; expected rows of one length: pad them")
    if value.layout != torch.strided:
        layout = str(value.layout).removeprefix("torch.")
        raise TypeError(f"{name} has layout {layout}; expected a dense tensor: pass {name}.to_dense()")
    if value.is_quantized:
        raise TypeError(f"{name} is quantized; expected floating-point numbers: pass {name}.dequantize()")
    if value.device.type == "meta":
        raise TypeError(f"{name} is on the device 'meta' and holds no data; expected a tensor in memory")
    if value.dtype not in PRECISIONS:
        expected = (
            "a floating-point type" if not value.dtype.is_floating_point else "float16, bfloat16, float32 or float64"
        )
        raise TypeError(f"{name} has dtype {value.dtype}; expected {expected}: convert it to float32 first")
    return value.resolve_neg()


def native(array: Any) -> Any:
    """A copy in this machine's byte order and with positive strides (torch knows no others); tensors as they are."""
    return array.astype(array.dtype.newbyteorder("=")) if isinstance(array, np.ndarray) else array


def overlap(a: Any, b: Any) -> bool:
    """Whether two arrays or tensors share an entry; of those not on the CPU, whether one lies within the other's bounds."""
    one, other = _view(a), _view(b)
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        if isinstance(one, Tensor) != isinstance(other, Tensor) or a.device != b.device:
            return False
        (start, end), (first, last) = _bounds(a), _bounds(b)
        return start < last and first < end
    return np.shares_memory(one, other)


def overlaps_itself(array: Any) -> bool:
    """Whether an array or tensor with two axes may have two entries in one place, as expanded and sliding views do."""
    strides = array.stride() if isinstance(array, Tensor) else [stride // array.itemsize for stride in array.strides]
    axes = sorted((abs(stride), n) for stride, n in zip(strides, array.shape, strict=True) if n > 1)
    covered = 1
    for stride, n in axes:
        if stride < covered:
            return True
        covered = stride * n
    return False


def _view(a: Any) -> Any:
    """A tensor on the CPU as an array of its memory."""
    return a.detach().view(ENTRIES[a.element_size()]).numpy() if isinstance(a, Tensor) and a.device.type == "cpu" else a


def _bounds(a: Tensor) -> tuple[int, int]:
    if not a.numel():
        return 0, 0
    reach = sum((n - 1) * stride for n, stride in zip(a.shape, a.stride(), strict=True))
    return a.data_ptr(), a.data_ptr() + (reach + 1) * a.element_size()
