"""What a network is trained to give: its clean input, or a label."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sparsecode.specs import Count, Spec

__all__ = ["Classify", "Reconstruct", "Task"]


class Reconstruct(Spec, tag="reconstruct"):
    """The clean sample: |x - decode(z)|^2, summed over features."""

    provides = ("reconstruction",)


class Classify(Spec, tag="classify"):
    """The label, from logits decode(z) [B, n_classes]: -log softmax(decode(z))_label."""

    n_classes: Count
    needs = ("unbounded",)

    def error(self, logits: Float[Tensor, "b c"], label: Int[Tensor, " b"] | None) -> Float[Tensor, " b"]:
        """The cross-entropy per sample, in nats. Raises ValueError without labels, or for labels out of range."""
        if label is None:
            raise ValueError(
                "task is 'classify', and the samples have no labels; choose data that have, or 'reconstruct'"
            )
        if label.device.type == "cpu" and bool((label.amax() >= self.n_classes) | (label.amin() < 0)):
            raise ValueError(
                f"task.n_classes is {self.n_classes}, and there are labels from {int(label.amin())} to {int(label.amax())}"
            )
        return nn.functional.cross_entropy(logits, label, reduction="none")

    @torch.no_grad()
    def hits(self, logits: Float[Tensor, "b c"], label: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """1 where the largest logit is the label's."""
        return (logits.argmax(dim=1) == label).to(logits.dtype)


Task = Reconstruct | Classify
