"""The term added for activations with a random draw."""

from __future__ import annotations

from torch import Tensor

from sparsecode.losses.term import Forward, TermModule

__all__ = ["Reinforce"]


class Reinforce(TermModule):
    """A term of value 0 whose gradient is that of the expected fidelity through the density p_i of the draw for sample i.

    (e_i - mean of the others' e) log p_i, e the fidelity: unbiased, as e_i is not in its own baseline. Source: Williams,
    Machine Learning 1992.
    """

    @property
    def part(self) -> str:
        return "reinforce"

    def value(self, forward: Forward) -> Tensor | None:
        given = forward.fidelity.detach()
        if forward.dense.logp is None or len(given) < 2:  # nothing was drawn
            return None
        advantage = given - (given.sum() - given) / (len(given) - 1)
        surrogate = (advantage * forward.logp).mean()
        return surrogate - surrogate.detach()
