"""Learned lateral inhibition as an activation."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.nn.activations.base import ActivationModule
from sparsecode.specs import Spec

__all__ = ["Inhibition"]


class Inhibition(Spec, tag="inhibition"):
    """z = relu(m_T): m_0 = pre; m_{t+1} = m_t + step_size (m_0 - f(G(relu(m_t))) - m_t), G learned through all T steps.

    `all_to_all`: G is a matrix [n_code, n_code], its diagonal free; `interneuron`: one rectified unit, G(z) = relu(z a + c) b.
    f is the identity, and negative entries of G excite; `only_inhibitory`, f rectifies, and the current can only suppress.
    Without steps, or with G = 0 and step_size 1, this is `ReLU`. LISTA (Gregor & LeCun, ICML 2010) with the roles of the
    drive kept; after the circuits of the code of Bricken et al., ICML 2023.
    """

    circuit: Literal["all_to_all", "interneuron"] = "all_to_all"
    steps: Annotated[int, Meta(ge=0, le=1000, description="T")] = 1
    step_size: Annotated[float, Meta(gt=0, le=1)] = 1.0
    only_inhibitory: bool = False

    def build(self, n_code: int) -> InhibitionModule:
        return InhibitionModule(self, n_code)


class InhibitionModule(ActivationModule):
    """The module of `Inhibition`; parameters: `lateral` [n_code, n_code], from 0; or `inward` [n_code], `bias`, `outward` [n_code].

    The interneuron at first subtracts the mean of the codes from each of them.
    """

    competes = True

    def __init__(self, spec: Inhibition, n_code: int) -> None:
        super().__init__()
        self.spec = spec
        first = (
            {"lateral": torch.zeros(n_code, n_code)}
            if spec.circuit == "all_to_all"
            else {"inward": torch.full((n_code,), 1 / n_code), "bias": torch.zeros(1), "outward": torch.ones(n_code)}
        )
        for name, value in first.items() if spec.steps else ():
            self.register_parameter(name, nn.Parameter(value))

    def current(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """f(G(z))."""
        if self.spec.circuit == "all_to_all":
            made = z @ self.get_parameter("lateral").T
        else:
            unit = torch.relu(z @ self.get_parameter("inward") + self.get_parameter("bias"))
            made = unit[:, None] * self.get_parameter("outward")
        return torch.relu(made) if self.spec.only_inhibitory else made

    def shape(self, pre: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        return torch.relu(self._inhibited(pre))

    def present(self, pre: Float[Tensor, "b k"]) -> dict[str, float]:
        """`inhibition`: mean over samples and units of pre - m_T."""
        return {"inhibition": float((pre - self._inhibited(pre)).double().mean())}

    def _inhibited(self, pre: Tensor) -> Tensor:
        """m_T."""
        m = pre
        for _ in range(self.spec.steps):
            m = m + self.spec.step_size * (pre - self.current(torch.relu(m)) - m)
        return m

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        params = list(self.parameters())
        return {"lateral": params} if params else {}
