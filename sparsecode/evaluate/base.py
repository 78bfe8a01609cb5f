"""Contract of measures: quantities computed from a model and samples, their results by coder, and their display."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from sparsecode.choices import NoiseUnit
from sparsecode.data.recorded_host import RecordedHost
from sparsecode.data.splits import Split
from sparsecode.models.base import AbstractSparseModel
from sparsecode.specs import Spec

__all__ = [
    "CHUNK",
    "WHOLE",
    "KnownMeasure",
    "Measure",
    "MeasureSettings",
    "OtherResult",
    "Result",
    "Table",
    "in_parts",
    "plain_table",
    "rows_together",
]

CHUNK = 1000  # samples together at most, and those whose noise is drawn together
NUMBERS = (
    2**22
)  # of a dense batch of codes: larger arrays are had from the system each time, which takes a fifth longer


def rows_together(n_code: int) -> int:
    """How many samples are coded together, everywhere: fewer where codes are many."""
    return max(1, min(CHUNK, NUMBERS // n_code))


def in_parts(function: Callable[[Tensor], Tensor], x: Tensor, n_code: int) -> Tensor:
    """A function of each sample of x [n, *F], such as its codes or its reconstruction from them, of `rows_together` samples at a time."""
    return torch.cat([function(part) for part in x.split(rows_together(n_code))])


WHOLE = "model"  # the key of a result that is not of one coder


class MeasureSettings(NamedTuple):
    """Settings shared by all measures: `theta`, the level above which a code is active, the range of the data, the noise to remove,
    training samples, for baselines that are fitted to them, and the language model that activations are from.
    """

    data_range: float = 1.0
    theta: float = 0.0
    sigmas: tuple[float, ...] = ()
    unit: NoiseUnit = "input"
    noise_weight: float = 0.0
    train: Split | None = None
    host: RecordedHost | None = None


class Table(NamedTuple):
    """Rows of text under a header, for any terminal or page; the first column is left-justified if `named`."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    caption: str = ""
    named: bool = True


class Result(Spec):
    """The result of a measure: a record stored in `eval.json`. A subclass needs only fields."""

    def means(self) -> dict[str, float]:
        """The numbers followed during training, by name; NaN where one is not defined. By default all numeric fields."""
        raw = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: float(v) for name, v in raw.items() if isinstance(v, int | float) and not isinstance(v, bool)}

    @classmethod
    def table(cls, name: str, parts: Mapping[str, Any]) -> Table | None:
        """A table of results of one measure, by coder; None if it is too long to be printed by default."""
        return plain_table(name, parts)


class OtherResult(Result, tag="other_result"):
    """The stored result of a measure that this process does not know: its fields as they were."""

    fields: dict[str, Any]

    def means(self) -> dict[str, float]:
        return {k: float(v) for k, v in self.fields.items() if isinstance(v, int | float) and not isinstance(v, bool)}


@runtime_checkable
class Measure(Protocol):
    """`name` is its key in `eval.json`. `applies` says whether a model has what is measured; the only place where a kind of
    model is asked for. `measure` gives a result for each coder, or one under the key `WHOLE`; none where nothing is defined.
    Results are functions of model, samples and `seed`.
    """

    @property
    def name(self) -> str: ...

    def applies(self, model: AbstractSparseModel) -> bool: ...

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> Mapping[str, Result]: ...


class KnownMeasure(Spec):
    """A measure of this library: a record whose type is its name."""

    @property
    def name(self) -> str:
        return str(self.__struct_config__.tag)

    def applies(self, model: AbstractSparseModel) -> bool:
        """All models by default."""
        return True


def plain_table(name: str, parts: Mapping[str, Result]) -> Table:
    """A row for each number, a column for each coder."""
    numbers = {part: result.means() for part, result in parts.items()}
    quantities = list(dict.fromkeys(quantity for per_coder in numbers.values() for quantity in per_coder))
    rows = [
        (quantity.replace("_", " "), *(_cell(per_coder.get(quantity, math.nan)) for per_coder in numbers.values()))
        for quantity in quantities
    ]
    return Table(name.replace("_", " "), ("", *numbers), rows)


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.5g}"
