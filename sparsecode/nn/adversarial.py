"""Adversarial changes of the encoder's input in training: projected gradient ascent on the error of the network itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.ops.rng import drawn_rows
from sparsecode.schedules import Schedule
from sparsecode.specs import Count, Positive, Spec

__all__ = ["PGD", "ErrorOf"]

ErrorOf = Callable[[Tensor], Tensor]  # from inputs [B, f] to the error [B] of the network's answer to each

EPS = 8 / 255
TINY = 1e-30  # gradients that are 0 stay so


class PGD(Spec, tag="pgd"):
    """Adversarial training: the input x becomes the change of it within `eps` that `steps` of gradient ascent find worst.

    x' <- P(x' + step_size g), g the sign of the error's gradient with respect to x' (norm "inf") or that gradient divided by its
    2-norm (norm "2"), P the projection onto |x' - x| <= eps and, with `clip`, into the range of the training samples. It starts at
    random in that ball, or at x. The error is the task's, with the label, target or clean sample of x; its gradients go through
    the network as it answers in evaluation, and not into its weights. `eps` is in model space; 0 is no change. In
    evaluation inputs are clean. One step of size eps without a random start is the fast gradient sign method.
    Source: Madry et al., ICLR 2018; the first code of Bricken et al., ICML 2023, has norm inf, eps 8/255, 3 steps of 0.01, no
    `clip`, and for autoencoders the changed sample as target, where here it is the clean one.
    """

    eps: Annotated[
        Annotated[float, Meta(ge=0)] | Schedule, Meta(description="the largest change; a schedule may begin at 0")
    ] = EPS
    norm: Literal["inf", "2"] = "inf"
    steps: Count = 3
    step_size: Annotated[Positive | None, Meta(description="default: 2.5 eps / steps")] = None
    random_start: bool = True
    clip: Annotated[bool, Meta(description="stay in the range of the training samples, as images must")] = False

    def attack(
        self,
        x: Float[Tensor, "b f"],
        error: ErrorOf,
        eps: float,
        span: tuple[float, float],
        rng: torch.Generator,
    ) -> Float[Tensor, "b f"]:
        """x, changed by at most `eps` per feature or in 2-norm; a function of `rng`."""
        size = 2.5 * eps / self.steps if self.step_size is None else self.step_size
        clean = x.detach()
        changed = self._near(clean, clean + self._start(clean, eps, rng) if self.random_start else clean, eps, span)
        for _ in range(self.steps):
            leaf = changed.requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(error(leaf).sum(), leaf)
            step = slope.sign() if self.norm == "inf" else slope / _norms(slope)
            changed = self._near(clean, leaf.detach() + size * step, eps, span)
        return x + (changed - clean) if x.requires_grad else changed

    def _start(self, x: Tensor, eps: float, rng: torch.Generator) -> Tensor:
        """A change drawn uniformly from the ball."""
        if self.norm == "inf":
            return eps * (2 * drawn_rows(x, x.shape[1:], rng, "uniform") - 1)
        direction = nn.functional.normalize(drawn_rows(x, x.shape[1:], rng, "normal"), dim=1)
        return eps * drawn_rows(x, (1,), rng, "uniform") ** (1 / x.shape[1]) * direction

    def _near(self, x: Tensor, changed: Tensor, eps: float, span: tuple[float, float]) -> Tensor:
        """The nearest point in the ball about x, and in the range."""
        change = changed - x
        change = change.clamp(-eps, eps) if self.norm == "inf" else change * (eps / _norms(change)).clamp(max=1)
        return (x + change).clamp(*span) if self.clip else x + change


def _norms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=TINY)
