"""Models that `sparsecode convert` changes before it writes them: thresholds in the place of a count, another k."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from sparsecode.choices import Thresholds
from sparsecode.cli.arguments import UsageError
from sparsecode.data import Splits
from sparsecode.hub import local_path
from sparsecode.interop.formats import locate, read_any
from sparsecode.interop.jumprelu import to_jumprelu
from sparsecode.interop.native import model_folder, to_model
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.other_k import with_k
from sparsecode.models.storage import load_model, save_model

__all__ = ["changed_model", "fitted_line", "loss_warning"]

FITTED_TO = 20_000  # training samples behind thresholds
HELD_OUT = 10_000  # validation samples that have the wanted mean number
NUMBERS = 1 << 28  # pre-activations in memory at most
LOST = 0.05  # of explained variance: more than thresholds cost a model that is trained


def changed_model(
    src: Path,
    aside: Path,
    splits: Splits | None,
    ignore: Collection[str],
    thresholds: Thresholds | None,
    l0: float | None,
    k: int | None,
) -> tuple[Path, dict[str, Any]]:
    """A folder below `aside` with the model at `src` after the change, and what the conversion's note says of it and of `src`.

    Raises UsageError naming the option for models that cannot be changed so, and what `read_any` raises.
    """
    path = local_path(src)
    source_format, place = locate(src)
    record = read_any(path, ignore=ignore)
    folder = model_folder(path)
    model: AbstractSparseModel = to_model(record) if folder is None else load_model(folder)
    noted: dict[str, Any] = {"source_format": source_format}
    try:
        if k is not None:
            model, noted["k"] = with_k(model, k), k
        if thresholds is not None and splits is not None:
            most = max(1, NUMBERS // model.n_code)
            train = splits.train.take(slice(min(FITTED_TO, most)))
            train, valid = (part_like(part, model) for part in (train, splits.valid.take(slice(min(HELD_OUT, most)))))
            model, report = to_jumprelu(model, train, valid, thresholds=thresholds, l0=l0)
            noted["jumprelu"] = {"thresholds": thresholds, "fitted_to": train.n, **msgspec.to_builtins(report)}
    except ValueError as error:
        option = "--jumprelu" if thresholds is not None else f"--k {k}"
        raise UsageError(f"{option}: {error}") from None
    written = aside / place.resolve().name
    save_model(model, written, {"origin": dict(record.metadata)})
    return written, noted


def part_like(part: Any, model: AbstractSparseModel) -> Any:
    """Samples in the shape that the model takes: models of other libraries take rows."""
    if part.x.shape[1:] == model.shape:
        return part
    return part._replace(x=part.x.reshape(part.n, *model.shape))


def fitted_line(report: dict[str, Any]) -> str:
    """What the change to thresholds did, in words."""
    moved = f"thresholds: L0 from {report['l0_before']:.4g} to {report['l0_after']:.4g}"
    before, after = report["explained_variance_before"], report["explained_variance_after"]
    if before is not None and after is not None:
        moved += f", explained variance from {before:.4f} to {after:.4f}"
    return f"{moved}, on {report['n']} validation samples"


def loss_warning(report: dict[str, Any], l0: float | None) -> str | None:
    """A warning where the change to thresholds lowers explained variance by more than `LOST`."""
    before, after = report["explained_variance_before"], report["explained_variance_after"]
    if before is None or after is None or before - after <= LOST:
        return None
    other = "" if l0 is None else f", or give a larger --l0 than {l0:g}"
    return (
        f"warning: explained variance falls by more than {LOST:g}, from {before:.4f} to {after:.4f}: thresholds do not stand for this "
        f"model's k largest codes; train it longer, or keep top-k (convert without --jumprelu){other}"
    )
