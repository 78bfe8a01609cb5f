"""A training step of an autoencoder with wide, sparse codes, stored without zeros."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from sparsecode.losses.penalty_term import norms
from sparsecode.losses.term import CodeSums, Terms
from sparsecode.losses.variance import squared_error
from sparsecode.nn.activations import ActivationModule
from sparsecode.nn.affine import AffineModule, BiasedDictionaryModule
from sparsecode.ops.dense_codes import encode_decode
from sparsecode.ops.score_blocks import Products, bf16_is_fast, fastest_products
from sparsecode.ops.sparse_codes import decode_sparse
from sparsecode.records import Code, SparseCode

__all__ = ["WIDE", "Arithmetic", "Step", "sparse_step", "warn_of_dense_steps"]

Arithmetic = Literal["dense", "exact", "bf16"]

WIDE = 1024  # number of codes from which sparse ones are faster
# and of fewer, those of activations that set how many are active:
NARROW = 256  # from so many codes,
ENTRIES = 2**17  # so many codes of a batch,
FEW = 1 / 4  # and up to this share of active ones


class Step(NamedTuple):
    """The inputs of terms: the codes, the reconstruction `out` [B, f] and its `fidelity` [B], which codes `fired` [k],
    the mean `l0`, and pre-activations where all were computed.
    """

    code: Code | SparseCode | CodeSums
    out: Tensor
    fidelity: Tensor
    fired: Tensor
    l0: Tensor
    pre: Tensor | None = None


def sparse_step(
    encoder: nn.Module,
    activation: ActivationModule,
    decoder: BiasedDictionaryModule,
    terms: Terms,
    x: Tensor,
    target: Tensor,
    step: int,
    *,
    training: bool,
    arithmetic: Arithmetic,
    wide: int = WIDE,
    crowded: bool = True,
) -> Step | None:
    """The same parts of a step as with dense codes; None where dense codes are needed or faster.

    That is for fewer than `wide` codes (of activations that set how many are active, for fewer than NARROW, or ENTRIES in a batch), off the
    CPU, in other precisions, for codes that are not sparse enough, for activations without sparse codes, and for terms that read all codes.
    With `crowded`, codes with few zeros go through dense products in reused memory, of bfloat16 numbers where these are fast.
    """
    narrow = len(decoder.atoms) < wide and _few(activation, len(decoder.atoms), len(x), step)
    if not _possible(encoder, decoder, x, arithmetic, NARROW if narrow else wide) or not all(
        SparseCode in term.reads for term in terms.each()
    ):
        return None
    assert isinstance(encoder, AffineModule)
    theta = terms.theta
    rough = arithmetic == "bf16" and not narrow  # to which rounding to fewer bits brings nothing
    floats: Products = "bf16" if rough and bf16_is_fast() else "exact"
    products: Products = fastest_products() if rough else "exact"
    code = activation.train_sparse(x, *encoder.map(decoder), step, training, products)
    if code is None:
        if theta or narrow or not crowded or not all(CodeSums in term.reads for term in terms.each()):
            return None
        return _crowded_step(encoder, activation, decoder, terms, x, target, floats)
    computed = next(
        (both for term in terms.each() if (both := term.sparse_fidelity(code, decoder, target)) is not None), None
    )
    if computed is None:
        out = decoder.output(decode_sparse(code, decoder.atoms, decoder.bias))
        computed = out, squared_error(out, target)
    active = code.values.detach() > theta
    indices = code.indices[active]
    fired = torch.zeros(code.n_code, dtype=torch.bool, device=x.device).index_fill_(0, indices.long(), True)
    l0 = torch.tensor(len(indices) / len(x), dtype=torch.float64, device=x.device)
    return Step(code, *computed, fired, l0)


def warn_of_dense_steps(
    encoder: nn.Module,
    activation: ActivationModule,
    decoder: BiasedDictionaryModule,
    terms: Terms,
    x: Tensor,
    arithmetic: Arithmetic,
) -> None:
    """Warn of each term that alone prevents sparse steps."""
    able = type(activation).train_sparse is not ActivationModule.train_sparse
    if not able or not _possible(encoder, decoder, x, arithmetic, WIDE):
        return
    for name, term in terms.all():
        if SparseCode not in term.reads:
            warnings.warn(
                f"terms.{name} reads all codes, zeros too: steps of this model are dense, and slower than sparse ones; set "
                "arithmetic to 'dense' if that is meant",
                stacklevel=3,
            )


def _possible(
    encoder: nn.Module, decoder: BiasedDictionaryModule, x: Tensor, arithmetic: Arithmetic, wide: int
) -> bool:
    return (
        arithmetic != "dense"
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and len(decoder.atoms) >= wide
        and isinstance(encoder, AffineModule)
    )


def _few(activation: ActivationModule, n_code: int, n: int, step: int) -> bool:
    active = activation.planned_l0(step)
    return active is not None and active <= FEW * n_code and n * n_code >= ENTRIES


def _crowded_step(
    encoder: AffineModule,
    activation: ActivationModule,
    decoder: BiasedDictionaryModule,
    terms: Terms,
    x: Tensor,
    target: Tensor,
    products: Products,
) -> Step | None:
    """Codes with few zeros, in reused memory."""
    weight, bias, centre = encoder.map(decoder)
    level = activation.level(bias)
    if level is None:
        return None
    scale = norms(decoder) if any(term.norm_weighted for term in terms.each()) else torch.ones_like(bias)
    result = encode_decode(
        x, weight, bias, centre, decoder.atoms, decoder.bias, level[0], scale, level[1], products=products
    )
    out = decoder.output(result.out)
    l0 = result.active.detach().double().mean()
    return Step(CodeSums(result.size, result.active), out, squared_error(out, target), result.fired, l0)
