"""Which of several recorded sites samples and targets are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecode.data.shard_index import LABEL, ShardSite
from sparsecode.records import Batch

__all__ = ["Chosen", "chosen_sites"]


class Chosen(NamedTuple):
    """The sites that samples are made of, and the one that is predicted; whether rows have class labels."""

    x: tuple[ShardSite, ...]
    target: ShardSite | None = None
    labelled: bool = False

    @property
    def all(self) -> tuple[ShardSite, ...]:
        return self.x if self.target is None else (*self.x, self.target)

    @property
    def span(self) -> tuple[float, float]:
        """The range of the values that a model predicts."""
        of = self.x if self.target is None else (self.target,)
        return min(site.span[0] for site in of), max(site.span[1] for site in of)

    def empty(self, rows: int, dtype: torch.dtype, device: torch.device | None = None) -> dict[str, Tensor]:
        """Room for so many rows: a tensor for each of `all`, and for the labels."""
        room = {site.name: torch.empty(rows, *site.shape, dtype=dtype, device=device) for site in self.all}
        return room | ({LABEL: torch.empty(rows, dtype=torch.int64)} if self.labelled else {})

    def batch(self, rows: Mapping[str, Tensor]) -> Batch:
        """x [B, *F], or [B, sites, *F] of several, the target and the labels, from tensors as `empty` gives them."""
        x = [rows[site.name] for site in self.x]
        target = None if self.target is None else rows[self.target.name]
        return Batch(x[0] if len(x) == 1 else torch.stack(x, dim=1), target, rows.get(LABEL))

    def described(self) -> str:
        """The data that fingerprints distinguish."""
        if self.target is None and len(self.x) == 1:
            return str(self.x[0].shape)
        return " ".join(f"{site.name} {site.shape}" for site in self.x) + f" > {self.target and self.target.name}"


def chosen_sites(
    there: Sequence[ShardSite], sites: tuple[str, ...], target: str | None, source: str, labelled: bool = False
) -> Chosen:
    """The sites that samples and targets are made of, by name; without `sites`, samples are of all but the target.

    Raises ValueError naming the `source` for names that are not there or given twice, and for samples of sites whose shapes differ.
    """
    known = {site.name: site for site in there}
    for field, name in [*(("sites", name) for name in sites), *([("target", target)] if target else [])]:
        if name not in known:
            raise ValueError(f"{field}: {source} has no site {name!r}; choose from {', '.join(known)}")
    if repeated := [name for name in (*sites, target) if (*sites, target).count(name) > 1]:
        raise ValueError(f"sites and target name {repeated[0]!r} more than once; expected each site in one place")
    x = tuple(known[name] for name in sites or known if name != target)
    if not x:
        raise ValueError(f"target is {target!r}, the only site in {source}; extract a second one to predict it from")
    if len({site.shape for site in x}) > 1:
        shapes = ", ".join(f"{site.name} {list(site.shape)}" for site in x)
        raise ValueError(f"sites of different shapes make no sample: {shapes} in {source}; choose some with `sites`")
    return Chosen(x, None if target is None else known[target], labelled)
