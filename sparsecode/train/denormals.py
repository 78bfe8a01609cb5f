"""Sets decaying optimiser state to 0 before it becomes denormal, which slows processors down."""

from __future__ import annotations

import torch

from sparsecode.train.optim import OptimiserGroup

__all__ = ["EVERY", "flush_"]

# Halved often enough, a first moment whose gradients have stopped (of pixels that are nearly always black, of dead units)
# becomes subnormal, below 1.2e-38 in float32, and stays there by rounding; arithmetic on such numbers is many times
# slower. With Adam's beta1 of 0.9 a moment takes 284 steps from here to there.
EVERY, NEGLIGIBLE = 256, 1e-25


@torch.no_grad()
def flush_(groups: list[OptimiserGroup]) -> None:
    """Set first moments below 1e-25 in magnitude to exactly 0: far less than any change of a weight."""
    for group in groups:
        for state in group.optimiser.state.values():
            for name in ("exp_avg", "momentum_buffer"):
                moment = state.get(name)
                if moment is not None:
                    moment.masked_fill_(moment.abs() < NEGLIGIBLE, 0)
