"""The user's own arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.data.splits import Splits, permuted_splits
from sparsecode.specs import Spec

__all__ = ["Arrays", "read_array"]

Share = Annotated[float, Meta(gt=0, lt=1)]


class Arrays(Spec, tag="arrays"):
    """Samples [N, *F] from a `.npy` file or one array of a `.npz` file, split at random by `seed`.

    The range for pictures and PSNR is that of the training samples.
    """

    path: Annotated[str, Meta(min_length=1, description="the .npy or .npz file")]
    key: Annotated[str | None, Meta(description="array in the .npz file; not needed if it holds one")] = None
    valid: Annotated[Share, Meta(description="share of the samples for validation")] = 0.1
    test: Annotated[Share, Meta(description="share of the samples for test")] = 0.1
    seed: int = 0

    def load(self) -> Splits:
        x = read_array(self.path, self.key)
        n_valid, n_test = int(self.valid * len(x)), int(self.test * len(x))
        n_train = len(x) - n_valid - n_test
        if min(n_train, n_valid, n_test) < 1:
            raise ValueError(
                f"{self.path}: {len(x)} samples cannot be split into {1 - self.valid - self.test:.0%} train, "
                f"{self.valid:.0%} valid, {self.test:.0%} test; expected at least one sample in each"
            )
        splits = permuted_splits(x, None, (n_train, n_valid), self.seed, 0.0, 1.0)
        low, high = float(splits.train.x.min()), float(splits.train.x.max())
        if low == high:
            raise ValueError(f"{self.path}: all training values are {low:g}; expected data that vary")
        return splits._replace(low=low, high=high)


def read_array(path: str | Path, key: str | None = None) -> NDArray[np.float32]:
    """Samples [N, *F] as float32 from a `.npy` or `.npz` file; integers are converted, pickles refused.

    Raises FileNotFoundError, or ValueError naming the file for other formats, a missing or ambiguous key,
    fewer than two axes, no samples, complex or text values, NaN and infinity.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a .npy or .npz file")
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded as archive:
                array = np.asarray(archive[_choose(path, archive.files, key)])
        else:
            array = np.asarray(loaded)
    except (BadZipFile, EOFError, KeyError) as error:
        raise ValueError(f"{path}: damaged or cut short ({error})") from None
    except ValueError as error:
        raise ValueError(
            str(error) if str(path) in str(error) else f"{path}: not a .npy or .npz file ({error})"
        ) from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}: values of type {array.dtype}; expected real numbers")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{path}: shape {array.shape}; expected [n_samples, ...features], none of them 0")
    array = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{path}: {int((~finite).sum())} samples with NaN or infinity, first in row {int(np.argmin(finite))}"
        )
    return array


def _choose(path: Path, names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        given = "no key is given" if key is None else f"there is no {key!r}"
        raise ValueError(f"{path}: holds {', '.join(names)}, and {given}; set `key` to one of them")
    return key
