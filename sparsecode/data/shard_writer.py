"""Writing samples into shards, shuffled as a whole and split by document, in bounded memory."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from sparsecode.data.images import PARTS, SplitName, progress
from sparsecode.data.shard_index import DTYPES, INDEX, DType, Index, Shard, ShardSite, X
from sparsecode.data.shard_journal import (
    JOURNAL,
    NUMBER_BYTES,
    UNFINISHED,
    Journal,
    ShardSettings,
    refuse_shards,
    strangers,
)
from sparsecode.data.shuffle import Records, Shuffle
from sparsecode.data.tokens import Tokens
from sparsecode.files import held, write_atomic
from sparsecode.specs import differences, from_json, to_json

__all__ = ["ShardWriter", "refuse_shards"]

BLOCK = 32 * 2**20  # bytes of rows in memory while they arrive


class ShardWriter:
    """Takes rows as they come and leaves a folder for `Shards`; to be used in a `with` statement.

    - Each document (`group`) goes to train, valid or test by hash(seed, group), so that no two splits have rows of one; rows that
      have a split already (`part`) stay in it.
    - The rows of a split are shuffled as a whole (`Shuffle`), and cut into shards of at most `rows_per_shard`.
    - Writing is synchronous: `append` returns when the rows are with the operating system, so that a fast producer waits.
      In memory are 32 MiB of rows while they arrive, three shards while they are shuffled. The disk needs room for twice
      the data until it is done.
    - The index is written last, and readers take nothing without it. After a crash, a writer with the same settings goes on:
      `appended` says how many calls of `append` need not be made again, and the result is the same to the byte.

    Raises FileExistsError if the folder holds something else, ValueError naming the argument for settings out of range, or
    other than those that were begun with.
    """

    def __init__(
        self,
        folder: str | Path,
        rows_per_shard: int = 2**17,
        seed: int = 0,
        *,
        valid: float = 0.05,
        test: float = 0.05,
        dtype: DType = "float16",
        provenance: dict[str, str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._settings = ShardSettings(rows_per_shard, seed, valid, test, dtype, provenance or {})
        self._home = self.folder / UNFINISHED
        self._journal: Journal | None = None
        self._waiting: tuple[list[Records], ...] = ([], [], [])
        self._waiting_appended = self._waiting_bytes = 0
        self._spans: dict[str, tuple[float, float]] = {}
        self._left_out: dict[str, int] = {}
        self._held = ExitStack()

    @property
    def appended(self) -> int:
        """The number of calls of `append` whose rows are safely on disk."""
        return 0 if self._journal is None else self._journal.appended

    def __enter__(self) -> Self:
        refuse_shards(self.folder)
        others = strangers(self.folder, r"(train|valid|test)-\d+\.safetensors" if self._home.is_dir() else "")
        others += [f"{UNFINISHED}/{name}" for name in strangers(self._home, r"(train|valid|test)\.rows|bucket-.*")]
        if others:
            raise FileExistsError(f"{self.folder}: not empty (it holds {', '.join(others[:5])}); choose another folder")
        self._held.enter_context(held(self.folder, doing="writing"))
        with ExitStack() as undone:
            undone.callback(self._held.close)
            if (self._home / JOURNAL).exists():
                self._go_on()
            else:  # whatever was written, nothing says how much of it is whole
                shutil.rmtree(self._home, ignore_errors=True)
                self._home.mkdir()
            undone.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._held:
            if kind is None:
                self._finish()
            elif not self.appended:
                shutil.rmtree(self._home, ignore_errors=True)

    def append(
        self,
        rows: Tensor | Mapping[str, Tensor],
        group: Tensor | int,
        label: Tensor | None = None,
        part: SplitName | None = None,
        tokens: Tokens | None = None,
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        """Take rows [n, *F] of one document, or of the documents `group` [n] (any integers); of several sites, by their names.

        Rows may have class labels `label` [n] and tokens [n] (whose groups are not read: `group` counts), all or none, and a split
        `part`. `left_out` are numbers of rows that are not given, by the reason; the index keeps their sums.
        Raises ValueError for other sites or shapes than before, for NaN and infinity, and for values that `dtype` cannot hold.
        """
        values = {X: rows} if isinstance(rows, Tensor) else dict(rows)
        shapes = {name: tuple(value.shape[1:]) for name, value in values.items()}
        if self._journal is None:
            journal = Journal(self._settings, shapes, labelled=label is not None, tokens=tokens is not None)
            reserved = {*journal.numbers, "group", "label"}
            if not shapes or reserved & {*shapes} or not all(name and name.isprintable() for name in shapes):
                raise ValueError(
                    f"sites are named {list(shapes)}; expected at least one, printable, and none {' or '.join(map(repr, sorted(reserved)))}"
                )
            self._journal = journal
        if shapes != self._journal.shapes:
            raise ValueError(
                f"rows of shape {_in_words(shapes)}; expected {_in_words(self._journal.shapes)} as in {self.folder}"
            )
        for what, given, before in (("label", label, self._journal.labelled), ("token", tokens, self._journal.tokens)):
            if before != (given is not None):
                raise ValueError(
                    f"some rows have {what}s and some have none; expected a {what} for each row, or for none"
                )
        counts = {name: len(value) for name, value in values.items()}
        counts |= {} if label is None else {"label": len(label)}
        counts |= {} if tokens is None else {"tokens": len(tokens)}
        if len(set(counts.values())) > 1:
            raise ValueError(f"sites have {counts} rows; expected as many at each")
        n = next(iter(counts.values()))
        groups = torch.as_tensor(group, dtype=torch.int64).cpu().expand(n)
        if part is None:
            documents, inverse = groups.unique(return_inverse=True)
            parts = np.array([self._settings.part(document) for document in documents.tolist()], np.int64)[
                inverse.numpy()
            ]
        else:
            parts = np.full(n, PARTS.index(part), np.int64)
        numbers = [groups, *([] if label is None else [torch.as_tensor(label, dtype=torch.int64).cpu()])]
        numbers += [] if tokens is None else [tokens.ids, tokens.position, tokens.place]
        columns = [np.frombuffer(each.numpy().tobytes(), np.uint8).reshape(n, NUMBER_BYTES) for each in numbers]
        train = torch.from_numpy(parts == 0)
        records = np.concatenate(columns + [self._bytes(name, x, train) for name, x in values.items()], axis=1)
        for place, waiting in enumerate(self._waiting):
            waiting.append(records[parts == place])
        for reason, count in (left_out or {}).items():
            self._left_out[reason] = self._left_out.get(reason, 0) + count
        self._waiting_appended += 1
        self._waiting_bytes += records.nbytes
        if self._waiting_bytes >= BLOCK:
            self._flush()

    def _bytes(self, site: str, rows: Tensor, train: Tensor) -> Records:
        """The values of a site as they are stored; those of training count for its span."""
        size = (len(rows), math.prod(rows.shape[1:]))
        x = torch.empty(size, dtype=DTYPES[self._settings.dtype]).copy_(rows.detach().reshape(size))
        if len(x) and not all(math.isfinite(float(end)) for end in x.aminmax()):  # NaN goes through, and it is quick
            largest = float(rows.abs().max())
            reason = (
                f"values up to {largest:.3g} are too large for {self._settings.dtype}; set dtype to bfloat16 or float32"
                if math.isfinite(largest)
                else "NaN or infinity in them"
            )
            where = "" if site == X else f" at {site}"
            raise ValueError(f"rows after {self.appended + self._waiting_appended} appended{where}: {reason}")
        chosen = x[train]
        if len(chosen):
            low, high = self._spans.get(site, (math.inf, -math.inf))
            self._spans[site] = min(low, float(chosen.min())), max(high, float(chosen.max()))
        return x.view(torch.uint8).numpy()

    def _file(self, part: int) -> Path:
        return self._home / f"{PARTS[part]}.rows"

    def _flush(self) -> None:
        """Bring what waits to the disk, then say so in the journal."""
        journal = self._journal
        if journal is None or not self._waiting_appended:
            return
        rows = list(journal.rows)
        for part, waiting in enumerate(self._waiting):
            try:
                with self._file(part).open("ab") as file:
                    for records in waiting:
                        file.write(records.data)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"cannot write {self._file(part)}: {error.strerror}; free some space and start again: it goes on from here",
                ) from error
            rows[part] += sum(map(len, waiting))
            waiting.clear()
        appended = journal.appended + self._waiting_appended
        self._journal = msgspec.structs.replace(
            journal, appended=appended, rows=tuple(rows), spans=dict(self._spans), left_out=dict(self._left_out)
        )
        self._waiting_appended = self._waiting_bytes = 0
        write_atomic(self._home / JOURNAL, to_json(self._journal))

    def _go_on(self) -> None:
        path = self._home / JOURNAL
        journal = from_json(path.read_bytes(), Journal, str(path))
        if changes := differences(journal.settings, self._settings):
            raise FileExistsError(
                f"{self.folder}: holds an unfinished writing with other settings (there -> asked for: {'; '.join(changes)}); "
                "ask for the same to go on, or delete the folder"
            )
        self._journal, self._spans, self._left_out = journal, dict(journal.spans), dict(journal.left_out)
        for part, rows in enumerate(journal.rows):
            file, size = self._file(part), rows * journal.record_bytes
            if not file.is_file() or file.stat().st_size < size:
                raise ValueError(f"{file}: missing or cut short; delete the folder {self.folder} and start anew")
            os.truncate(file, size)

    def _finish(self) -> None:
        """Shuffle, write the shards, then the index."""
        self._flush()
        journal = self._journal
        if journal is None:
            shutil.rmtree(self._home)
            raise ValueError(f"{self.folder}: no rows were appended")
        empty = [part for part, rows in zip(PARTS, journal.rows, strict=True) if not rows]
        if empty or journal.spans.keys() != journal.shapes.keys():
            raise ValueError(
                f"{self.folder}: no document fell to {' and '.join(empty)}; delete the folder and write it anew with more "
                "documents, larger shares or another seed"
            )
        written: tuple[list[Shard], ...] = ([], [], [])
        with progress(f"shuffling {self.folder.name}", sum(journal.rows)) as report:
            for part, shards in enumerate(written):
                for shard in self._shards(part, journal):
                    shards.append(shard)
                    report(sum(s.rows for part in written for s in part))
        train, valid, test = map(tuple, written)
        index = Index(
            sites=tuple(ShardSite(name, shape, journal.spans[name]) for name, shape in journal.shapes.items()),
            dtype=self._settings.dtype,
            seed=self._settings.seed,
            train=train,
            valid=valid,
            test=test,
            provenance=self._settings.provenance,
            labelled=journal.labelled,
            tokens=journal.tokens,
            left_out=journal.left_out,
        )
        write_atomic(self.folder / INDEX, to_json(index))
        shutil.rmtree(self._home)

    def _shards(self, part: int, journal: Journal) -> Iterator[Shard]:
        """Write the shards of one split, of sizes that differ by one row at most."""
        n, most = journal.rows[part], self._settings.rows_per_shard
        count = -(-n // most)
        sizes = [n // count + (i < n % count) for i in range(count)]
        kept = {name: torch.empty(sizes[0], dtype=torch.int64) for name in journal.numbers} | {
            name: torch.empty(sizes[0], *shape, dtype=DTYPES[self._settings.dtype])
            for name, shape in journal.shapes.items()
        }
        columns = journal.columns
        bytes_of = {name: value.view(sizes[0], -1).view(torch.uint8).numpy() for name, value in kept.items()}
        filled, number = 0, 0
        source = Shuffle(self._home, most, journal.record_bytes, self._settings.seed)
        for records in source.slices(self._file(part), n, (part,)):
            while len(records):
                block, records = np.split(records, [sizes[number] - filled])
                for name, values in bytes_of.items():
                    values[filled : filled + len(block)] = block[:, columns[name]]
                filled += len(block)
                if filled == sizes[number]:
                    data = save({name: value[:filled] for name, value in kept.items()})
                    name = f"{PARTS[part]}-{number:05d}.safetensors"
                    write_atomic(self.folder / name, data, checked=True)  # it may be there from an interrupted call
                    yield Shard(name, filled, len(data), hashlib.sha256(data).hexdigest())
                    filled, number = 0, number + 1


def _in_words(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return str(shapes[X]) if list(shapes) == [X] else str(dict(shapes))
