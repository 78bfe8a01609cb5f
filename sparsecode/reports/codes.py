"""Figures of a variational model's codes: encodings, edits, traversals, conditional samples, interpolations, prior samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparsecode import plots
from sparsecode.data.splits import Splits
from sparsecode.evaluate.base import in_parts
from sparsecode.evaluate.variational.traversal import (
    between,
    between_supports,
    edited,
    most_used,
    redrawn,
    swept,
    there_and_back,
    through_zero,
)
from sparsecode.models.variational import VariationalModel
from sparsecode.ops.rng import generator

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.figure import Figure

__all__ = ["Subject", "subject_of"]

ENCODED = 2000  # test samples that tell which codes are used
DRAWN = 10_000  # from the prior, for the values that codes take there
EDITS = {"as it is": 1.0, "times 0.01": 0.01, "times -0.5": -0.5}


class Subject(NamedTuple):
    """A model and the data of its figures: samples x [n, *F], their `rows` in a `split`, by default test, and codes z [n, n_code].

    `codes` are those of up to 2000 samples of the split; `span` is the range of the samples: what is black and white.
    """

    model: VariationalModel
    codes: Tensor
    rows: tuple[int, ...]
    x: Tensor
    z: Tensor
    span: tuple[float, float]
    name: str
    split: str = "test"

    @torch.no_grad()
    def decoded(self, z: Float[Tensor, "n k"]) -> NDArray[Any]:
        """The means [n, *F] of p(x | z) in data space."""
        weights = next(self.model.parameters())
        return _array(self.model.denormalise(self.model.decode(z.to(weights))))

    def used(self, z: Float[Tensor, " k"] | None = None) -> list[int]:
        """The most used codes, most used first; of those that are on in z, if it is given."""
        order = most_used(self.codes).tolist()
        if z is None:
            return order
        on = [j for j in order if z[j] != 0]
        return on or [int(z.abs().argmax())]

    def prior_codes(self, n: int, seed: int) -> Tensor:
        """n draws of p(z)."""
        return self.model.sample_prior(n, generator(seed, "prior pictures")).cpu()

    def encodings(self) -> Figure:
        """Each sample, its code and its decoding."""
        return plots.encoding_view(
            _array(self.x),
            _array(self.z),
            self.decoded(self.z),
            self.model.shape,
            self.span,
            f"{self.name}: {self.split} samples and their codes",
        )

    def edits(self) -> Figure:
        """The first sample with its largest code kept, all but removed, and turned."""
        z = edited(self.z[0], tuple(EDITS.values()))
        j = int(self.z[0].abs().argmax())
        title = f"{self.name}: {self.split} sample {self.rows[0]}, code {j} edited"
        labels = [f"code {j} {name}" for name in EDITS]
        return plots.edits_view(_array(z), self.decoded(z), j, labels, self.model.shape, self.span, title)

    def traversals(
        self, codes: Sequence[int] = (), frames: int = 9, reach: float = 3.0, step: float | None = None
    ) -> Figure:
        """A row for each of the codes, or for each sample's most used active ones, nine in all.

        A code goes from -reach to reach, or, with `step`, from where it is towards 0 and beyond.
        """
        values = np.linspace(-reach, reach, frames).tolist()
        heads = [f"{value:.3g}" for value in values]
        if step is not None:
            heads = ["its own", *(f"{i} x {step:g}" for i in range(1, frames))]
        strips: list[plots.FilmStrip] = []
        for row, x, z in zip(self.rows, self.x, self.z, strict=True):
            for j in codes or self.used(z)[: max(1, 9 // len(self.rows))]:
                current = float(z[j])
                values_shown = values if step is None else through_zero(current, step, frames)
                nearest = int(np.abs(np.array(values_shown) - current).argmin())
                images = self.decoded(swept(z, j, values_shown))
                strips.append(plots.FilmStrip(f"sample {row}, code {j}", images, _array(x[None]), nearest))
        title = f"{self.name}: one code at a time; the frame nearest to its own value is marked"
        return plots.film_strips(strips, self.model.shape, self.span, heads, "sample", title)

    def conditional(self, seed: int, share: float = 0.8, n: int = 6) -> Figure:
        """Each sample with a share of its active codes drawn anew, n times."""
        prior, rng = self.prior_codes(DRAWN, seed), generator(seed, "conditional pictures")
        strips = [
            plots.FilmStrip(
                f"sample {row}",
                self.decoded(redrawn(z, prior, share, n, rng)),
                np.concatenate([_array(x[None]), self.decoded(z[None])]),
            )
            for row, x, z in zip(self.rows, self.x, self.z, strict=True)
        ]
        title = f"{self.name}: the same codes on, {share:.0%} of them drawn anew"
        return plots.film_strips(strips, self.model.shape, self.span, before="sample, decoding", title=title)

    def interpolations(self, frames: int = 9) -> Figure:
        """From each sample to the next, linearly and, where codes can be off, by supports."""
        if len(self.rows) < 2:
            raise ValueError("an interpolation leads from one sample to another; expected at least two samples")
        sparse = bool((self.z == 0).any())
        ways = {"linear": between, "by supports": between_supports} if sparse else {"linear": between}
        strips: list[plots.FilmStrip] = []
        for first, second in pairwise(range(len(self.rows))):
            ends = _array(self.x[[first, second]])
            for label, way in ways.items():
                images = self.decoded(way(self.z[first], self.z[second], frames))
                strips.append(plots.FilmStrip(f"{self.rows[first]} to {self.rows[second]}, {label}", images, ends))
        heads = [f"{t:.2g}" for t in np.linspace(0, 1, frames)]
        title = f"{self.name}: from one code to another"
        return plots.film_strips(strips, self.model.shape, self.span, heads, "samples", title)

    def prior(self, seed: int, n: int = 64) -> Figure:
        """Decodings of codes drawn from the model's prior."""
        z = self.prior_codes(n, seed)
        active = float((z != 0).sum(dim=1).double().mean())
        title = f"{self.name}: {n} draws from the prior, {active:.3g} of {z.shape[1]} codes on"
        return plots.picture_grid(self.decoded(z), self.model.shape, self.span, title)

    def fitted(self, seed: int, n: int = 64) -> Figure:
        """The same from normal codes that are on as often as they are on samples, each by itself."""
        rng, usage = generator(seed, "fitted pictures"), (self.codes != 0).double().mean(dim=0)
        on = torch.rand(n, len(usage), generator=rng) < usage
        z = torch.where(on, torch.randn(n, len(usage), generator=rng), 0.0)
        title = f"{self.name}: {n} draws with gates as open as on samples, {float(usage.sum()):.3g} of {len(usage)} codes on"
        return plots.picture_grid(self.decoded(z), self.model.shape, self.span, title)

    def film(self, code: int | None = None, frames: int = 40, reach: float = 3.0) -> Iterator[NDArray[np.uint8]]:
        """The first sample with one code, by default its most used active one, swept there and back: frames [h, w, 3]."""
        j = self.used(self.z[0])[0] if code is None else code
        z = swept(self.z[0], j, there_and_back(reach, frames))
        title = f"{self.name}: {self.split} sample {self.rows[0]}"
        return plots.sweep_frames(_array(z), self.decoded(z), j, self.model.shape, self.span, title)


@torch.no_grad()
def subject_of(
    model: VariationalModel, splits: Splits, name: str, rows: Sequence[int] = (), n: int = 3, coder: str | None = None
) -> Subject:
    """These rows of the test split, by default n of those with an active code, evenly spaced; by one of the model's coders.

    Raises ValueError naming `rows` if there are no such samples, `coder` if there is none of this name.
    """
    encode = model.coders()[model.coder_called(coder)]
    weights, test = next(model.parameters()), splits.test
    wrong = [row for row in rows if not 0 <= row < test.n]
    if wrong:
        raise ValueError(f"rows are {', '.join(map(str, wrong))}; expected 0 to {test.n - 1}, of the test split")
    codes = in_parts(lambda x: encode(x.to(weights)), test.x[:ENCODED], model.n_code).cpu()
    if not rows:
        on = (codes != 0).any(dim=1).nonzero()[:, 0]
        on = on if len(on) else torch.arange(len(codes))
        rows = on[torch.linspace(0, len(on) - 1, min(n, len(on))).long()].tolist()
    x = test.x[list(rows)].to(weights)
    return Subject(model, codes, tuple(rows), x.cpu(), encode(x).cpu(), splits.span(), name)


def _array(tensor: Tensor) -> NDArray[Any]:
    return np.asarray(tensor.detach().cpu())
