"""Pictures and histograms of a model in training, for the observers that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from sparsecode.data import Splits
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_posterior
from sparsecode.plots import code_usage, is_picture
from sparsecode.plots.saving import as_pixels
from sparsecode.records import Event
from sparsecode.reports.codes import subject_of
from sparsecode.reports.run_figures import atoms_and_reconstructions, has_pictures, shown_of, usage_of
from sparsecode.train.observers import Shows, Snapshot

__all__ = ["Snapshots"]


class Snapshots:
    """An observer that draws the model as it is at every validation, and gives the pictures to those that `show` them.

    Validation samples alone are used: the use of the codes and, of images, atoms and reconstructions; of variational models
    codes and draws from the prior. Histograms: the share of samples that use each code, and the norms of the parameters'
    rows. Training is not changed by it: draws have generators that are not those of the training.
    """

    def __init__(
        self, model: AbstractSparseModel, splits: Splits, theta: float, seed: int, showing: Sequence[Shows]
    ) -> None:
        self.model, self.splits, self.theta, self.seed, self.showing = model, splits, theta, seed, showing

    def __call__(self, event: Event) -> None:
        if event.kind != "evaluate":
            return
        training = self.model.training
        self.model.eval()
        try:
            snapshot = self._drawn(event.step)
        finally:
            self.model.train(training)
        for observer in self.showing:
            observer.show(snapshot)

    @torch.no_grad()
    def _drawn(self, step: int) -> Snapshot:
        model, valid, name = self.model, self.splits.valid, f"step {step}"
        used = usage_of(model, valid, self.theta)
        figures: dict[str, Figure] = {"usage": code_usage(used, f"{name}: use of the codes by validation samples")}
        if has_pictures(model):
            shown = shown_of(model, valid, "validation", self.splits)
            figures |= atoms_and_reconstructions(model, valid, shown, name)
        if has_posterior(model) and is_picture(model.shape):
            subject = subject_of(model, self.splits._replace(test=valid), name)._replace(split="validation")
            figures |= {"encoding": subject.encodings(), "prior": subject.prior(self.seed)}
        rows = {
            f"norms of {n}": np.asarray(torch.linalg.vector_norm(p.flatten(1).double(), dim=1).cpu())
            for n, p in model.named_parameters()
            if p.ndim > 1
        }
        shares: Mapping[str, np.ndarray] = {f"use by {coder}": share for coder, (share, _) in used.items()}
        return Snapshot(step, {n: as_pixels(figure) for n, figure in figures.items()}, {**shares, **rows})
