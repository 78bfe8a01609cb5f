"""The report of one or several runs as data: the schema of `report.json`, and what a page is made of.

`Document` is the whole; its parts are in `sparsecode/reports/schema`. Names, labels, tokens and texts are data: they may hold any
characters, and never markup.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from sparsecode.files import write_atomic
from sparsecode.reports.schema.arrays import Cell, Histogram, PackedArray, Sheet, packed
from sparsecode.reports.schema.codes import (
    Atom,
    Band,
    CodeColumn,
    CodeDetail,
    CodeTable,
    Distribution,
    Effect,
    LabelShare,
    NearCode,
    ShownExample,
    TokenContext,
    WeightedName,
)
from sparsecode.reports.schema.measures import (
    FrontierPlot,
    FrontierSeries,
    MeasureRow,
    MeasureSection,
    MeasureTable,
    ValueSpread,
)
from sparsecode.reports.schema.samples import PictureRow, Pool, Reconstruction, SampleSection, Strip
from sparsecode.reports.schema.training import Phase, Series, Training
from sparsecode.specs import Spec, parsed

__all__ = [
    "REPORT_FORMAT",
    "Atom",
    "Band",
    "Cell",
    "CodeColumn",
    "CodeDetail",
    "CodeTable",
    "Comparison",
    "Definition",
    "Difference",
    "Distribution",
    "Document",
    "Effect",
    "FrontierPlot",
    "FrontierSeries",
    "Head",
    "HeadNumber",
    "Histogram",
    "LabelShare",
    "Matches",
    "MeasureRow",
    "MeasureSection",
    "MeasureTable",
    "NearCode",
    "PackedArray",
    "Phase",
    "PictureRow",
    "Pool",
    "Reconstruction",
    "RunReport",
    "SampleSection",
    "Series",
    "Setting",
    "Sheet",
    "ShownExample",
    "Strip",
    "TokenContext",
    "Training",
    "ValueSpread",
    "Warned",
    "WeightedName",
    "packed",
    "read_document",
    "write_document",
]

REPORT_FORMAT = 1


class Definition(Spec, tag="definition"):
    """A term and its definition in plain text; `source` is the paper, or ""."""

    term: str
    text: str
    source: str = ""


class HeadNumber(Spec, tag="head_number"):
    """One of the three numbers that matter for the family. `value` is exactly that of `eval.json`, None if it is not defined.

    `shown` is the value as text with its unit ("25.31 dB"); `note` a short remark ("of 256 codes"); `definition` a key of
    `Document.definitions`.
    """

    key: str
    label: str
    value: float | None
    shown: str
    note: str
    definition: str
    better: Literal["higher", "lower", ""] = ""


class Warned(Spec, tag="warned"):
    """A warning in words, and what to do about it ("" if the text says it)."""

    text: str
    remedy: str


class Setting(Spec, tag="setting"):
    """A leaf of the config: its path ("model.activation.k") and value as text; `changed` where it is not the recipe's or the default."""

    path: str
    value: str
    changed: bool = False


class Head(Spec, tag="head"):
    """What was trained on what.

    `family`: iterative, amortised or variational; `kind` in words ("sparse autoencoder (TopK)"); `model`, `data` in a sentence each.
    `command`: the one line that repeats the run ("" if none can: `command_note` says why). `unfinished` is "" for a finished run, else how
    far it is ("step 280 of 600"), which must be visible everywhere.
    """

    family: Literal["iterative", "amortised", "variational"]
    kind: str
    model: str
    data: str
    command: str
    command_note: str
    numbers: tuple[HeadNumber, ...]
    warnings: tuple[Warned, ...]
    unfinished: str
    settings: tuple[Setting, ...]
    seed: int | None = None
    n_parameters: int | None = None
    shape: tuple[int, ...] = ()


class RunReport(Spec, tag="run_report"):
    """One run, or a foreign model with samples (then without training). `sheets` hold all its pictures, by name."""

    name: str
    head: Head
    training: Training | None
    codes: CodeTable | None
    pool: Pool | None
    samples: SampleSection | None
    measures: MeasureSection | None
    sheets: dict[str, Sheet]


class Difference(Spec, tag="difference"):
    """A path of the config in which the runs differ, and its value in each, as text."""

    path: str
    values: tuple[str, ...]


class Matches(Spec, tag="matches"):
    """The dictionaries of runs `first` and `second` (indices in `Document.runs`), matched one to one.

    `mcc` is the mean cosine of the pairs, `close` and `same` the shares above 0.7 and 0.9. Pairs `codes` [n, 2] (i4) with their
    `cosines` [n] (f4), highest first, of codes that are shown in both or match one that is.
    """

    first: int
    second: int
    mcc: float
    close: float
    same: float
    codes: PackedArray
    cosines: PackedArray
    note: str = ""


class Comparison(Spec, tag="comparison"):
    """Several runs side by side. `notes` say what cannot be compared, and why (other data, decoders that are not linear)."""

    differences: tuple[Difference, ...]
    matches: tuple[Matches, ...]
    frontiers: tuple[FrontierPlot, ...]
    notes: tuple[str, ...]


class Document(Spec, tag="report"):
    """A report: runs, what they have in common, and definitions of all terms, by key.

    `format` is that of this schema; a reader refuses newer ones. `sparsecode` is the version that wrote it.
    """

    title: str
    runs: tuple[RunReport, ...]
    comparison: Comparison | None
    definitions: dict[str, Definition]
    sparsecode: str
    format: int = REPORT_FORMAT


def write_document(path: Path, document: Document) -> None:
    """Write `report.json`, atomically."""
    write_atomic(path, msgspec.json.encode(document) + b"\n")


def read_document(path: Path) -> Document:
    """The document in a `report.json`. Raises ValueError naming the file if it is none, or of a newer format."""
    raw = parsed(path.read_bytes(), str(path))
    number = raw.get("format") if isinstance(raw, dict) and raw.get("type") == "report" else None
    if not isinstance(number, int):
        raise ValueError(f"{path}: not a report; expected a file that sparsecode report --json wrote")
    if number > REPORT_FORMAT:
        raise ValueError(
            f"{path}: written in format {number} by a newer sparsecode; this version reads up to format {REPORT_FORMAT}. "
            "Upgrade sparsecode to open it."
        )
    try:
        return msgspec.convert(raw, Document)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path}: {error}") from None
