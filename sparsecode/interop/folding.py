"""Changes of an autoencoder's weights that leave its codes and outputs as they are, computed in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.interop.affine_sae import (
    Activation,
    AffineSAE,
    CannotExpressError,
    GatedCodes,
    JumpReLUCodes,
    PlainRows,
    TopKCodes,
)

__all__ = ["cast", "centre", "fold_affine", "fold_decoder_norms", "fold_scale", "rescaled", "uncentre", "zero_bias"]

LEAST_NORM = 1e-30  # below it an atom is zero, and stays so


def cast(sae: AffineSAE, dtype: torch.dtype) -> AffineSAE:
    """The same with all tensors in `dtype`."""
    return _with(sae, lambda value: value.to(dtype))


def fold_scale(sae: AffineSAE, scale: float) -> AffineSAE:
    """For inputs x, the autoencoder that `sae` is for inputs scale * x. Codes keep their units.

    W_enc <- scale W_enc, W_dec <- W_dec / scale, b_dec <- b_dec / scale.
    """
    _refuse_row_norms(sae, "a constant scale of its inputs")
    return _in_double(
        sae,
        lambda s: replace(s, W_enc=s.W_enc * scale, W_dec=s.W_dec / scale, b_dec=s.b_dec / scale),
    )


def fold_affine(
    sae: AffineSAE,
    mean: Float[Tensor, " d"],
    matrix: Float[Tensor, "d d"],
    inverse: Float[Tensor, "p p"],
    undone: Float[Tensor, " p"] | None = None,
) -> AffineSAE:
    """For inputs x, the autoencoder that `sae` is for (x - mean) matrix, its outputs y mapped to y inverse + undone.

    W_enc <- W_enc matrix^T, b_enc <- b_enc - W_enc c - (W_enc matrix^T) mean with c = b_dec if it was centred;
    W_dec <- W_dec inverse, b_dec <- b_dec inverse + undone (by default the mean). It is not centred any more: the centre is in
    b_enc, so that nothing rests on `inverse` being exact. W_skip <- inverse^T W_skip matrix^T, and b_dec loses its share of the
    mean, (inverse^T W_skip matrix^T) mean.
    """
    _refuse_row_norms(sae, "an affine normalisation of its inputs")
    mean, matrix, inverse = mean.double(), matrix.double(), inverse.double()
    shift = mean if undone is None else undone.double()

    def fold(s: AffineSAE) -> AffineSAE:
        s = _uncentred(s)
        weight = s.W_enc @ matrix.T
        skip = None if s.W_skip is None else inverse.T @ s.W_skip @ matrix.T
        bias = s.b_dec @ inverse + shift
        return replace(
            s,
            W_enc=weight,
            b_enc=s.b_enc - weight @ mean,
            W_dec=s.W_dec @ inverse,
            b_dec=bias if skip is None else bias - skip @ mean,
            W_skip=skip,
        )

    return _in_double(sae, fold)


def fold_decoder_norms(sae: AffineSAE, ranked_by_norm: bool = False) -> AffineSAE:
    """Atoms of norm 1, codes in units of the old norms: z_j becomes z_j |atom_j|, outputs stay.

    `ranked_by_norm`: top-k is to rank pre_j |atom_j| (what SAELens calls rescale_acts_by_decoder_norm), as it does after
    the folding. Raises CannotExpressError for a top-k that ranks pre_j, which the folding would change.
    """
    if isinstance(sae.activation, TopKCodes) and not ranked_by_norm:
        raise CannotExpressError(
            "decoder norms cannot be folded into a top-k autoencoder that ranks bare pre-activations: other codes would be "
            "among the largest; keep the norms in the decoder"
        )

    def fold(s: AffineSAE) -> AffineSAE:
        norms = torch.linalg.vector_norm(s.W_dec, dim=1)
        atoms = s.W_dec / norms.clamp(min=LEAST_NORM).unsqueeze(1)
        weight, bias = s.W_enc * norms.unsqueeze(1), s.b_enc * norms
        return replace(s, W_enc=weight, b_enc=bias, W_dec=atoms, activation=rescaled(s.activation, norms))

    return _in_double(sae, fold)


def rescaled(activation: Activation, factors: Float[Tensor, " m"]) -> Activation:
    """The activation that gives codes times `factors` for pre-activations times `factors`, all positive.

    (A top-k does so only for equal factors, or if it is to rank the new pre-activations.)
    """
    match activation:
        case JumpReLUCodes():
            return replace(activation, threshold=activation.threshold * factors)
        case GatedCodes():
            biases = {"gate_bias": activation.gate_bias * factors, "mag_bias": activation.mag_bias * factors}
            return replace(activation, **biases)
        case TopKCodes(threshold=float(kept)):
            same = bool((factors == factors[0]).all())
            return replace(activation, threshold=kept * float(factors[0]) if same else None)
        case _:
            return activation


def uncentre(sae: AffineSAE) -> AffineSAE:
    """The same without the subtraction of b_dec, which goes into b_enc <- b_enc - W_enc b_dec."""
    return _in_double(sae, _uncentred) if sae.centred else sae


def centre(sae: AffineSAE) -> AffineSAE:
    """The same with b_dec subtracted from the input, and b_enc <- b_enc + W_enc b_dec."""
    if sae.centred:
        return sae
    if sae.d_in != sae.d_out:
        raise CannotExpressError(
            f"{sae.d_in} inputs and {sae.d_out} outputs: the decoder's bias cannot be subtracted from the input; choose a "
            "format for transcoders"
        )
    return _in_double(sae, lambda s: replace(s, centred=True, b_enc=s.b_enc + s.W_enc @ s.b_dec))


def zero_bias(sae: AffineSAE) -> AffineSAE:
    """A gated autoencoder's b_enc added to the biases of gate and magnitude: gate_bias + b_enc, mag_bias + exp(r_mag) b_enc."""
    gated = sae.activation
    if not isinstance(gated, GatedCodes):
        return sae

    def fold(s: AffineSAE) -> AffineSAE:
        assert isinstance(s.activation, GatedCodes)
        old = s.activation
        new = replace(old, gate_bias=old.gate_bias + s.b_enc, mag_bias=old.mag_bias + old.r_mag.exp() * s.b_enc)
        return replace(s, activation=new, b_enc=torch.zeros_like(s.b_enc))

    return _in_double(sae, fold)


def _uncentred(sae: AffineSAE) -> AffineSAE:
    if not sae.centred:
        return sae
    return replace(sae, centred=False, b_enc=sae.b_enc - sae.W_enc @ sae.b_dec)


def _refuse_row_norms(sae: AffineSAE, what: str) -> None:
    if not isinstance(sae.normaliser, PlainRows):
        raise CannotExpressError(f"{what} does not commute with {type(sae.normaliser).__name__} of each row")


def _in_double(sae: AffineSAE, change: Callable[[AffineSAE], AffineSAE]) -> AffineSAE:
    return cast(change(cast(sae, torch.float64)), sae.dtype)


def _with(sae: AffineSAE, change: Callable[[Tensor], Tensor]) -> AffineSAE:
    """Every tensor changed, those of the activation too."""
    changed = {name: change(value) for name, value in sae.tensors().items()}
    weights = {name: changed.pop(name) for name in ("W_enc", "b_enc", "W_dec", "b_dec", "W_skip") if name in changed}
    return replace(sae, **weights, activation=replace(sae.activation, **changed))
