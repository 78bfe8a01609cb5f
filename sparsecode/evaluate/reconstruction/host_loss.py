"""Loss recovered in a language model: cross-entropy and divergence of its predictions with activations replaced by reconstructions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparsecode.data.hooks import call, evaluating, hooked
from sparsecode.evaluate.base import Result, Table
from sparsecode.interventions import spliced
from sparsecode.models.base import AbstractSparseModel
from sparsecode.specs import Spec

__all__ = ["HostBatch", "HostLoss", "RecoveredLoss", "recovered_losses"]

ROUNDING = 1e-6  # relative: baselines that are worse by less are no worse


class HostBatch(NamedTuple):
    """What the host is called with, its tokens [B, T], which of them are no padding, and the rows of which are replaced, each [B, T]."""

    inputs: dict[str, Tensor]
    ids: Tensor
    real: Tensor
    keep: Tensor


class HostLoss(Spec, tag="host_loss"):
    """Means over predictions of the next token, in nats: its cross-entropy, and KL(p || q) with p those of the unchanged host."""

    cross_entropy: float
    kl: float


class RecoveredLoss(Result, tag="recovered_loss"):
    """The host's losses over `n` predictions as it is, and with the outputs of `changed` replaced by reconstructions, zeros and their mean row.

    recovered = (zero - spliced) / (zero - clean) in cross-entropy, from_mean the same with the mean row in the place of zeros, and
    kl_recovered = 1 - KL(spliced) / KL(zero): 1 for a perfect reconstruction. None where the baseline is no worse than the host as it is.
    """

    changed: tuple[str, ...]
    n: int
    clean: HostLoss
    spliced: HostLoss
    zero: HostLoss
    mean: HostLoss
    recovered: float | None
    from_mean: float | None
    kl_recovered: float | None

    def means(self) -> dict[str, float]:
        shares = {name: getattr(self, name) for name in ("recovered", "from_mean", "kl_recovered")}
        values = {name: math.nan if value is None else value for name, value in shares.items()}
        return values | {"cross_entropy": self.spliced.cross_entropy, "kl": self.spliced.kl}

    @classmethod
    def table(cls, name: str, parts: Mapping[str, RecoveredLoss]) -> Table:
        """A block of rows for each place where outputs are replaced."""
        rows = [
            (f"{where}: {what}", f"{loss.cross_entropy:.4f}", f"{loss.kl:.4f}", shares)
            for where, result in parts.items()
            for what, loss, shares in (
                ("as it is", result.clean, ""),
                (
                    "reconstructions",
                    result.spliced,
                    ", ".join(map(_cell, (result.recovered, result.from_mean, result.kl_recovered))),
                ),
                ("mean row", result.mean, ""),
                ("zeros", result.zero, ""),
            )
        ]
        caption = (
            "nats per predicted token; recovered: (zeros - reconstructions) / (zeros - as it is) of the cross-entropy, the same from the "
            "mean row, and 1 - KL / KL of zeros"
        )
        return Table(name.replace("_", " "), ("outputs", "cross-entropy", "KL", "recovered"), rows, caption)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


@torch.no_grad()
def recovered_losses(
    host: nn.Module,
    model: AbstractSparseModel,
    hook_points: tuple[str, ...],
    batches: Callable[[], Iterable[HostBatch]],
) -> dict[str, RecoveredLoss]:
    """Losses by what is replaced: the output of the hook point; of a crosscoder, of every site alone, and of all together.

    `hook_points` as in `spliced`. `batches` gives the same batches each time it is called. A prediction counts if its token and the next
    are no padding. Rows that are not kept (special tokens, positions left out of training) stay as they are.

    Raises ValueError if there are no predictions, or no rows are kept.
    """
    sites = hook_points[1:] if model.target_shape is not None else hook_points
    means = _mean_rows(host, sites, batches())
    places = {"all sites" if len(sites) > 1 else sites[0]: sites}
    places |= {name: (name,) for name in sites} if len(sites) > 1 else {}
    variants: dict[str, Callable[[HostBatch], AbstractContextManager[Any]]] = {}
    for name, at in places.items():
        variants[f"{name} spliced"] = lambda b, at=at: spliced(
            host, model, hook_points, keep_error=False, keep=b.keep, at=at
        )
        variants[f"{name} zero"] = lambda b, at=at: _replaced(host, dict.fromkeys(at), b.keep)
        variants[f"{name} mean"] = lambda b, at=at: _replaced(host, {site: means[site] for site in at}, b.keep)
    total = {name: torch.zeros(2, dtype=torch.float64) for name in ("clean", *variants)}
    n = 0
    with evaluating(host):
        for batch in batches():
            counted = (batch.real[:, 1:] & batch.real[:, :-1]).flatten()
            wanted = batch.ids[:, 1:].flatten()[counted]
            clean = _log_probabilities(host, batch, counted)
            n += len(wanted)
            total["clean"][0] -= _of(clean, wanted)
            for name, variant in variants.items():
                with variant(batch):
                    changed = _log_probabilities(host, batch, counted)
                total[name][0] -= _of(changed, wanted)
                total[name][1] += (clean.exp() * (clean - changed)).double().sum().cpu()
    if not n:
        raise ValueError("batches: no predictions in them; expected spans of two tokens or more")
    losses = {name: HostLoss(*(value / n).tolist()) for name, value in total.items()}
    return {
        name: _result(at, n, losses["clean"], *(losses[f"{name} {v}"] for v in ("spliced", "zero", "mean")))
        for name, at in places.items()
    }


def _result(
    at: tuple[str, ...], n: int, clean: HostLoss, spliced: HostLoss, zero: HostLoss, mean: HostLoss
) -> RecoveredLoss:
    def share(baseline: HostLoss) -> float | None:
        lost = baseline.cross_entropy - clean.cross_entropy
        return (
            (baseline.cross_entropy - spliced.cross_entropy) / lost if lost > ROUNDING * clean.cross_entropy else None
        )

    kl = 1 - spliced.kl / zero.kl if zero.kl > ROUNDING else None
    return RecoveredLoss(at, n, clean, spliced, zero, mean, share(zero), share(mean), kl)


def _of(log_probabilities: Tensor, wanted: Tensor) -> Tensor:
    return log_probabilities.gather(1, wanted.to(log_probabilities.device)[:, None]).double().sum().cpu()


def _log_probabilities(host: nn.Module, batch: HostBatch, counted: Tensor) -> Tensor:
    output = call(host, batch.inputs)
    logits = output if isinstance(output, Tensor) else output.logits
    return logits[:, :-1].flatten(0, 1)[counted.to(logits.device)].float().log_softmax(dim=1)


def _mean_rows(host: nn.Module, sites: tuple[str, ...], batches: Iterable[HostBatch]) -> dict[str, Tensor]:
    total: dict[str, Tensor] = {}
    n = 0

    def watch(name: str, keep: Tensor, x: Tensor) -> Tensor:
        rows = x[keep.to(x.device)].double().sum(dim=0).cpu()
        total[name] = total[name] + rows if name in total else rows
        return x

    with evaluating(host):
        for batch in batches:
            n += int(batch.keep.sum())
            with ExitStack() as stack:
                for name in sites:
                    stack.enter_context(hooked(host, name, partial(watch, name, batch.keep)))
                call(host, batch.inputs)
    if not n or set(total) != {*sites}:
        raise ValueError(f"hook_points {', '.join(sites)}: the forward pass never calls them, or no rows are kept")
    return {name: value / n for name, value in total.items()}


def _replaced(host: nn.Module, values: Mapping[str, Tensor | None], keep: Tensor) -> AbstractContextManager[Any]:
    """Rows that are kept are these values, or zeros."""

    def change(value: Tensor | None, x: Tensor) -> Tensor:
        new = torch.zeros_like(x) if value is None else value.to(x).expand_as(x)
        return torch.where(keep.to(x.device)[..., None], new, x)

    stack = ExitStack()
    for name, value in values.items():
        stack.enter_context(hooked(host, name, partial(change, value)))
    return stack
