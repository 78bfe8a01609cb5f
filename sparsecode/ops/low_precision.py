"""Products in bfloat16, of tensors that are in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["bf16_products"]


def bf16_products(device: torch.device, wanted: bool) -> AbstractContextManager[object]:
    """Within, torch's products on this device are of bfloat16 numbers (autocast), sums in them in float32, if that is `wanted`.

    Results of products are in bfloat16; what is to be in float32 is converted by the caller. Weights and their gradients stay in float32.
    """
    return torch.autocast(device.type, torch.bfloat16) if wanted else nullcontext()
