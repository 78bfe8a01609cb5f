"""`sparsecode encode`: codes as a file, or as a folder of sparse codes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.cli.arguments import UsageError, using
from sparsecode.cli.console import Console
from sparsecode.cli.encode_samples import SampleBlocks, of_array, of_shards, of_split
from sparsecode.cli.paths import refuse_key, refuse_to_overwrite, run_labels
from sparsecode.data.code_index import tensors_of
from sparsecode.data.code_writer import CodeWriter, refuse_codes
from sparsecode.data.codes import read_codes
from sparsecode.data.images import SplitName, progress
from sparsecode.evaluate.base import rows_together
from sparsecode.files import save_atomic
from sparsecode.hub import local_path, refuse_hub
from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.csr import CSRRows
from sparsecode.runs import RunFolder
from sparsecode.version import __version__

__all__ = ["encode_command"]

GAP = "gap"

NamedArrays = dict[str, NDArray[Any]]


@torch.no_grad()
def encode_command(args: using.EncodeArguments) -> None:
    """Code the rows of an array, of a folder of shards, or of a split of the run's own data."""
    out, to_folder = args.out, not args.out.suffix
    if not to_folder and out.suffix not in WRITERS:
        raise UsageError(
            f"--out {out}: expected a name that ends in {' or '.join(WRITERS)}, or in neither, for a folder"
        )
    if (args.samples is None) == (args.split is None):
        raise UsageError("expected either SAMPLES or --split, one of the two")
    if args.rows_per_shard < 1:
        raise UsageError(f"--rows-per-shard {args.rows_per_shard}: expected at least 1")
    refuse_key(args.key, None if args.samples is None else local_path(args.samples), "SAMPLES")
    refuse_hub(out)
    if to_folder:
        refuse_codes(out)
    else:
        refuse_to_overwrite("--out", out, args.force)
    folder, console = RunFolder(args.run), Console()
    model = folder.best_model()
    (called,) = run_labels((args.run,), console)
    try:
        name = model.coder_called(args.coder)
    except ValueError as error:
        raise UsageError(f"--{error}") from None
    samples = _samples(args, folder, model)
    metadata = {
        "sparsecode": __version__,
        "run": called,
        "coder": name,
        "model": hashlib.sha256((folder.model / "sae_weights.safetensors").read_bytes()).hexdigest(),
        "data": folder.provenance().data,
        **samples.origin,
    }
    coder = _Coder(model, model.coders()[name])
    if to_folder:
        described, n_active, gap = _to_folder(out, coder, samples, metadata, console)
    elif args.csr:
        described, n_active, gap = _to_sparse_file(out, coder, samples, metadata)
    else:
        described, n_active, gap = _to_dense_file(out, coder, samples, metadata)
    certificate = f", largest relative gap {float(gap.max()):.1e}" if len(gap) else ""
    console.print(
        f"{out}: {described} by {name}, {n_active / samples.n:.2f} of {model.n_code} active per sample{certificate}",
        highlight=False,
        soft_wrap=True,
    )


def _samples(args: using.EncodeArguments, folder: RunFolder, model: AbstractSparseModel) -> SampleBlocks:
    if args.samples is None:
        split = args.split or ""
        return of_split(getattr(folder.splits(args.data_path), split), split, args.rows_per_shard)
    path = local_path(args.samples)
    if path.is_dir():
        return of_shards(path, folder, model)
    return of_array(path, args.key, args.rows_per_shard, folder, model)


class _Chunk(NamedTuple):
    """Dense codes of a few rows, and the gaps of those that are solved for."""

    z: Tensor
    gap: Tensor


class _Block(NamedTuple):
    """The chunks of rows that are read together, with their split and numbers beside each row."""

    chunks: Iterator[_Chunk]
    split: SplitName | None
    columns: NamedArrays


class _Coder(NamedTuple):
    model: AbstractSparseModel
    encode: Callable[[Tensor], Tensor]

    def blocks(self, samples: SampleBlocks, skip: int = 0) -> Iterator[_Block]:
        """The codes of all blocks but the first `skip`; those of one have to be consumed before the next."""
        done = sum(n for n, _ in samples.blocks[:skip])
        with progress("encoding", samples.n) as report:
            report(done)
            for n, read in samples.blocks[skip:]:
                x, split, columns = read()
                arrays = {name: value.numpy() for name, value in columns.items()}
                yield _Block(self._chunks(x, samples.source, done, report), split, arrays)
                done += n

    def _chunks(self, x: Tensor, source: str, first: int, report: Callable[[int], None]) -> Iterator[_Chunk]:
        weights, size = next(self.model.parameters()), rows_together(self.model.n_code)
        for start in range(0, len(x), size):
            rows = x[start : start + size].to(weights.dtype)
            z = self.encode(rows)
            gap = self.model.gap(rows, z)
            _refuse_overflow(source, first + start, z, gap)
            report(first + start + len(rows))
            yield _Chunk(z, z.new_zeros(0) if gap is None else gap)


def _to_folder(
    out: Path, coder: _Coder, samples: SampleBlocks, metadata: dict[str, str], console: Console
) -> tuple[str, int, NDArray[Any]]:
    sizes = {"rows_per_file": str(max(n for n, _ in samples.blocks))}  # where the next file begins when it is resumed
    with CodeWriter(out, provenance=metadata | sizes) as writer:
        if writer.appended:
            console.print(
                f"resuming {out} after {writer.appended} of {len(samples.blocks)} files",
                highlight=False,
                soft_wrap=True,
            )
        for block in coder.blocks(samples, writer.appended):
            codes, gap = _sparse(coder, block.chunks)
            writer.append(codes, split=block.split, columns=block.columns | ({GAP: gap} if len(gap) else {}))
    codes = read_codes(out)
    gap = codes.column(GAP) if GAP in codes.index.columns else np.zeros(0)
    return f"{codes.shape} {codes.index.dtype} in {len(codes.index.shards)} files", codes.nnz, gap


def _to_sparse_file(
    out: Path, coder: _Coder, samples: SampleBlocks, metadata: dict[str, str]
) -> tuple[str, int, NDArray[Any]]:
    columns: list[NamedArrays] = []

    def chunks() -> Iterator[_Chunk]:
        for block in coder.blocks(samples):
            yield from block.chunks
            columns.append(block.columns)

    codes, gap = _sparse(coder, chunks())
    arrays = _joined(columns)
    if out.suffix == ".npz":
        arrays |= {  # as `scipy.sparse.save_npz` names them
            "indices": codes.indices,
            "indptr": codes.indptr,
            "format": np.array(b"csr"),
            "shape": np.array(codes.shape),
            "data": codes.data,
            "_is_array": np.array(True),
        }
    else:
        arrays = tensors_of(codes, arrays)
    _save(out, arrays, metadata | {"n_code": str(codes.shape[1])})
    return f"{codes.shape} {codes.dtype} in compressed sparse rows", codes.nnz, gap


def _to_dense_file(
    out: Path, coder: _Coder, samples: SampleBlocks, metadata: dict[str, str]
) -> tuple[str, int, NDArray[Any]]:
    chunks: list[_Chunk] = []
    columns: list[NamedArrays] = []
    for block in coder.blocks(samples):
        chunks.extend(block.chunks)
        columns.append(block.columns)
    z = torch.cat([chunk.z for chunk in chunks])
    arrays: NamedArrays = {"z": z.numpy(), **_joined(columns)}
    _save(out, arrays, metadata)
    described = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in arrays.items())
    return described, int((z != 0).sum()), torch.cat([chunk.gap for chunk in chunks]).numpy()


def _sparse(coder: _Coder, chunks: Iterator[_Chunk]) -> tuple[Any, NDArray[Any]]:
    """Codes as a `scipy.sparse.csr_array`, of which one chunk at a time is dense, and their gaps."""
    kept = CSRRows(coder.model.n_code, next(coder.model.parameters()).dtype)
    gaps: list[Tensor] = []
    for z, gap in chunks:
        kept.append(z)
        gaps.append(gap)
    return kept.result(), torch.cat(gaps).numpy()


def _joined(columns: list[NamedArrays]) -> NamedArrays:
    return {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}


def _save(out: Path, arrays: NamedArrays, metadata: dict[str, str]) -> None:
    save_atomic(out, lambda file: WRITERS[out.suffix](file, arrays, metadata), checked=True)


def _write_npz(file: BytesIO, arrays: NamedArrays, _metadata: dict[str, str]) -> None:
    np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType] - the names are ours


def _write_safetensors(file: BytesIO, arrays: NamedArrays, metadata: dict[str, str]) -> None:
    from safetensors.numpy import save

    file.write(save(arrays, metadata))


WRITERS: dict[str, Callable[[BytesIO, NamedArrays, dict[str, str]], None]] = {
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
}


def _refuse_overflow(source: str, first: int, z: Tensor, gap: Tensor | None) -> None:
    sound = z.isfinite().all(dim=1)
    if gap is not None:  # infinite for a sample of zeros; NaN where a square overflowed on the way
        sound &= ~gap.isnan()
    if not bool(sound.all()):
        raise ValueError(
            f"{source}: the sample in row {first + int(sound.int().argmin())} is too large to be coded in "
            f"{str(z.dtype).removeprefix('torch.')}, the first of these; scale them as the run's data were"
        )
