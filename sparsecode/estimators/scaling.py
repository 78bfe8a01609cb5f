"""Scalings of samples by name."""

from __future__ import annotations

from sparsecode.nn.normalisers import Centre, Identity, Normaliser, Standardise, StandardiseFeatures

__all__ = ["scaler_named"]

SCALERS: dict[str, Normaliser] = {
    "features": StandardiseFeatures(),
    "centre": Centre(),
    "global": Standardise(),
    "none": Identity(),
}


def scaler_named(name: str) -> Normaliser:
    """The normaliser of that name. Raises ValueError for other names."""
    if name not in SCALERS:
        raise ValueError(f"scaler is {name!r}; choose from {', '.join(SCALERS)}")
    return SCALERS[name]
