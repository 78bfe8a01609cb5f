"""Two autoencoders on the same inputs: how far apart they are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.interop.folding import cast
from sparsecode.interop.record import AffineSAE, Gated, JumpReLU, Plain
from sparsecode.ops.streams import generator
from sparsecode.specs import Spec

__all__ = ["Proof", "compare", "probes"]

SCALES = (0.3, 1.0, 3.0, 10.0)
ROWS, MARGIN = 256, 1e-3  # per scale; how near thresholds, relative to what is summed up to a pre-activation


class Proof(Spec, tag="conversion_proof"):
    """Largest absolute differences of codes and of outputs over probe inputs, and the sizes beside which to see them.

    `dtype` is the precision that the second file's weights were read in; both compute in float64.

    `flips` counts codes that are active in one and not in the other, at a threshold or in a tie of top-k; their sizes are in
    the largest difference too, `unflipped` leaves them out. `near` counts the inputs put next to a threshold.
    """

    codes: float
    unflipped: float
    outputs: float
    largest_code: float
    largest_output: float
    flips: int
    n_inputs: int
    near: int
    seed: int
    dtype: str


def probes(sae: AffineSAE, seed: int = 0) -> tuple[Float[Tensor, "n d"], int]:
    """Inputs that make a model work: noise at four scales, sparse sums of its atoms, and inputs next to thresholds.

    The unit scale is that at which noise moves a pre-activation as much as biases and thresholds do. Returns the inputs and
    how many stand next to a threshold (none where rows are normalised).
    """
    rng = generator(seed, "conversion probes")

    def normal(n: int, width: int) -> Tensor:
        return torch.randn(n, width, generator=rng, dtype=torch.float64)

    weight, level = sae.W_enc.double(), _level(sae)
    size = torch.linalg.vector_norm(weight, dim=1).clamp(min=1e-30)
    offset = float((level.abs() / size).median())
    unit = offset if offset > 0 else 1.0
    noise = normal(ROWS, sae.d_in)
    centre = sae.b_dec.double() if sae.centred else torch.zeros(sae.d_in, dtype=torch.float64)
    parts = [centre + unit * scale * noise for scale in SCALES]
    if sae.d_in == sae.d_out:
        active = torch.rand(ROWS, sae.n_code, generator=rng) < min(1.0, 4 / sae.n_code)
        codes = normal(ROWS, sae.n_code).abs() * active * unit
        atoms = torch.nn.functional.normalize(sae.W_dec.double(), dim=1)
        parts.append(centre + codes @ atoms)
    near = 0
    if isinstance(sae.normaliser, Plain):
        rows = torch.randperm(sae.n_code, generator=rng)[:ROWS]
        margin = MARGIN * (unit * size + level.abs())[rows]
        for side in (-1, 1):  # along the weight, from a point at its offset to just below and just above the threshold
            base = unit * normal(len(rows), sae.d_in)
            step = (level[rows] + side * margin - (base * weight[rows]).sum(dim=1)) / size[rows].square()
            parts.append(centre + base + step.unsqueeze(1) * weight[rows])
            near += len(rows)
    return torch.cat(parts).to(sae.dtype), near


def compare(one: AffineSAE, other: AffineSAE, seed: int = 0) -> Proof:
    """Codes and outputs of both on the `probes` of the first, all computed in float64, so that only weights can differ."""
    x, near = probes(one, seed)
    x, a, b = x.double(), cast(one, torch.float64), cast(other, torch.float64)
    codes, others = a.encode(x), b.encode(x)
    outputs = a.decode(codes, x)
    flipped = (codes > 0) != (others > 0)
    difference = (codes - others).abs()
    return Proof(
        codes=float(difference.max()),
        unflipped=float(difference.masked_fill(flipped, 0).max()),
        outputs=float((outputs - b.decode(others, x)).abs().max()),
        largest_code=float(codes.abs().max()),
        largest_output=float(outputs.abs().max()),
        flips=int(flipped.sum()),
        n_inputs=len(x),
        near=near,
        seed=seed,
        dtype=str(other.dtype).removeprefix("torch."),
    )


def _level(sae: AffineSAE) -> Tensor:
    """What W_enc times the centred input has to reach for a code to be active [m], in float64."""
    level = -sae.b_enc.double()
    match sae.activation:
        case JumpReLU(threshold=threshold):
            return level + threshold.double()
        case Gated(gate_bias=gate):
            return level - gate.double()
        case _:
            return level
