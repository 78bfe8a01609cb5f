"""Codes of samples without their zeros."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import one_layer
from sparsecode.models.inputs import refuse_not_finite
from sparsecode.models.sparse_step import WIDE
from sparsecode.ops.sparse_layout import from_dense
from sparsecode.records import SparseCode

__all__ = ["encode_sparse"]


@torch.no_grad()
def encode_sparse(model: AbstractSparseModel, x: Tensor) -> SparseCode:
    """The non-zero entries of `model.encode(x)` for x [B, *F] in data space, as numbers and columns of compressed sparse rows.

    Wide autoencoders with one affine encoder and TopK, BatchTopK, ReLU or JumpReLU codes compute them without a dense batch on a CPU;
    values equal those of `encode` but for the order in which float32 sums are taken. All others are coded densely.
    Raises ValueError for NaN and infinity.
    """
    layer = one_layer(model)
    weights = next(model.parameters())
    if (
        layer is not None
        and model.n_code >= WIDE
        and x.device.type == "cpu"
        and x.dtype == weights.dtype == torch.float32
        and layer.model.projection is None
    ):
        refuse_not_finite("x", x, (len(x),))
        encoder, decoder = layer.encoder, layer.model.decoder
        rows = encoder.prepared(layer.model.normalise(x), decoder)
        code = layer.model.activation.infer_sparse(rows, *encoder.map(decoder))
        if code is not None:
            return SparseCode(code.values, code.indices, code.offsets, code.n_code)
    z = model.encode(x)
    return from_dense(z, z != 0)
