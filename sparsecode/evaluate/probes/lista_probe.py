"""Supervised reference of the probes: a LISTA network trained end to end as a classifier."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sparsecode.evaluate.probes.probe import ProbeFeatures, ProbeTask, Track, Trial, untracked
from sparsecode.nn.encoders import LISTA, LISTAModule
from sparsecode.nn.init import uniform_fan_in
from sparsecode.ops.rng import generator
from sparsecode.train.uncompiled import AdamOptimiser

__all__ = ["lista_trials"]

RATE, BATCH = 1e-3, 250
STEPS, LOOK_EVERY, PATIENCE = 2000, 20, 15  # patience in looks at the validation samples without a better one


class _Classifier(nn.Module):
    def __init__(self, n_code: int, n_features: int, n_classes: int, rng: torch.Generator) -> None:
        super().__init__()
        self.encoder: LISTAModule = LISTA(n_iter=3).build(n_code, (n_features,), rng)
        self.weight = nn.Parameter(uniform_fan_in((n_classes, n_code), n_code, rng))
        self.bias = nn.Parameter(torch.zeros(n_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x) @ self.weight.T + self.bias


def lista_trials(pixels: ProbeFeatures, n_code: int, task: ProbeTask, track: Track = untracked) -> Iterator[Trial]:
    """A LISTA encoder (3 iterations) and a linear layer on normalised samples, both from scratch, on each subset.

    Cross entropy, Adam at 1e-3, batches of 250 or of all labelled samples if they are fewer; at most 2 000 steps. Every 20
    steps the validation accuracy is looked at; the weights of the best one are kept, and 15 looks without a better one end
    the training. Source: Evtimova & LeCun, TMLR 2022 (a fixed number of epochs there).
    """
    for (k, seed), rows in track(list(task.subsets.items()), "LISTA classifiers"):
        model = _Classifier(n_code, pixels.train.shape[1], task.n_classes, generator(seed, "probe, lista", k))
        yield _trained(model, pixels, rows, task, k, seed)


def _trained(model: _Classifier, pixels: ProbeFeatures, rows: Tensor, task: ProbeTask, k: int, seed: int) -> Trial:
    x, y = pixels.train[rows], task.train[rows]
    optimiser = AdamOptimiser(model.parameters(), lr=RATE)
    best, kept, waited = _accuracy(model, pixels.valid, task.valid), _copy(model), 0
    order, used, epoch = torch.arange(0), 0, 0
    for step in range(1, STEPS + 1):
        if used >= len(order):
            order, used, epoch = (
                torch.randperm(len(x), generator=generator(seed, "probe, order", k, epoch)),
                0,
                epoch + 1,
            )
        batch, used = order[used : used + BATCH], used + BATCH
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % LOOK_EVERY == 0:
            accuracy = _accuracy(model, pixels.valid, task.valid)
            waited += 1
            if accuracy > best:
                best, kept, waited = accuracy, _copy(model), 0
            if waited >= PATIENCE:
                break
    model.load_state_dict(kept)
    return Trial(k, best, _accuracy(model, pixels.test, task.test))


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def _accuracy(model: nn.Module, x: Tensor, label: Tensor) -> float:
    return float((model(x).argmax(dim=1) == label).double().mean())
