"""Step functions with estimated gradients: a rectangle of width `bandwidth` in place of the delta at the threshold.

For a function of pre-activations whose jump is averaged over data, the estimate is that of a kernel density: the
derivative of the mean with respect to the threshold is -density(threshold) times the height of the jump.
Source: Rajamanoharan et al., "Jumping Ahead" (JumpReLU SAEs), 2024, equations 11 and 12.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["above", "jump_relu"]


def _window(pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """1 / bandwidth within bandwidth / 2 of the threshold, else 0."""
    return ((pre - threshold).abs() < bandwidth / 2).to(pre.dtype) / bandwidth


class _JumpReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        pre, threshold = ctx.saved_tensors
        (grad,) = grads
        by_threshold = None
        if ctx.needs_input_grad[1]:
            by_threshold = (-threshold * _window(pre, threshold, ctx.bandwidth) * grad).sum_to_size(threshold.shape)
        return grad * (pre > threshold), by_threshold, None


class _Above(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor | None, None]:
        pre, threshold = ctx.saved_tensors
        (grad,) = grads
        if not ctx.needs_input_grad[1]:
            return None, None, None
        return None, (-_window(pre, threshold, ctx.bandwidth) * grad).sum_to_size(threshold.shape), None


def jump_relu(pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """pre where pre > threshold, else 0; threshold broadcasts against pre.

    Gradient with respect to `pre`: 1 where pre > threshold, else 0; with respect to `threshold`: -threshold / bandwidth where
    |pre - threshold| < bandwidth / 2, else 0.
    """
    return _JumpReLU.apply(pre, threshold, bandwidth)  # pyright: ignore[reportReturnType] - apply is untyped


def above(pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """1 where pre > threshold, else 0.

    Gradient with respect to `pre`: zero; with respect to `threshold`: -1 / bandwidth where |pre - threshold| < bandwidth / 2.
    """
    return _Above.apply(pre, threshold, bandwidth)  # pyright: ignore[reportReturnType] - apply is untyped
