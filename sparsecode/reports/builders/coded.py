"""One pass over samples: their codes, the statistics of these, errors of outputs, and what each code contributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import rows_together
from sparsecode.evaluate.reconstruction.score import wanted_of
from sparsecode.evaluate.units.examples import Entries
from sparsecode.evaluate.units.feature_collection import CodedRows, RowBlock, class_count, collect_features
from sparsecode.evaluate.units.features import Features, FeatureSettings
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_gates, has_posterior
from sparsecode.reports.builders.additions import Additions

__all__ = ["Coded", "CoderUse", "coded_samples", "errors_of", "rows_shown"]

ENTRIES = 40_000_000  # active codes, after which no more samples are taken
GATHERED = 2**22  # numbers in products of active codes with their atoms

Doubles = NDArray[np.float64]


class CoderUse(NamedTuple):
    """How one coder uses the codes on n samples: `active` [n_code], on how many each is active; `l0` [n], how many are active on each;
    `gap` [n], duality gaps of the codes where they are defined.
    """

    active: NDArray[np.int64]
    l0: NDArray[np.int64]
    gap: Doubles | None


class Coded(NamedTuple):
    """Samples `split`, numbers `rows` [n] of the split that they are from, and what was computed on them.

    `features` are statistics and examples of units (see `Additions`); `entries` their active values, by sample. `errors` [n] of the
    output: squared, summed over features, in data space, or cross-entropy. `increase` [n_unit]: the sum over samples of how much
    the error grows if the unit is set to 0, where that is computed for every active value; else None. `gates` [n_code]: mean gate.
    The active values of sample i are entries `offsets[i]` to `offsets[i + 1]`.
    """

    split: Split
    rows: NDArray[np.int64]
    features: Features
    entries: Entries
    errors: Doubles
    increase: Doubles | None
    uses: dict[str, CoderUse]
    gates: Doubles | None
    offsets: NDArray[np.int64]

    @property
    def n(self) -> int:
        return len(self.rows)


def rows_shown(split: Split, most: int) -> Tensor | slice:
    """At most so many samples: all, or evenly spaced ones; the first ones where samples are tokens of texts, which belong together."""
    if split.n <= most:
        return slice(None)
    return slice(most) if split.tokens is not None else torch.linspace(0, split.n - 1, most).long()


@torch.no_grad()
def coded_samples(
    model: AbstractSparseModel,
    source: Split,
    additions: Additions,
    most: int,
    settings: FeatureSettings,
    report: Callable[[float], None] = lambda _: None,
    collected: Features | None = None,
) -> Coded:
    """Code at most `most` samples of a split by all coders of the model, and look at the codes of the first.

    Features of this coder and threshold that are `collected` already are taken if they are of the same samples.
    """
    chosen = rows_shown(source, most)
    split, rows = source.take(chosen), np.arange(source.n)[chosen if isinstance(chosen, slice) else chosen.numpy()]
    sums = _Sums(model, additions, settings.theta)
    blocks: list[RowBlock] = []
    total, done = 0, 0
    for start, part in split.chunks(rows_together(model.n_code)):
        entries = sums.update(part, start)
        label = None if part.label is None or part.label.ndim != 1 else part.label.cpu().numpy()
        blocks.append(RowBlock(start, part.n, entries, label))
        total, done = total + len(entries.row), start + part.n
        report(done / split.n)
        if total > ENTRIES:  # codes that are not sparse: fewer samples say enough
            break
    if done < split.n:
        split, rows = split.take(slice(done)), rows[:done]
    n_classes = class_count(split.label)
    tokens = split.tokens if split.tokens is None or len(split.tokens) == done else split.tokens.take(slice(done))

    def again() -> Iterator[RowBlock]:
        return iter(blocks)

    features = collected if additions.places == 1 else None
    if features is None or features.n != done or not np.array_equal(features.n_active, sums.n_active):
        features = collect_features(CodedRows(done, additions.n, again, tokens, n_classes), settings)
    entries = Entries(*(np.concatenate([getattr(b.entries, name) for b in blocks]) for name in Entries._fields))
    gates = None if sums.gates is None else sums.gates / done
    offsets = np.searchsorted(entries.row, np.arange(done + 1))
    return Coded(
        split, rows, features, entries, np.concatenate(sums.errors), sums.increase, sums.uses(), gates, offsets
    )


class _Sums:
    """What is summed up over samples."""

    def __init__(self, model: AbstractSparseModel, additions: Additions, theta: float) -> None:
        self.model, self.additions, self.theta = model, additions, theta
        self.coders = model.coders()
        self.errors: list[Doubles] = []
        self.increase = np.zeros(additions.n) if additions.linear else None
        self.active = {name: np.zeros(model.n_code, dtype=np.int64) for name in self.coders}
        self.l0: dict[str, list[NDArray[np.int64]]] = {name: [] for name in self.coders}
        self.gap: dict[str, list[Doubles]] = {name: [] for name in self.coders}
        self.gates = np.zeros(model.n_code) if has_gates(model) else None

    def update(self, part: Split, start: int) -> Entries:
        """Take samples, of which the first has number `start`; the active values of units."""
        model, first, z = self.model, next(iter(self.coders)), None
        for name, coder in self.coders.items():
            code = coder(part.x)
            on = code.abs() > self.theta
            self.active[name] += on.sum(dim=0).cpu().numpy()
            self.l0[name].append(on.sum(dim=1).cpu().numpy())
            if (gap := model.gap(part.x, code)) is not None:
                self.gap[name].append(gap.double().cpu().numpy())
            z = code if name == first else z
        assert z is not None
        if self.gates is not None and has_posterior(model) and (gamma := model.posterior(part.x).gamma) is not None:
            self.gates += gamma.double().sum(dim=0).cpu().numpy()
        out = model.decode(z) if model.n_classes else model.output(part.x, z)
        self.errors.append(errors_of(model, part, out).cpu().numpy())
        units = _strongest(z, self.additions.places)
        row, code = (units.abs() > self.theta).nonzero(as_tuple=True)
        value = units[row, code]
        if self.increase is not None:
            grown = _increases(model, part, out, self.additions, row, code, value)
            self.increase += np.bincount(code.cpu().numpy(), grown, minlength=self.additions.n)
        return Entries(row.cpu().numpy() + start, code.cpu().numpy(), value.float().cpu().numpy())

    @property
    def n_active(self) -> NDArray[np.int64]:
        """On how many samples each code is active, by the first coder."""
        return next(iter(self.active.values()))

    def uses(self) -> dict[str, CoderUse]:
        return {
            name: CoderUse(
                self.active[name],
                np.concatenate(self.l0[name]),
                np.concatenate(self.gap[name]) if self.gap[name] else None,
            )
            for name in self.coders
        }


def _strongest(z: Tensor, places: int) -> Tensor:
    """The value [b, n_unit] of largest magnitude among the places of each unit."""
    if places == 1:
        return z
    by_place = z.reshape(len(z), -1, places)
    return by_place.gather(2, by_place.abs().argmax(dim=2, keepdim=True))[:, :, 0]


def errors_of(model: AbstractSparseModel, part: Split, out: Tensor) -> Tensor:
    """The error [b] of outputs: squared, summed over features, in data space; of logits the cross-entropy."""
    if model.n_classes:
        if part.label is None:
            raise ValueError("the model classifies, and the samples have no labels; choose data that have")
        return cross_entropy(out.double(), part.label, reduction="none")
    difference = wanted_of(model, part).flatten(1).double() - out.flatten(1).double()
    return difference.square().sum(dim=1)


def _increases(
    model: AbstractSparseModel, part: Split, out: Tensor, additions: Additions, row: Tensor, code: Tensor, value: Tensor
) -> Doubles:
    """How much the error of its sample grows [nnz] if each active value is set to 0: exact, as the output is linear in codes.

    |e + z_j d_j|^2 - |e|^2 = 2 z_j e . d_j + z_j^2 |d_j|^2 for errors e = x - y.
    """
    assert additions.data is not None
    atoms = additions.data
    step = max(1, GATHERED // atoms.shape[1])
    parts: list[Doubles] = []
    wanted = None if model.n_classes else wanted_of(model, part).flatten(1)
    before = cross_entropy(out, part.label, reduction="none") if wanted is None and part.label is not None else None
    norms = atoms.square().sum(dim=1)
    for rows, codes, values in zip(row.split(step), code.split(step), value.split(step), strict=True):
        if wanted is None or before is not None:
            assert part.label is not None
            assert before is not None
            ablated = out[rows] - values[:, None] * atoms[codes]
            grown = cross_entropy(ablated, part.label[rows], reduction="none") - before[rows]
        else:
            along = torch.linalg.vecdot((wanted - out.flatten(1))[rows], atoms[codes])
            grown = 2 * values * along + values.square() * norms[codes]
        parts.append(grown.double().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros(0)
