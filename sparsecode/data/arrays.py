"""Arrays of the user as a data source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.numpy_files import read_npy, read_npz
from sparsecode.data.splits import Splits, permuted_splits, sizes_of_shares
from sparsecode.specs import Count, Seed, Spec

__all__ = ["Arrays", "Share", "read_array"]

Share = Annotated[float, Meta(gt=0, lt=1)]


class Arrays(Spec, tag="arrays"):
    """Samples [N, *F] from a `.npy` file or one array of a `.npz` file, split at random by `seed`.

    Successive samples that belong together (the tokens of a span, the frames of a film) go to one split if `block` is
    their number; the last block may be shorter. The range for pictures and PSNR is that of the training samples.
    Numbers of any type, float16 among them, become float32. With a target [N, *G], row i of it is to be predicted from
    row i of the samples, and the range is the target's.
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
        x = read_array(self.path, self.key)
        what = "samples" if self.block == 1 else f"blocks of {self.block} samples"
        sizes = sizes_of_shares(-(-len(x) // self.block), self.valid, self.test, self.path, what)
        target = self._target(len(x))
        splits = permuted_splits(x, None, sizes[:2], self.seed, 0.0, 1.0, self.block, target)
        for part, what in ((splits.train.x, ""), (splits.train.target, ": targets")):
            if part is not None and bool((part == part.flatten()[0]).all()):
                value = float(part.flatten()[0])
                raise ValueError(f"{self.path}{what}: all training values are {value:g}; expected data that vary")
        low, high = splits.target_span()
        return splits._replace(low=low, high=high)

    def _target(self, n: int) -> NDArray[np.float32] | None:
        """The targets of n samples. Raises ValueError for another number of them, and what `read_array` raises."""
        if self.target is None and self.target_key is None:
            return None
        path = Path(self.path) if self.target is None else Path(self.path).parent / self.target
        target = read_array(path, self.target_key)
        if len(target) != n:
            raise ValueError(f"{path}: {len(target)} targets, and {n} samples in {self.path}; expected one for each")
        return target


def read_array(path: str | Path, key: str | None = None) -> NDArray[np.float32]:
    """Samples [N, *F] as float32 from a `.npy` or `.npz` file; integers are converted, pickles refused.

    Raises FileNotFoundError, or ValueError naming the file for other formats, a missing or ambiguous key,
    fewer than two axes, no samples, complex or text values, NaN and infinity.
    """
    path = Path(path)
    array = read_npy(path)
    if array is None:
        (array,) = read_npz(path, lambda names: [_choose(path, names, key)]).values()
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}: values of type {array.dtype}; expected real numbers")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{path}: shape {array.shape}; expected [n_samples, ...features], none of them 0")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported below
        array = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{path}: {int((~finite).sum())} samples with NaN, infinity or values beyond float32, first in row {int(np.argmin(finite))}"
        )
    return array


def _choose(path: Path, names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        given = "no key is given" if key is None else f"there is no {key!r}"
        raise ValueError(f"{path}: holds {', '.join(names) or 'no arrays'}, and {given}; set `key` to one of them")
    return key
