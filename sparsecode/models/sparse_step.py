"""A training step of an autoencoder with wide, sparse codes that never stand in memory with their zeros."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from sparsecode.losses.sparsity import L0Module, SparsityModule, Tanh
from sparsecode.nn.activations import ActivationModule
from sparsecode.nn.affine import AffineModule, BiasedDictionaryModule
from sparsecode.nn.constraints import UnitNorm
from sparsecode.ops.dense_codes import encode_decode
from sparsecode.ops.sparse_codes import bf16_is_fast, decode_sparse
from sparsecode.penalties import L1, LogSum

__all__ = ["Arithmetic", "Step", "sparse_step"]

Arithmetic = Literal["dense", "exact", "bf16"]

WIDE = 1024  # codes from which sparse ones pay


class Step(NamedTuple):
    """What a loss is made of: the reconstruction `out` [B, f], the mean `penalty`, which codes `fired` [k], the mean `l0`;
    the `fidelity` [B] if it is not that of `out` alone; `gate_fidelity` [B]; a `surrogate` of value 0 with the gradient of
    an expectation.
    """

    out: Tensor
    penalty: Tensor | None
    fired: Tensor
    l0: Tensor
    fidelity: Tensor | None = None
    gate_fidelity: Tensor | None = None
    surrogate: Tensor | None = None


def sparse_step(
    encoder: nn.Module,
    activation: ActivationModule,
    decoder: BiasedDictionaryModule,
    penalty: nn.Module | None,
    x: Tensor,
    step: int,
    *,
    moving: bool,
    arithmetic: Arithmetic,
    norm_weighted: bool,
    theta: float,
    wide: int = WIDE,
    crowded: bool = True,
) -> Step | None:
    """The step's parts, as dense codes give them; None where dense codes must serve or would be faster.

    That is for fewer than `wide` codes, off the CPU, in other precisions, for codes that are not sparse enough, for activations that
    know no sparse codes, and for penalties that are not sums over codes. `crowded` codes may come by bfloat16 products.
    """
    if (
        arithmetic == "dense"
        or x.device.type != "cpu"
        or x.dtype != torch.float32
        or len(decoder.atoms) < wide
        or not isinstance(encoder, AffineModule)
        or not _separable(penalty)
    ):
        return None
    products = "bf16" if arithmetic == "bf16" and bf16_is_fast() else "exact"
    code = activation.train_sparse(x, *encoder.map(decoder), step, moving, products)
    if code is None:
        return (
            None
            if products == "exact" or theta or not crowded
            else _crowded_step(encoder, activation, decoder, penalty, x, norm_weighted)
        )
    out = decoder.output(decode_sparse(code, decoder.atoms, decoder.bias))
    total = None
    if isinstance(penalty, L0Module):
        assert code.active is not None
        total = code.active.sum() / len(x)
    elif isinstance(penalty, SparsityModule):
        values = code.values
        if norm_weighted:
            values = values * _lengths(decoder)[code.indices]
        total = penalty.spec.value(values[:, None]).sum() / len(x)
    active = code.values.detach() > theta
    indices = code.indices[active]
    fired = torch.zeros(code.n_code, dtype=torch.bool, device=x.device).index_fill_(0, indices.long(), True)
    l0 = torch.tensor(len(indices) / len(x), dtype=torch.float64, device=x.device)
    return Step(out, total, fired, l0)


def _crowded_step(
    encoder: AffineModule,
    activation: ActivationModule,
    decoder: BiasedDictionaryModule,
    penalty: nn.Module | None,
    x: Tensor,
    norm_weighted: bool,
) -> Step | None:
    """Codes with few zeros, by bfloat16 products in memory that is used again."""
    weight, bias, centre = encoder.map(decoder)
    level = activation.level(bias)
    sized = isinstance(penalty, SparsityModule) and isinstance(penalty.spec, L1)
    if level is None or not (sized or penalty is None or isinstance(penalty, L0Module)):
        return None
    scale = _lengths(decoder) if norm_weighted else torch.ones_like(bias)
    found = encode_decode(
        x, weight, bias, centre, decoder.atoms, decoder.bias, level[0], scale, level[1], products="bf16"
    )
    total = None if penalty is None else (found.size if sized else found.active).mean()
    return Step(decoder.output(found.out), total, found.fired, found.active.detach().double().mean())


def _separable(penalty: nn.Module | None) -> bool:
    if isinstance(penalty, SparsityModule):
        return isinstance(penalty.spec, L1 | LogSum | Tanh)
    return penalty is None or isinstance(penalty, L0Module)


def _lengths(decoder: BiasedDictionaryModule) -> Tensor:
    constraint = decoder.spec.constraint
    if isinstance(constraint, UnitNorm):  # known, and the derivative along an atom is taken out anyway
        return decoder.atoms.new_full((len(decoder.atoms),), constraint.radius)
    return torch.linalg.vector_norm(decoder.atoms, dim=1)
