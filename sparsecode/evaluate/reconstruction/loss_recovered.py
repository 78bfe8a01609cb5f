"""Loss recovered: the loss of a network with a layer's activations replaced by their reconstructions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparsecode.data.hooks import Inputs, call, evaluating, hooked

__all__ = ["Recovered", "loss_recovered"]

Change = Callable[[Tensor], Tensor]  # rows [n, d] to rows [n, d]


ROUNDING = 1e-6  # of a mean loss in float32: baselines that are worse by less are no worse


class Recovered(NamedTuple):
    """Mean losses with the hook point's output as it is, `replaced` by reconstructions, by zeros and by its mean row.

    The two shares are NaN where their baseline is no worse than the clean loss: nothing was lost that could be recovered.
    """

    clean: float
    replaced: float
    zero: float
    mean: float

    @property
    def recovered(self) -> float:
        """(zero - replaced) / (zero - clean): 1 for a perfect reconstruction, 0 for one no better than zeros."""
        return _share(self.zero, self.replaced, self.clean)

    @property
    def recovered_from_mean(self) -> float:
        """(mean - replaced) / (mean - clean): the same against the mean row, a harder baseline."""
        return _share(self.mean, self.replaced, self.clean)


def _share(baseline: float, replaced: float, clean: float) -> float:
    return (baseline - replaced) / (baseline - clean) if _is_worse(baseline, clean) else math.nan


def _is_worse(baseline: float, clean: float) -> bool:
    return baseline - clean > ROUNDING * abs(clean)


def loss_recovered(
    module: nn.Module,
    hook_point: str,
    batches: Collection[Inputs],
    loss: Callable[[Any, Any], Tensor],
    reconstruct: Change,
    *,
    keep: Callable[[Any], Tensor] | None = None,
) -> Recovered:
    """The loss of `module` with the output of its submodule `hook_point` replaced by `reconstruct` of its rows.

    `loss(output, batch)` gives the losses of single predictions, in any shape: all count alike, whatever batch they are in.
    `keep(batch)`, a mask over rows [B, ...], says which rows are replaced and make up the mean; the others (special
    tokens, padding) stay as they are. Default: all. Each batch is run four times, in evaluation mode.

    Warns if zeros or the mean row are no worse than the output as it is; the share of the loss recovered is NaN then. Raises ValueError naming `hook_point` if there is no such submodule or it is never called, or if there are no losses.

    >>> import torch
    >>> from sparsecode.evaluate import loss_recovered
    >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> batches = [torch.randn(16, 4, generator=torch.Generator().manual_seed(0))]
    >>> target = network(batches[0]).detach()
    >>> def loss(output, batch):
    ...     return (output - target).square().sum(dim=1)
    >>> result = loss_recovered(network, "1", batches, loss, reconstruct=lambda x: x)
    >>> result.replaced == result.clean
    True
    """
    total, seen = torch.zeros((), dtype=torch.float64), 0

    def run(change: Callable[[Tensor, Tensor], Tensor]) -> float:
        lost, count = 0.0, 0
        for batch in batches:

            def on_rows(x: Tensor, batch: Any = batch) -> Tensor:
                mask = torch.ones(x.shape[:-1]) if keep is None else keep(batch)
                return change(x, mask.to(x.device, torch.bool))

            with hooked(module, hook_point, on_rows):
                losses = loss(call(module, batch), batch)
            lost, count = lost + float(losses.double().sum()), count + losses.numel()
        if not count:
            raise ValueError("batches and loss: no losses in them; expected at least one prediction")
        return lost / count

    def watch(x: Tensor, mask: Tensor) -> Tensor:
        nonlocal total, seen
        rows = x[mask].double().cpu()
        total, seen = total + rows.sum(dim=0), seen + len(rows)
        return x

    def by(values: Change) -> Callable[[Tensor, Tensor], Tensor]:
        def change(x: Tensor, mask: Tensor) -> Tensor:
            replaced = x.clone()
            replaced[mask] = values(x[mask]).to(x)
            return replaced

        return change

    with evaluating(module):
        clean = run(watch)
        if not seen:
            raise ValueError(f"hook_point {hook_point!r}: {type(module).__name__} never calls it, or no rows are kept")
        mean = total / seen
        result = Recovered(
            clean=clean,
            replaced=run(by(reconstruct)),
            zero=run(by(torch.zeros_like)),
            mean=run(by(lambda rows: mean.to(rows).expand_as(rows))),
        )
    for share, name, baseline in (
        ("recovered", "zeros", result.zero),
        ("recovered_from_mean", "the mean row", result.mean),
    ):
        if not _is_worse(baseline, clean):
            warnings.warn(
                f"{share} is NaN: with hook_point {hook_point!r} replaced by {name} the loss is {baseline:.6g}, and {clean:.6g} as it is; "
                "expected the replacement to be worse: choose a hook point on which the loss depends",
                stacklevel=2,
            )
    return result
