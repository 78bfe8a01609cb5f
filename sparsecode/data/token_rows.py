"""Rows of a language model's outputs: which tokens are kept, and how large their rows are."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecode.data.text import TokenBatch
from sparsecode.data.tokens import Tokens

__all__ = ["RowChoice", "Sizes", "TokenRows", "largest_norms", "sizes_of", "successive", "token_rows"]

FEW_POSITIONS = 4  # of which one may well hold half of the energy
HALF = 0.5  # of the energy
FEW_FIRST = 8  # positions that may be skipped as a whole


class RowChoice(NamedTuple):
    """Which rows are kept: those of special tokens; those of the `skip_first` first positions, special tokens among them; those whose norm
    is at most `max_norm` medians; and how many successive tokens make a row."""

    keep_special: bool = False
    skip_first: int = 0
    max_norm: float | None = None
    window: int = 1

    def chosen(self, batch: TokenBatch) -> tuple[Tensor, dict[str, int]]:
        """The tokens [B, T] whose rows are kept, but for their norms; and how many are not, by the reason."""
        chosen = (batch.real if self.keep_special else batch.is_text).clone()
        left_out = {"special tokens": int(batch.real.sum() - chosen.sum())}
        if self.skip_first:
            left_out[self.skipped] = int(chosen[:, : self.skip_first].sum())
            chosen[:, : self.skip_first] = False
        return chosen, left_out

    @property
    def skipped(self) -> str:
        return "the first position" if self.skip_first == 1 else f"the first {self.skip_first} positions"


class Sizes(NamedTuple):
    """Of the rows of a hook point in some spans: the median of their norms, and the position with the largest share of their energy, the
    sum of squares; NaN and None without rows."""

    median: float
    position: int | None
    share: float


class TokenRows(NamedTuple):
    """Rows [n, *F] by site, the groups [n] that they belong to, their tokens, and how many rows were left out, by the reason."""

    sites: dict[str, Tensor]
    group: Tensor
    tokens: Tokens
    left_out: dict[str, int]


def token_rows(
    x: Mapping[str, Tensor], batch: TokenBatch, choice: RowChoice, most: Mapping[str, float] | None = None
) -> TokenRows:
    """The rows of outputs x [B, T, *F] of hook points that are chosen; `most` is the largest norm at each. A window has the token that it
    begins with.

    Raises ValueError naming a hook point whose output is not [B, T, *F].
    """
    _check(x, batch)
    chosen, left_out = choice.chosen(batch)
    sites, whole = successive(x, chosen, choice.window)
    span, column = whole.nonzero().unbind(1)
    if most is not None:
        kept = torch.ones(len(span), dtype=torch.bool)
        for name, rows in sites.items():
            kept &= (norms(rows) <= most[name if name in most else name.rpartition("+")[0]]).cpu()
        left_out[f"norms above {choice.max_norm:g} medians"] = int((~kept).sum())
        span, column = span[kept], column[kept]
        sites = {name: rows[kept.to(rows.device)] for name, rows in sites.items()}
    tokens = Tokens(batch.ids[span, column], column, batch.group[span], batch.place[span, column])
    return TokenRows(sites, batch.group[span], tokens, left_out)


def norms(rows: Tensor) -> Tensor:
    """Euclidean norms [n] of rows [n, *F], in float32."""
    return rows.float().flatten(1).norm(dim=1)


def successive(x: Mapping[str, Tensor], chosen: Tensor, window: int) -> tuple[dict[str, Tensor], Tensor]:
    """Rows [n, d] of x [B, T, d] for each hook point and each of `window` successive tokens, all of them `chosen` [B, T]; and
    which tokens [B, T - window + 1] they begin at. The site of the i-th token after the first is NAME+i.
    """
    stop = max(0, chosen.shape[1] - window + 1)
    whole = torch.stack([chosen[:, i : i + stop] for i in range(window)]).all(dim=0)
    sites = {
        f"{name}+{i}" if i else name: value[:, i : i + stop][whole.to(value.device)]
        for name, value in x.items()
        for i in range(window)
    }
    return sites, whole


def sizes_of(x: Mapping[str, Tensor], batch: TokenBatch, choice: RowChoice) -> dict[str, Sizes]:
    """How large the rows of each hook point are that are chosen, but for their norms."""
    _check(x, batch)
    chosen, _ = choice.chosen(batch)
    positions = chosen.nonzero()[:, 1]
    results: dict[str, Sizes] = {}
    for name, value in x.items():
        size = norms(value[chosen.to(value.device)]).double().cpu()
        energy = torch.zeros(chosen.shape[1], dtype=torch.float64).index_add_(0, positions, size.square())
        several = len(positions.unique()) >= FEW_POSITIONS
        share, position = energy.max(0) if several else (torch.tensor(math.nan), None)
        results[name] = Sizes(
            float(size.median()) if len(size) else math.nan,
            None if position is None else int(position),
            float(share) / max(float(energy.sum()), math.ulp(0.0)),
        )
    return results


def largest_norms(sizes: Mapping[str, Sizes], choice: RowChoice, option: str = "--") -> dict[str, float] | None:
    """The largest norm to keep at each hook point, None if there is no limit; a warning where one position holds most of the energy.

    `option`: what options begin with, in messages. Raises ValueError if the median is to be that of no rows.
    """
    for name, size in sizes.items():
        if size.position is not None and size.share > HALF and choice.max_norm is None:
            skip = f"{option}skip-first {size.position + 1} or " if size.position < FEW_FIRST else ""
            warnings.warn(
                f"{name}: position {size.position} holds {math.floor(1e4 * size.share) / 100:.2f} % of the energy (sum of squares) of the first batch, and "
                f"would be nearly all that a model learns; leave it out with {skip}{option}max-norm 10",
                stacklevel=3,
            )
    if choice.max_norm is None:
        return None
    if empty := [name for name, size in sizes.items() if math.isnan(size.median)]:
        raise ValueError(
            f"{empty[0]}: the first batch has no rows, of whose norms {option}max-norm takes the median; expected some: choose a larger "
            f"{option}batch-size"
        )
    return {name: choice.max_norm * size.median for name, size in sizes.items()}


def _check(x: Mapping[str, Tensor], batch: TokenBatch) -> None:
    for name, value in x.items():
        if value.ndim < 3 or value.shape[:2] != batch.is_text.shape:
            raise ValueError(
                f"hook_point {name!r}: gives shape {list(value.shape)} for {list(batch.is_text.shape)} spans and tokens; expected a row for each "
                f"token, {list(batch.is_text.shape)} and the shape of a row"
            )
