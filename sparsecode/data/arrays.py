"""Arrays of the user as a data source."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.numpy_files import NpyRows, map_npy, read_npy, read_npz
from sparsecode.data.splits import Splits, permuted_splits, sizes_of_shares
from sparsecode.data.tokens import Tokens, tokens_of_arrays
from sparsecode.specs import Count, Seed, Spec

__all__ = [
    "Arrays",
    "Share",
    "StoredArray",
    "checked_samples",
    "read_array",
    "read_tokens",
    "stored_array",
    "with_span",
]

TOKENS = ("token_ids", "position")  # names of arrays beside the activations of a language model
BLOCK = 2**25  # bytes of samples that are checked at a time

Share = Annotated[float, Meta(gt=0, lt=1)]


class Arrays(Spec, tag="arrays"):
    """Samples [N, *F] from a `.npy` file or one array of a `.npz` file, split at random by `seed`.

    Successive samples that belong together (the tokens of a span, the frames of a film) go to one split if `block` is
    their number; the last block may be shorter. The range for pictures and PSNR is that of the training samples.
    Numbers of any type, float16 among them, become float32. With a target [N, *G], row i of it is to be predicted from
    row i of the samples, and the range is the target's. A `.npz` file with whole numbers `token_ids` and `position` [N] beside the
    samples gives `Split.tokens`.
    """

    path: Annotated[str, Meta(min_length=1, description="the .npy or .npz file")]
    key: Annotated[str | None, Meta(description="array in the .npz file; not needed if it holds one")] = None
    valid: Annotated[Share, Meta(description="share of the samples for validation")] = 0.1
    test: Annotated[Share, Meta(description="share of the samples for test")] = 0.1
    seed: Seed = 0
    block: Annotated[Count, Meta(description="successive samples that stay in one split")] = 1
    target: Annotated[
        str | None,
        Meta(
            description="file of targets, looked for in the folder of `path`; not needed if they are in the same file"
        ),
    ] = None
    target_key: Annotated[str | None, Meta(description="array of targets in the .npz file")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        # The run must find the same file from wherever it is resumed.
        msgspec.structs.force_setattr(self, "path", str(Path(self.path).absolute()))

    def load(self) -> Splits:
        x = read_array(self.path, _of_archive(Path(self.path), self.key))
        what = "samples" if self.block == 1 else f"blocks of {self.block} samples"
        sizes = sizes_of_shares(-(-len(x) // self.block), self.valid, self.test, self.path, what)
        target = self._target(len(x))
        tokens = read_tokens(self.path, len(x))
        splits = permuted_splits(x, None, sizes[:2], self.seed, 0.0, 1.0, self.block, target, tokens)
        return with_span(self.path, splits)

    def _target(self, n: int) -> NDArray[np.float32] | None:
        """The targets of n samples. Raises ValueError for another number of them, and what `read_array` raises."""
        if self.target is None and self.target_key is None:
            return None
        path = Path(self.path) if self.target is None else Path(self.path).parent / self.target
        target = read_array(path, _of_archive(path, self.target_key))
        if len(target) != n:
            raise ValueError(f"{path}: {len(target)} targets, and {n} samples in {self.path}; expected one for each")
        return target


def with_span(path: str, splits: Splits) -> Splits:
    """The same with the range of the training targets or samples. Raises ValueError naming the file if they do not vary."""
    for part, what in ((splits.train.x, ""), (splits.train.target, ": targets")):
        if part is not None and bool((part == part.flatten()[0]).all()):
            value = float(part.flatten()[0])
            raise ValueError(f"{path}{what}: all training values are {value:g}; expected data that vary")
    low, high = splits.target_span()
    return splits._replace(low=low, high=high)


def read_tokens(path: str | Path, n: int) -> Tokens | None:
    """The tokens of n rows, where a `.npz` file holds whole numbers `token_ids` and `position` [n]; else None."""
    path = Path(path)
    if map_npy(path) is not None:
        return None
    try:
        arrays = read_npz(path, lambda names: [name for name in TOKENS if name in names])
    except ValueError:  # arrays of these names that are no numbers
        return None
    ids, position = map(arrays.get, TOKENS)
    return tokens_of_arrays(ids, position, n)


def read_array(path: str | Path, key: str | None = None) -> NDArray[np.float32]:
    """Samples [N, *F] as float32 from a `.npy` or `.npz` file; integers are converted, pickles refused.

    Raises FileNotFoundError, or ValueError naming the file for other formats, a missing or ambiguous key, a key for a `.npy` file,
    fewer than two axes, no samples, complex or text values, NaN and infinity.
    """
    path = Path(path)
    array = read_npy(path)
    if array is None:
        (array,) = read_npz(path, lambda names: [_choose(path, names, key)]).values()
    else:
        _refuse_key(path, key)
    return checked_samples(path, array)


def checked_samples(path: Path, array: NDArray[Any]) -> NDArray[np.float32]:
    """Samples [N, *F] as float32. Raises ValueError naming the file as `read_array` does."""
    _require_samples(path, array)
    array = _float32(array)
    finite = _finite(array)
    if not finite.all():
        raise ValueError(_not_finite(path, int((~finite).sum()), int(np.argmin(finite))))
    return array


class StoredArray(NamedTuple):
    """Samples [N, *F] of a file; float32 when they are asked for. Those of `.npy` files stay on disk."""

    shape: tuple[int, ...]
    span: tuple[float, float]
    sha256: str
    rows: Callable[[int, int], NDArray[np.float32]]


def stored_array(path: str | Path, key: str | None = None) -> StoredArray:
    """Samples as `read_array` checks them, in one pass over the file in bounded memory; least and largest value, and a hash of all."""
    path = Path(path)
    mapped = map_npy(path)
    if mapped is None:
        array = read_array(path, key)
        shape, rows = array.shape, lambda start, stop: array[start:stop]
    else:
        _refuse_key(path, key)
        _require_samples(path, mapped)
        shape, rows = mapped.shape, lambda start, stop: _float32(mapped.rows(start, stop))
    size = max(1, BLOCK // (4 * math.prod(shape[1:])))
    low, high, bad, first, hasher = math.inf, -math.inf, 0, 0, hashlib.sha256(str(shape).encode())
    for start in range(0, shape[0], size):
        part = rows(start, start + size)
        finite = _finite(part)
        first = first if bad else start + int(np.argmin(finite))
        bad += int((~finite).sum())
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        hasher.update(part.data)
    if bad:
        raise ValueError(_not_finite(path, bad, first))
    return StoredArray(shape, (low, high), hasher.hexdigest(), rows)


def _require_samples(path: Path, array: NDArray[Any] | NpyRows) -> None:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}: values of type {array.dtype}; expected real numbers")
    if len(array.shape) < 2 or not math.prod(array.shape):
        raise ValueError(f"{path}: shape {array.shape}; expected [n_samples, ...features], none of them 0")


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused
        return np.ascontiguousarray(array, dtype=np.float32)


def _finite(array: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(array).reshape(len(array), -1).all(axis=1))


def _not_finite(path: Path, count: int, first: int) -> str:
    return f"{path}: {count} samples with NaN, infinity or values beyond float32, first in row {first}"


def _of_archive(path: Path, key: str | None) -> str | None:
    """The key of an array in a `.npz` file; None for a `.npy` file: earlier versions stored a key beside one, and ignored it."""
    return None if map_npy(path) is not None else key


def _refuse_key(path: Path, key: str | None) -> None:
    if key is not None:
        raise ValueError(f"{path}: key is {key!r}, and a .npy file holds one array without a name; expected no key")


def _choose(path: Path, names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        given = "no key is given" if key is None else f"there is no {key!r}"
        raise ValueError(f"{path}: holds {', '.join(names) or 'no arrays'}, and {given}; set `key` to one of them")
    return key
