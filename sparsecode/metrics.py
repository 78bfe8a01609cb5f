"""Numbers about codes and reconstructions: one row in, one number out, and their sums over a data set."""

from sparsecode.evaluate.metrics import (
    CodeUse,
    ExplainedVariance,
    hoyer,
    l0,
    mean_squared_error,
    psnr,
    ssim,
    treves_rolls,
)

__all__ = [
    "CodeUse",
    "ExplainedVariance",
    "hoyer",
    "l0",
    "mean_squared_error",
    "psnr",
    "ssim",
    "treves_rolls",
]
