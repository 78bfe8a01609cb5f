"""What each code of a model stands for: its statistics, examples with their contexts, and neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from sparsecode.evaluate.units.examples import NONE, Examples
from sparsecode.evaluate.units.firing import CoFiring
from sparsecode.evaluate.units.token_contexts import TokenContexts
from sparsecode.specs import NonNegative, Seed, Spec

__all__ = ["NO_TEXTS", "CodeExample", "CodeFeatures", "FeatureSettings", "Features"]


NO_TEXTS: Mapping[int, str] = {}

PlaceCount = Annotated[int, Meta(ge=0, le=1000)]


class FeatureSettings(Spec, tag="feature_settings"):
    """How many examples of each code are collected, and with what around them. `ExampleCollector` defines bands."""

    top: Annotated[PlaceCount, Meta(description="rows of the largest strength |value|")] = 16
    bands: Annotated[int, Meta(ge=1, le=100, description="equal parts of a code's strengths, by rank")] = 4
    per_band: Annotated[PlaceCount, Meta(description="rows drawn from each band")] = 4
    near: Annotated[PlaceCount, Meta(description="rows of the smallest strength")] = 4
    neighbours: Annotated[PlaceCount, Meta(description="codes that fire most together with each")] = 8
    bins: Annotated[int, Meta(ge=2, le=1024, description="of histograms of strengths, a power of two")] = 64
    before: Annotated[PlaceCount, Meta(description="tokens before an example in its text")] = 16
    after: Annotated[PlaceCount, Meta(description="tokens after it")] = 8
    theta: Annotated[NonNegative, Meta(description="a code is active above this magnitude")] = 0.0
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bins & (self.bins - 1):
            raise ValueError(f"FeatureSettings.bins: got {self.bins}; expected a power of two, 2 to 1024")


class Features(NamedTuple):
    """What was collected of n_code codes on `n` rows; all arrays are NumPy's, by code in the first axis.

    A code is active on a row where its strength |value| is above `settings.theta`.

    - `n_active`: rows on which it is active; `mean`: mean strength there (0 for none); `largest`: largest strength; `positive`: on how
      many rows the value is above 0.
    - `histogram` [n_code, bins]: counts of strengths in equal bins from 0 to `limit` [n_code], a power of two above `largest`.
    - `quantiles` [n_code, bands + 1]: limits of the bands, with four of them the least strength, the quartiles and the largest, of a uniform sample
      of the rows on which it is active; NaN for codes never active.
    - `examples`: rows and values, see `Examples`; `contexts`: the text around them, for rows that know their tokens.
    - `neighbours`: the codes that fire most together with it, see `CoFiring`.
    - `texts`: the words that token ids stand for, where a tokenizer was at hand.
    - `rows_by_l0` [l0 + 1]: the number of rows with 0, 1, 2, ... active codes.
    - `by_class` [n_code, n_classes] and `class_sizes` [n_classes]: rows of each class on which it is active, and all; empty without labels.
    """

    settings: FeatureSettings
    n: int
    n_active: NDArray[np.int64]
    positive: NDArray[np.int64]
    mean: NDArray[np.float32]
    largest: NDArray[np.float32]
    limit: NDArray[np.float64]
    histogram: NDArray[np.int32]
    quantiles: NDArray[np.float32]
    rows_by_l0: NDArray[np.int64]
    by_class: NDArray[np.int32]
    class_sizes: NDArray[np.int64]
    examples: Examples
    neighbours: CoFiring
    contexts: TokenContexts | None = None
    texts: Mapping[int, str] = NO_TEXTS

    @property
    def n_code(self) -> int:
        return len(self.n_active)

    @property
    def density(self) -> NDArray[np.float64]:
        """The share [n_code] of rows on which each code is active."""
        return self.n_active / max(self.n, 1)

    def code(self, number: int) -> CodeFeatures:
        """All that is known of one code. Raises IndexError for a code that is not there."""
        if not 0 <= number < self.n_code:
            raise IndexError(f"code is {number}; expected 0 to {self.n_code - 1}")
        there = np.flatnonzero(self.examples.row[number] != NONE)
        near = self.neighbours.code[number] != NONE
        return CodeFeatures(
            number=number,
            n_active=int(self.n_active[number]),
            density=float(self.density[number]),
            mean=float(self.mean[number]),
            largest=float(self.largest[number]),
            edges=np.linspace(0.0, self.limit[number], self.settings.bins + 1),
            histogram=self.histogram[number],
            quantiles=self.quantiles[number],
            examples=[self._example(number, int(slot)) for slot in there],
            neighbours=[
                (int(code), int(both), float(ratio))
                for code, both, ratio in zip(*(part[number][near] for part in self.neighbours[:3]), strict=True)
            ],
        )

    def words(self, example: CodeExample) -> list[str]:
        """The texts [T] of the tokens around an example; `[id]` for those that are not known, none without tokens."""
        ids = [] if example.token_id is None else example.token_id.tolist()
        return [self.texts.get(number, f"[{number}]") for number in ids]

    def _example(self, code: int, slot: int) -> CodeExample:
        row, value = int(self.examples.row[code, slot]), float(self.examples.value[code, slot])
        band, contexts = int(self.examples.bands[slot]), self.contexts
        if contexts is None:
            return CodeExample(row, value, band)
        at = int(contexts.at[code, slot])
        first, last = max(at - self.settings.before, 0), at + self.settings.after + 1
        same = contexts.group[first:last] == contexts.group[at]
        first, last = first + int(same.argmax()), first + len(same) - int(same[::-1].argmax())
        values = np.zeros(last - first, dtype=np.float32)
        index = code * self.examples.row.shape[1] + slot
        part = slice(contexts.offsets[index], contexts.offsets[index + 1])
        values[at - first + contexts.step[part]] = contexts.value[part]
        return CodeExample(row, value, band, contexts.token_id[first:last], values, at - first)


class CodeExample(NamedTuple):
    """A row on which a code is active, its value there, and its band (see `Examples`). With tokens: `token_id` and `values` [T] of the row's
    context in order, of which number `at` is the row itself.
    """

    row: int
    value: float
    band: int
    token_id: NDArray[np.int32] | None = None
    values: NDArray[np.float32] | None = None
    at: int = 0


class CodeFeatures(NamedTuple):
    """One code of `Features`: `edges` [bins + 1] of its histogram; neighbours as (code, rows together, jaccard)."""

    number: int
    n_active: int
    density: float
    mean: float
    largest: float
    edges: NDArray[np.float64]
    histogram: NDArray[np.int32]
    quantiles: NDArray[np.float32]
    examples: list[CodeExample]
    neighbours: list[tuple[int, int, float]]
