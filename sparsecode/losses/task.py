"""The target of training: the clean input, the data's separate target, or a label."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float, Int
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.losses.variance import squared_error
from sparsecode.nn.normalisers import Identity, Normaliser
from sparsecode.specs import Count, Spec

__all__ = ["Classify", "Predict", "PredictModule", "Reconstruct", "Task"]


NO_TARGET = "task is 'predict', and the samples have no target; choose data that have one, or 'reconstruct'"


class Reconstruct(Spec, tag="reconstruct"):
    """The clean sample: |x - decode(z)|^2, summed over features."""

    provides = ("reconstruction", "regression")
    error_words = "|x - decode(z)|^2"


class Predict(Spec, tag="predict"):
    """The data's target y [B, *G]: |y - decode(z) - x S^T|^2, summed over features; of a transcoder, say.

    x is in the model's space, y in one of its own, by a `normaliser` for it. With a `skip` connection the matrix S [g, f] is
    trained, starting at 0, and codes explain only the part that is not linear in x; without, it is 0.
    Sources: Dunefsky, Chlenski & Nanda, "Transcoders find interpretable LLM feature circuits", NeurIPS 2024; the skip
    connection: Paulo, Shabalin & Belrose, "Transcoders beat sparse autoencoders for interpretability", 2025.
    """

    normaliser: Annotated[Normaliser, Meta(description="of the target")] = Identity()
    skip: Annotated[bool, Meta(description="a trained linear map from the sample to the prediction")] = False
    provides = ("regression",)

    @property
    def error_words(self) -> str:
        """A description of the error."""
        return "|y - decode(z) - x S^T|^2" if self.skip else "|y - decode(z)|^2"

    def build(self, shape: tuple[int, ...], target: tuple[int, ...] | None) -> PredictModule:
        """For samples of `shape` and targets of shape `target`. Raises ValueError if the data have none."""
        if target is None:
            raise ValueError(NO_TARGET)
        return PredictModule(self, shape, target)


class PredictModule(nn.Module):
    """The module of `Predict`: the target's `normaliser`, and the `skip` connection S."""

    def __init__(self, spec: Predict, shape: tuple[int, ...], target: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = target
        self.normaliser = spec.normaliser.build(target)
        self.skip = nn.Parameter(torch.zeros(math.prod(target), math.prod(shape))) if spec.skip else None

    def wanted(self, target: Tensor | None) -> Float[Tensor, "b g"]:
        """Targets [B, *G] of a batch in model space. Raises ValueError without them, or for another shape."""
        if target is None:
            raise ValueError(NO_TARGET)
        if tuple(target.shape[1:]) != self.shape:
            raise ValueError(
                f"target has shape {tuple(target.shape[1:])}; expected {self.shape}, which the model predicts"
            )
        return self.normaliser(target.flatten(1))

    def linear(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b g"] | float:
        """The output of the skip connection, from the encoder's input."""
        return 0.0 if self.skip is None else x @ self.skip.T

    def output(self, decoded: Float[Tensor, "b g"], x: Float[Tensor, "b f"]) -> Tensor:
        """The prediction [B, *G] in data space, from the decoded value and the encoder's input."""
        return self.normaliser.undo(decoded + self.linear(x)).reshape(
            x.shape[0], *self.shape
        )  # len(x) would fix the size of exported graphs

    def error(
        self, decoded: Float[Tensor, "b g"], x: Float[Tensor, "b f"], target: Tensor | None
    ) -> Float[Tensor, " b"]:
        """The squared error in model space, summed over features."""
        return squared_error(decoded + self.linear(x), self.wanted(target))

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {} if self.skip is None else {"weight": [self.skip]}


class Classify(Spec, tag="classify"):
    """The label, from logits decode(z) [B, n_classes]: -log softmax(decode(z))_label."""

    n_classes: Count
    needs = ("unbounded",)
    error_words = "cross-entropy in nats"

    def error(self, logits: Float[Tensor, "b c"], label: Int[Tensor, " b"] | None) -> Float[Tensor, " b"]:
        """The cross-entropy per sample, in nats. Raises ValueError without labels, or for labels out of range."""
        if label is None:
            raise ValueError(
                "task is 'classify', and the samples have no labels; choose data that have, or 'reconstruct'"
            )
        if label.device.type == "cpu" and bool((label.amax() >= self.n_classes) | (label.amin() < 0)):
            raise ValueError(
                f"task.n_classes is {self.n_classes}, and labels range from {int(label.amin())} to {int(label.amax())}"
            )
        return nn.functional.cross_entropy(logits, label, reduction="none")

    @torch.no_grad()
    def hits(self, logits: Float[Tensor, "b c"], label: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """1 where the largest logit is the label's."""
        return (logits.argmax(dim=1) == label).to(logits.dtype)


Task = Reconstruct | Predict | Classify
