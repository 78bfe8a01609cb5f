"""Definitions of the terms with which coders and references are compared."""

from __future__ import annotations

from sparsecode.reports.builders.quantity import Quantity

__all__ = ["COMPARISON_QUANTITIES"]

COMPARISON_QUANTITIES: dict[str, Quantity] = {
    "coder": Quantity(
        "coder",
        "",
        "A way to compute codes. encode is what the model stands for: the minimiser of the energy, the encoder's pass, or the "
        "posterior's mode; amortised is one pass of the encoder of a model whose codes are solved for; mean is the posterior's mean.",
    ),
    "reference": Quantity(
        "reference",
        "",
        "An approximation that needs no training, with as many active codes: PCA (principal components), or a dictionary of random "
        "directions or of rows of the training data, with codes by orthogonal matching pursuit (OMP) or the largest products (top-k).",
    ),
}
