"""Missing entries of samples: which ones are observed, and weights of samples; checks of the arguments that say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["checked_mask", "checked_missing", "checked_weight", "filled"]


def checked_missing(missing: Any) -> bool:
    """Whether NaN marks a missing entry. Raises ValueError for words that are not known."""
    if missing not in (None, "nan"):
        raise ValueError(
            f"missing is {missing!r}; expected 'nan' (NaN entries of x are missing) or None (they are refused)"
        )
    return missing is not None


def checked_mask(mask: Any, x: Any) -> Any:
    """`mask` as an array or tensor of bool of the shape of x, or None. TypeError or ValueError otherwise."""
    if mask is None:
        return None
    plain = mask if isinstance(mask, Tensor | np.ndarray) else np.asarray(mask)
    if plain.dtype not in (torch.bool, np.bool_):
        raise TypeError(
            f"mask has dtype {plain.dtype}; expected bool, True where x is observed: pass mask.astype(bool)"
        )
    if tuple(plain.shape) != tuple(x.shape):
        raise ValueError(
            f"mask has shape {tuple(plain.shape)}; expected that of x, [n_samples, n_features] = {tuple(x.shape)}"
        )
    return plain


def checked_weight(sample_weight: Any, x: Any, zeros: bool = False) -> NDArray[np.float64] | None:
    """`sample_weight` as an array of one number >= 0 per row of x, not all 0 unless `zeros`, or None. ValueError otherwise."""
    if sample_weight is None:
        return None
    weight = sample_weight.detach().cpu().numpy() if isinstance(sample_weight, Tensor) else np.asarray(sample_weight)
    if weight.dtype.kind not in "fiub":
        raise TypeError(f"sample_weight has dtype {weight.dtype}; expected real numbers")
    if weight.shape != (len(x),):
        raise ValueError(f"sample_weight has shape {weight.shape}; expected one number per row of x, [{len(x)}]")
    weight = weight.astype(np.float64)
    bad = ~((weight >= 0) & np.isfinite(weight))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"sample_weight is {weight[row]:g} in row {row}; expected finite numbers >= 0")
    if len(weight) and not zeros and not weight.any():
        raise ValueError("sample_weight is 0 in all rows; expected a number > 0 in one at least")
    return weight


def filled(rows: Tensor, mask: Any, nan_is_missing: bool) -> tuple[Tensor, Tensor | None]:
    """Rows with 0 in place of missing entries, and where they are observed; None if everywhere."""
    if mask is None and not nan_is_missing:
        return rows, None
    observed = torch.ones_like(rows, dtype=torch.bool) if mask is None else torch.as_tensor(mask).to(rows.device)
    if nan_is_missing:
        observed = observed & ~rows.isnan()
    return (rows, None) if bool(observed.all()) else (rows.masked_fill(~observed, 0), observed)
