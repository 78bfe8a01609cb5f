"""Comparison of two autoencoders on the same inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sparsecode.evaluate.base import rows_together
from sparsecode.interop.affine_sae import AffineSAE, GatedCodes, JumpReLUCodes, PlainRows
from sparsecode.interop.folding import cast
from sparsecode.interop.sparse_coder import SparseCoderRecord, probe_rows
from sparsecode.ops.rng import generator
from sparsecode.specs import Spec

__all__ = ["CoderRecord", "Computed", "Proof", "compare", "probes"]

CoderRecord = AffineSAE | SparseCoderRecord
Computed = Callable[[Tensor], tuple[Tensor, Tensor]]  # inputs -> codes and outputs

SCALES = (0.3, 1.0, 3.0, 10.0)
ROWS, CODES = 64, 256  # inputs per scale; codes whose thresholds are approached from both sides
ROUNDING = 1e-6  # of the largest code in float32
MARGIN = 1e-3  # how near, relative to what is summed up to a pre-activation


class Proof(Spec, tag="conversion_proof"):
    """Largest absolute differences of codes and of outputs over probe inputs, and the largest code and output for scale.

    `dtype` is the precision that the second file's weights were read in; both compute in float64.

    `flips` counts codes that are active in one and not in the other, at a threshold or in a tie of top-k; their sizes are in
    the largest difference too, `unflipped` leaves them out. `jumps` counts those flips that are larger than rounding (1e-6 of
    the largest code), `active` the active codes of the first, `near` the inputs put next to a threshold.
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
    active: int = 0
    jumps: int = 0


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
    if isinstance(sae.normaliser, PlainRows):
        rows = torch.randperm(sae.n_code, generator=rng)[:CODES]
        margin = MARGIN * (unit * size + level.abs())[rows]
        for side in (-1, 1):  # along the weight, from a point at its offset to just below and just above the threshold
            base = unit * normal(len(rows), sae.d_in)
            step = (level[rows] + side * margin - (base * weight[rows]).sum(dim=1)) / size[rows].square()
            parts.append(centre + base + step.unsqueeze(1) * weight[rows])
            near += len(rows)
    return torch.cat(parts).to(sae.dtype), near


def compare(
    one: CoderRecord, other: CoderRecord, seed: int = 0, before: Computed | None = None, after: Computed | None = None
) -> Proof:
    """Codes and outputs of both on the `probes` of the first, all computed in float64, so that only weights can differ.

    `before` and `after` compute them instead of the records: the formulas of the formats, or models themselves. If the
    records computed both, a misreading would be compared with itself.
    """
    x, near = probes(one, seed) if isinstance(one, AffineSAE) else (probe_rows(one, seed).to(one.dtype), 0)
    before, after = before or _computed(one), after or _computed(other)
    codes, unflipped, outputs, largest_code, largest_output = 0.0, 0.0, 0.0, 0.0, 0.0
    flips, active, jumps = 0, 0, 0
    for rows in x.double().split(rows_together(one.n_code)):
        (z, y), (z_after, y_after) = before(rows), after(rows)
        flipped, difference = (z != 0) != (z_after != 0), (z - z_after).abs()
        codes = max(codes, float(difference.max()))
        unflipped = max(unflipped, float(difference.masked_fill(flipped, 0).max()))
        outputs = max(outputs, float((y - y_after).abs().max()))
        largest_code, largest_output = (
            max(largest_code, float(z.abs().max())),
            max(largest_output, float(y.abs().max())),
        )
        flips, active = flips + int(flipped.sum()), active + int((z != 0).sum())
        jumps += int((flipped & (difference > ROUNDING * z.abs().max())).sum())
    return Proof(
        codes=codes,
        unflipped=unflipped,
        outputs=outputs,
        largest_code=largest_code,
        largest_output=largest_output,
        flips=flips,
        n_inputs=len(x),
        near=near,
        seed=seed,
        dtype=str(other.dtype).removeprefix("torch."),
        active=active,
        jumps=jumps,
    )


def _computed(sae: CoderRecord) -> Computed:
    if not isinstance(sae, AffineSAE):
        raise ValueError("compare: of models with hidden layers give what both compute, as before and after")
    wide = cast(sae, torch.float64)

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        z = wide.encode(x)
        return z, wide.decode(z, x)

    return run


def _level(sae: AffineSAE) -> Tensor:
    """What W_enc times the centred input has to reach for a code to be active [m], in float64."""
    level = -sae.b_enc.double()
    match sae.activation:
        case JumpReLUCodes(threshold=threshold):
            return level + threshold.double()
        case GatedCodes(gate_bias=gate):
            return level - gate.double()
        case _:
            return level
