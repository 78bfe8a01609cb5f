"""Use of the codes of a variational model: which are on, on what share of the samples, and the variance of their gates."""

from __future__ import annotations

import torch

from sparsecode.data.splits import Split
from sparsecode.evaluate.base import WHOLE, KnownMeasure, MeasureSettings, Result, rows_together
from sparsecode.evaluate.metrics import hoyer, psnr, sees_structure, ssim
from sparsecode.evaluate.variational.elbo import bound
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_posterior
from sparsecode.models.variational import VariationalModel
from sparsecode.nn.posteriors import Gaussian

__all__ = ["ALWAYS", "DEAD", "GateUse", "Gates", "gate_use"]

ALWAYS, DEAD = 0.99, 0.001  # shares of the samples above and below which a code is always on, and dead
UNIT = 0.01  # variance over samples above which a unit is called active; source: Burda et al., ICLR 2016


class GateUse(Result, tag="gate_use"):
    """Over the n samples of a split; a code is on where gamma > 1/2, and codes without a gate are on everywhere (gamma = 1).

    `active`: codes that are on, mean over samples; `expected`: sum of gamma. `usage`: share of samples on which each code
    is on; counts of codes by it: `always_on` (above 0.99), `dead` (below 0.001). `selection`: variance of each gamma over
    the samples, 0 where the data do not choose. `active_units`: codes whose posterior mean (gamma mu) has a variance
    above 0.01. `hoyer`: of the codes with gates on or off, mean over samples with one that is on; None without such. `psnr`,
    `ssim`: of their reconstructions, the latter None but for images of at least 11 by 11 pixels. `hard_gap`: elbo of relaxed
    gates, as in training, less that of hard ones, in nats, each by one draw per sample; what leaks through gates that are nearly shut. None for codes without gates.
    Sources: active units, Burda, Grosse & Salakhutdinov, ICLR 2016; Hoyer, JMLR 2004.
    """

    n: int
    n_code: int
    active: float
    expected: float
    always_on: int
    dead: int
    active_units: int
    hoyer: float | None
    psnr: float
    hard_gap: float | None
    usage: tuple[float, ...]
    selection: tuple[float, ...]
    ssim: float | None = None

    def means(self) -> dict[str, float]:
        """The quantities that the replication reports; `selection` is the mean over codes."""
        values = {
            "always_on": self.always_on,
            "active_units": self.active_units,
            "selection": sum(self.selection) / self.n_code,
            "hoyer": self.hoyer,
            "hard_gap": self.hard_gap,
        }
        return {name: float(value) for name, value in values.items() if value is not None}


@torch.no_grad()
def gate_use(model: VariationalModel, split: Split, data_range: float, seed: int = 0) -> GateUse:
    """Use of the codes on a split; the seed is that of the draws behind `hard_gap`."""
    n_code, n = model.spec.n_code, split.n
    on = torch.zeros(n_code, dtype=torch.float64)
    quality, alike, uneven, nonzero = 0.0, 0.0, 0.0, 0
    images = sees_structure(model.shape)
    gammas, means = list[torch.Tensor](), list[torch.Tensor]()
    for _, part in split.chunks(rows_together(n_code)):
        x = part.x.to(next(model.parameters()))
        q = model.posterior(x)
        gamma = torch.ones_like(q.mu) if q.gamma is None else q.gamma
        z = model.encode(x)
        on += (gamma > 0.5).sum(dim=0).double().cpu()
        some = hoyer(z[(z != 0).any(dim=1)])
        uneven, nonzero = uneven + float(some.double().sum()), nonzero + len(some)
        y = model.denormalise(model.decode(z))
        seen = part.pixels(x), part.pixels(y)
        quality += float(psnr(*seen, data_range).double().sum())
        alike += float(ssim(*seen, data_range).sum()) if images else 0.0
        gammas.append(gamma.double().cpu())
        means.append((gamma * q.mu).double().cpu())
    gamma, usage = torch.cat(gammas), on / n
    gated = not isinstance(model.spec.posterior, Gaussian)
    return GateUse(
        n=n,
        n_code=n_code,
        active=float(usage.sum()),
        expected=float(gamma.sum()) / n,
        always_on=int((usage > ALWAYS).sum()),
        dead=int((usage < DEAD).sum()),
        active_units=int((torch.cat(means).var(dim=0, correction=0) > UNIT).sum()),
        hoyer=uneven / nonzero if nonzero and n_code > 1 else None,
        psnr=quality / n,
        ssim=alike / n if images else None,
        hard_gap=bound(model, split, seed, hard=False).elbo - bound(model, split, seed).elbo if gated else None,
        usage=tuple(usage.tolist()),
        selection=tuple(gamma.var(dim=0, correction=0).tolist()),
    )


class Gates(KnownMeasure, tag="gates"):
    """Use of the codes of a variational model: `gate_use`."""

    def applies(self, model: AbstractSparseModel) -> bool:
        return has_posterior(model)

    def measure(
        self, model: AbstractSparseModel, split: Split, settings: MeasureSettings, seed: int
    ) -> dict[str, GateUse]:
        return {WHOLE: gate_use(model, split, settings.data_range, seed)} if has_posterior(model) else {}
