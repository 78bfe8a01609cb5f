"""Collection of `Features` from rows of any number, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.data.codes import StoredCodes
from sparsecode.data.shard_index import LABEL
from sparsecode.data.splits import Split
from sparsecode.data.tokens import Tokens
from sparsecode.evaluate.base import rows_together
from sparsecode.evaluate.units.examples import Entries, ExampleCollector, Examples
from sparsecode.evaluate.units.features import Features, FeatureSettings
from sparsecode.evaluate.units.firing import FiringStatistics, RowSample, cofiring
from sparsecode.evaluate.units.token_contexts import ContextCollector, TokenContexts
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.sparse_inference import encode_sparse
from sparsecode.ops.sparse_layout import samples_of
from sparsecode.records import Batch

__all__ = [
    "CodedRows",
    "RowBlock",
    "class_count",
    "coded_rows",
    "collect_features",
    "csr_of_rows",
    "features_of",
    "rows_of_codes",
    "rows_of_split",
]

CLASSES = 1000  # most classes that are counted apart


class CodedRows(NamedTuple):
    """Rows whose codes are to be looked at: how many, and `blocks()`, which gives them again and again, always the same: batches of samples,
    of samples with labels, or codes as `Entries` with the number of rows. `n_code`; the tokens of the rows, and the number of their classes, 0 without.
    """

    n: int
    n_code: int
    blocks: Callable[[], Iterable[RowBlock]]
    tokens: Tokens | None = None
    n_classes: int = 0


class RowBlock(NamedTuple):
    """The active codes of `n` successive rows from `first` on, and the class labels [n] of these, if there are any."""

    first: int
    n: int
    entries: Entries
    label: NDArray[np.int64] | None = None


def coded_rows(
    model: AbstractSparseModel,
    batches: Callable[[], Iterable[Batch]],
    n: int,
    *,
    theta: float = 0.0,
    tokens: Tokens | None = None,
    n_classes: int = 0,
    coder: str | None = None,
) -> CodedRows:
    """The rows of batches, coded when `blocks()` is iterated, by the model's main coder or another one of its `coders()`.

    `batches()` gives them again and again, the same. Codes come without a dense batch where the model allows it.
    """
    weights = next(model.parameters())
    size = rows_together(model.n_code)
    name = model.coder_called(coder)
    other = None if name == model.coder_called() else model.coders()[name]

    def blocks() -> Iterator[RowBlock]:
        first = 0
        for batch in batches():
            for start in range(0, len(batch.x), size):
                x = batch.x[start : start + size].to(weights.device, weights.dtype)
                label = None if batch.label is None else batch.label[start : start + size].cpu().numpy()
                yield RowBlock(first, len(x), _entries(model, x, other, first, theta), label)
                first += len(x)

    return CodedRows(n, model.n_code, blocks, tokens, n_classes)


@torch.no_grad()
def _entries(
    model: AbstractSparseModel, x: Tensor, coder: Callable[[Tensor], Tensor] | None, first: int, theta: float
) -> Entries:
    if coder is None:
        code = encode_sparse(model, x)
        row, column, value = samples_of(code), code.indices, code.values
    else:
        z = coder(x)
        row, column = (z != 0).nonzero(as_tuple=True)
        value = z[row, column]
    active = value.abs() > theta
    row, column, value = (part[active].cpu().numpy() for part in (row, column, value))
    return Entries(row + first, column.astype(np.int64), value.astype(np.float32))


def rows_of_split(model: AbstractSparseModel, split: Split, theta: float = 0.0, coder: str | None = None) -> CodedRows:
    """The rows of a split in memory, coded as `coded_rows` does."""
    tokens = split.tokens
    if tokens is not None and len(tokens) != split.n:  # of shards, of whose rows the first are in memory
        tokens = tokens.take(slice(None), split.n)
    return coded_rows(
        model,
        lambda: (Batch(part.x, label=part.label) for _, part in split.chunks(rows_together(model.n_code))),
        split.n,
        theta=theta,
        tokens=tokens,
        n_classes=class_count(split.label),
        coder=coder,
    )


def rows_of_codes(codes: StoredCodes, theta: float = 0.0) -> CodedRows:
    """The rows of a folder of sparse codes, with their labels where it keeps them; `sparsecode.data.read_codes` opens it."""

    def blocks() -> Iterator[RowBlock]:
        first = 0
        for chunk in codes.chunks():
            csr: Any = chunk.codes
            active = np.abs(csr.data) > theta
            row = first + np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr))
            entries = Entries(row[active], csr.indices[active].astype(np.int64), csr.data[active].astype(np.float32))
            yield RowBlock(first, csr.shape[0], entries, chunk.columns.get(LABEL))
            first += csr.shape[0]

    labels = codes.column(LABEL) if LABEL in codes.index.columns else None
    return CodedRows(*codes.shape, blocks, n_classes=class_count(labels))


def csr_of_rows(rows: CodedRows, most: int | None = None, report: Callable[[int], None] = lambda _: None) -> Any:
    """The codes of the first `most` rows, or of all, as a `scipy.sparse.csr_array` [n, n_code]."""
    from scipy.sparse import csr_array  # SciPy takes time to import

    parts: list[Entries] = []
    n = 0
    for block in rows.blocks():
        size = block.n if most is None else min(block.n, most - n)
        entries = block.entries
        parts.append(entries.where(entries.row < block.first + size))
        n += size
        report(n)
        if n == most:
            break
    row, code, value = (np.concatenate([getattr(part, name) for part in parts]) for name in Entries._fields)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))])
    return csr_array((value, code, offsets), shape=(n, rows.n_code))


def class_count(label: Tensor | NDArray[np.int64] | None) -> int:
    """The number of classes of labels [n] 0, 1, ...; 0 without labels, and for more than are counted apart."""
    if label is None or label.ndim != 1 or not len(label) or int(label.min()) < 0:
        return 0
    n = int(label.max()) + 1
    return n if n <= CLASSES else 0


def features_of(
    model: AbstractSparseModel,
    split: Split,
    settings: FeatureSettings | None = None,
    *,
    coder: str | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> Features:
    """`Features` of a model's codes on the samples of a split in memory; see `collect_features`.

    >>> import torch
    >>> from sparsecode.data import Split
    >>> from sparsecode.models import Amortised
    >>> from sparsecode.nn import TopK
    >>> model = Amortised(n_code=32, activation=TopK(k=4)).build((16,), seed=0).eval()
    >>> result = features_of(model, Split(torch.randn(200, 16, generator=torch.Generator().manual_seed(0))))
    >>> strongest = [example for example in result.code(int(result.n_active.argmax())).examples if example.band == -1]
    >>> int(result.n_active.sum()), len(strongest), strongest[0].value >= strongest[1].value
    (800, 16, True)
    """
    settings = settings or FeatureSettings()
    return collect_features(rows_of_split(model, split, settings.theta, coder), settings, report)


def collect_features(
    rows: CodedRows, settings: FeatureSettings, report: Callable[[int], None] = lambda _: None
) -> Features:
    """`Features` of codes in one pass over their rows, in memory that does not grow with their number.

    The result is a function of rows and settings: it does not depend on how rows are divided into blocks. Rows with tokens whose
    codes do not fit in memory (`RowSample`) are passed a second time, for the contexts of the examples. `report` is called with the
    number of rows done, from 0 again in the second pass. Raises ValueError without rows.
    """
    collector = ExampleCollector(
        rows.n_code,
        top=settings.top,
        bands=settings.bands,
        per_band=settings.per_band,
        near=settings.near,
        seed=settings.seed,
    )
    statistics = FiringStatistics(rows.n_code, settings.bins, rows.n_classes)
    sample = RowSample(settings.seed)
    for block in rows.blocks():
        statistics.update(block.entries, block.first, block.n, block.label)
        collector.update(block.entries)
        sample.update(block.entries, block.first, block.n)
        report(block.first + block.n)
    if not statistics.n:
        raise ValueError("rows: got none; expected at least one row to look at")
    examples = collector.result()
    return Features(
        settings=settings,
        n=statistics.n,
        n_active=statistics.n_active,
        positive=statistics.positive,
        mean=(statistics.total / np.maximum(statistics.n_active, 1)).astype(np.float32),
        largest=statistics.largest,
        limit=statistics.limit,
        histogram=statistics.histogram,
        quantiles=collector.quantiles(np.linspace(0, 1, settings.bands + 1)),
        rows_by_l0=statistics.rows_by_l0,
        by_class=statistics.by_class,
        class_sizes=statistics.class_sizes,
        examples=examples,
        neighbours=cofiring(sample, rows.n_code, settings.neighbours),
        contexts=_contexts(rows, sample, examples, settings, report),
    )


def _contexts(
    rows: CodedRows,
    sample: RowSample,
    examples: Examples,
    settings: FeatureSettings,
    report: Callable[[int], None],
) -> TokenContexts | None:
    if rows.tokens is None:
        return None
    collector = ContextCollector(rows.tokens, examples.row, settings.before, settings.after)
    if sample.whole:
        for entries in sample.entries():
            collector.update(entries)
    else:
        for block in rows.blocks():
            collector.update(block.entries)
            report(block.first + block.n)
    return collector.result()
