"""What atoms of the residual stream do to the predictions of their network directly: the logit lens of a dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["LogitEffects", "logit_effects"]

BLOCK = 64  # atoms at a time: their effects on all tokens are in memory
BINS = 50


class LogitEffects(NamedTuple):
    """The direct effect of each of n atoms on the logits of V tokens, relative to its mean over all tokens.

    `top` [n, t]: the tokens it raises most, with the effects `top_values`, in descending order; `bottom` [n, t] and `bottom_values`: those it lowers
    most, the lowest first. `histogram` [n, bins]: how many tokens by effect, in equal bins between `edges` [n, bins + 1].
    """

    top: Int[np.ndarray, "n t"]
    top_values: Float[np.ndarray, "n t"]
    bottom: Int[np.ndarray, "n t"]
    bottom_values: Float[np.ndarray, "n t"]
    histogram: Int[np.ndarray, "n h"]
    edges: Float[np.ndarray, "n e"]


@torch.no_grad()
def logit_effects(atoms: Tensor | NDArray[Any], host: nn.Module, n: int = 10) -> LogitEffects:
    """The tokens that each row of `atoms` [n_code, d] raises and lowers most, through the last normalisation and the unembedding of `host`.

    With W [V, d] the unembedding and g the gain of the last normalisation: e = W (g (a - mean a)), less its mean over the tokens, where that
    normalisation subtracts means (LayerNorm), else with a itself (RMSNorm). The normalisation divides logits by the norm of the activation, which an
    effect that holds for all inputs leaves out. Nothing between the atom and the end of the network is in it, so that it says most of late layers.
    Source: nostalgebraist, "interpreting GPT: the logit lens", 2020.

    Parameters
    ----------
    atoms: directions in the residual stream, in the units of the activations: `W_dec` of an autoencoder there, or of a transcoder that writes to it.
    host: a language model of transformers with a head that predicts tokens.
    n: tokens on each side, 1 or more.

    Raises
    ------
    ValueError for a network without an unembedding, for atoms of another width, and for n below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; expected at least 1 token on each side")
    weight, gain, centred = _unembedding(host)
    rows = torch.as_tensor(np.asarray(atoms) if not isinstance(atoms, Tensor) else atoms).detach()
    if rows.ndim != 2 or rows.shape[1] != weight.shape[1]:
        raise ValueError(
            f"atoms has shape {tuple(rows.shape)}; expected [n_code, {weight.shape[1]}], directions in the residual stream of the host"
        )
    n = min(n, len(weight))
    parts = [*_blocks(rows.to(weight), weight, gain, centred, n)]
    return LogitEffects(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _blocks(rows: Tensor, weight: Tensor, gain: Tensor, centred: bool, n: int) -> Iterator[tuple[NDArray[Any], ...]]:
    for block in rows.split(BLOCK):
        moved = (block - block.mean(dim=1, keepdim=True) if centred else block) * gain
        effects = moved @ weight.T
        effects -= effects.mean(dim=1, keepdim=True)
        top, bottom = effects.topk(n, dim=1), effects.topk(n, dim=1, largest=False)
        low, high = effects.amin(dim=1, keepdim=True), effects.amax(dim=1, keepdim=True)
        width = ((high - low) / BINS).clamp(min=torch.finfo(effects.dtype).tiny)
        bins = ((effects - low) / width).long().clamp(0, BINS - 1)
        counts = torch.zeros(len(block), BINS, dtype=torch.long, device=bins.device)
        counts.scatter_add_(1, bins, torch.ones_like(bins))
        edges = low + width * torch.arange(BINS + 1, device=low.device)
        parts = (top.indices, top.values, bottom.indices, bottom.values, counts, edges)
        yield tuple(part.cpu().numpy() for part in parts)


def _unembedding(host: nn.Module) -> tuple[Tensor, Tensor, bool]:
    """The unembedding [V, d], the gain [d] of the normalisation before it, and whether that subtracts means."""
    ask = getattr(host, "get_output_embeddings", None)
    head = None if ask is None else ask()
    weight = getattr(head, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise ValueError(
            f"host: {type(host).__name__} has no unembedding; expected a language model with a head that predicts tokens"
        )
    weight = weight.detach().float()
    norm = _last_norm(host, weight.shape[1])
    if norm is None:
        return weight, weight.new_ones(weight.shape[1]), False
    return weight, *_gain(norm, weight.shape[1])


def _last_norm(host: nn.Module, d: int) -> nn.Module | None:
    """The last normalisation of width d that is in none of the numbered blocks."""
    last = None
    for name, module in host.named_modules():
        numbered = any(part.isdigit() for part in name.split("."))
        size = getattr(module, "weight", None)
        if not numbered and "norm" in type(module).__name__.lower() and size is not None and size.shape == (d,):
            last = module
    return last


def _gain(norm: nn.Module, d: int) -> tuple[Tensor, bool]:
    """Its gain, whatever its parameters mean, and whether it subtracts means: from its outputs for rows of variance 1, each entry once 1 and once -1."""
    like = norm.weight
    assert isinstance(like, Tensor)
    sign = torch.ones(d, dtype=torch.float32)
    sign[1::2] = -1
    if d % 2:  # the last three have mean 0, too
        half = 3**0.5 / 2**0.5
        sign[-3:] = torch.tensor([half, -half, 0.0])
    rows = torch.stack([sign, -sign, sign.roll(1), -sign.roll(1), sign + 1]).to(like)
    a, b, c, e, shifted = norm(rows).float()
    slope = (a - b) / 2
    other = (c - e) / 2
    sign, rolled = rows[0].float(), rows[2].float()
    gain = torch.where(sign != 0, slope / sign, other / rolled)
    return gain, bool(torch.allclose(shifted, a, rtol=1e-2, atol=1e-2 * float(a.abs().max())))
