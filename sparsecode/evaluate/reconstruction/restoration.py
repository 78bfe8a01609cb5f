"""Restoring samples that were corrupted as in training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import CHUNK, WHOLE, KnownMeasure, MeasureSettings, Result, Table, in_parts
from sparsecode.evaluate.metrics import mean_squared_error, psnr
from sparsecode.models.base import AbstractSparseModel
from sparsecode.ops.rng import generator

__all__ = ["Restoration", "Restored", "corrupted", "restore"]


class Restored(Result, tag="restored"):
    """Errors against the clean samples, in data space: mean squared error per feature, mean PSNR in dB.

    `corrupted_mse` and `corrupted_psnr` are those of the input. `hidden_mse` is of the features that the corruption
    covered and `visible_mse` of the others; None if it changes all alike.
    """

    n: int
    corrupted_mse: float
    corrupted_psnr: float
    mse: float
    psnr: float
    hidden_mse: float | None
    visible_mse: float | None

    def means(self) -> dict[str, float]:
        """PSNR and mean squared error of restored samples, the latter also for covered and for visible features."""
        values = {"psnr": self.psnr, "mse": self.mse, "hidden_mse": self.hidden_mse, "visible_mse": self.visible_mse}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def table(cls, name: str, parts: Mapping[str, Restored]) -> Table:  # noqa: ARG003 - the contract
        """Errors before and after, and on what the corruption covered."""
        restored = next(iter(parts.values()))
        header = ("", "PSNR", "mean squared error", "where covered", "elsewhere")
        before = ("corrupted", f"{restored.corrupted_psnr:.2f}", _cell(restored.corrupted_mse), "", "")
        errors = (restored.mse, restored.hidden_mse, restored.visible_mse)
        after = ("restored", f"{restored.psnr:.2f}", *map(_cell, errors))
        return Table(f"restoring {restored.n} samples corrupted as in training", header, [before, after])


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"


@torch.no_grad()
def corrupted(model: AbstractSparseModel, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor | None] | None:
    """x [B, *F] as the model's training corrupts it, in data space, and the mask of what is covered; None if it does not."""
    rows = model.normalise(x)
    made = model.corrupt(rows, rng)
    if made is None or made.x is rows:  # or its noise was annealed to nothing
        return None
    hidden = None if made.hidden is None else made.hidden.reshape(x.shape)
    return model.denormalise(made.x), hidden


@torch.no_grad()
def restore(model: AbstractSparseModel, split: Split, data_range: float, seed: int = 0) -> Restored | None:
    """Corrupt, encode, decode, compare; the corruption is a function of the seed. None for models trained on clean input."""
    before = after = before_db = after_db = covered = uncovered = n_covered = n_uncovered = 0.0
    for start, part in split.chunks(CHUNK):
        x = part.x
        made = corrupted(model, x, generator(seed, "restore", start))
        if made is None:
            return None
        noisy, hidden = made
        y = in_parts(model.reconstruct, noisy, model.n_code)
        before += float(mean_squared_error(x, noisy).double().sum())
        after += float(mean_squared_error(x, y).double().sum())
        before_db += float(psnr(x, noisy, data_range).double().sum())
        after_db += float(psnr(x, y, data_range).double().sum())
        if hidden is not None:
            square = (x - y).double().square()
            covered, n_covered = covered + float(square[hidden].sum()), n_covered + int(hidden.sum())
            uncovered, n_uncovered = uncovered + float(square[~hidden].sum()), n_uncovered + int((~hidden).sum())
    return Restored(
        n=split.n,
        corrupted_mse=before / split.n,
        corrupted_psnr=before_db / split.n,
        mse=after / split.n,
        psnr=after_db / split.n,
        hidden_mse=covered / n_covered if n_covered else None,
        visible_mse=uncovered / n_uncovered if n_uncovered else None,
    )


class Restoration(KnownMeasure, tag="restoration"):
    """Errors of reconstructions from samples corrupted as in training: `restore`."""

    def applies(self, model: AbstractSparseModel) -> bool:
        return model.reconstructs

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, Restored]:
        result = restore(model, split, settings.data_range, seed)
        return {} if result is None else {WHOLE: result}
