"""A sparsity penalty on an encoder's codes, as a term of the training objective."""

from __future__ import annotations

from typing import Annotated, Any

from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sparsecode.losses.term import CodeBlocks, CodeSums, Forward
from sparsecode.losses.weighted import Weighted, WeightedTerm
from sparsecode.nn.activations import ActivationModule, JumpReLUModule
from sparsecode.nn.affine import BiasedDictionaryModule
from sparsecode.nn.constraints import UnitNorm
from sparsecode.penalties import L1, GroupL2, Penalty
from sparsecode.records import Code, SparseCode
from sparsecode.specs import name_of

__all__ = ["Sparsity", "SparsityTerm", "norms"]

SATURATED = 0.01  # share of the active codes near enough to their threshold to give it a gradient


class Sparsity(Weighted, tag="sparsity"):
    """weight * penalty(z), the mean over the batch; or of the gate instead of z where the activation has one.

    With `norm_weighted` the penalty sees z_j |d_j|, d_j the atoms: small codes with long atoms do not escape it.
    With `target_l0` the weight is adapted until that many codes are active. Codes of data not seen in training have other counts:
    thresholds (of `jumprelu` and `gated`) are therefore moved at the end, together, until validation samples have the
    wanted one, unless `calibrate` is off. Among the terms of a model it has the penalty's name: `terms.l1.weight`.
    """

    penalty: Penalty
    norm_weighted: Annotated[bool, Meta(description="penalise z_j |atom_j|")] = False
    named_by = "penalty"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm_weighted and self._counts:
            raise ValueError(
                f"Sparsity: norm_weighted is set, and penalty {name_of(self.penalty)!r} counts codes of any size; leave "
                "norm_weighted out"
            )

    @property
    def _counts(self) -> bool:
        return getattr(self.penalty, "counts", False)

    @property
    def needs(self) -> dict[str, str]:
        atoms = dict.fromkeys(("atoms", "regression"), "norm_weighted") if self.norm_weighted else {}
        return {**super().needs, **({"indicator": ""} if self._counts else {}), **atoms}

    @property
    def objective(self) -> str:
        return "weight * penalty(z)"

    def problems(self, n_code: int) -> list[str]:
        size = self.penalty.size if isinstance(self.penalty, GroupL2) else 1
        return [f"penalty.size is {size} and n_code {n_code}; expected whole groups"] if n_code % size else []

    def build(self, n_code: int) -> SparsityTerm:  # noqa: ARG002 - the contract
        return SparsityTerm(self)

    def obstacle(self) -> str | None:
        if self.target_l0 is not None:
            return "has a target_l0"
        if self._counts or self.norm_weighted:
            return "sees more than the codes"
        return None


class SparsityTerm(WeightedTerm):
    """The module of `Sparsity`."""

    spec: Sparsity

    def __init__(self, spec: Sparsity) -> None:
        super().__init__(spec)
        self.norm_weighted = spec.norm_weighted
        self._counts = getattr(spec.penalty, "counts", False)
        forms: tuple[type, ...] = (Code,)
        if getattr(spec.penalty, "separable", False):
            forms += (SparseCode,)
        if self._counts or isinstance(spec.penalty, L1):
            forms += (CodeSums,)
        self.reads = forms

    def per_sample(self, z: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
        """The penalty of codes as they are."""
        return self.spec.penalty.value(z)

    def cost(self, forward: Forward) -> Tensor:
        return self.mean(forward.code, forward.decoder)

    def mean(self, code: Code | SparseCode | CodeSums, decoder: Any) -> Tensor:
        """The penalty, averaged over a batch."""
        if isinstance(code, CodeSums):
            return (code.active if self._counts else code.size).mean()
        if isinstance(code, SparseCode):
            return self._sparse(code, decoder) / (len(code.offsets) - 1)
        if self._counts:
            assert code.active is not None
            return self.per_sample(code.active).mean()
        z = code.z if code.gate is None else code.gate
        return self.per_sample(self._lengthened(z, decoder)).mean()

    def _sparse(self, code: SparseCode, decoder: BiasedDictionaryModule) -> Tensor:
        if self._counts:
            assert code.active is not None
            return code.active.sum()
        values = code.values
        if self.norm_weighted:
            values = values * norms(decoder)[code.indices]
        return self.per_sample(values[:, None]).sum()

    def energy(self, z: Tensor, decoder: Any) -> Tensor:
        seen = (z != 0).to(z.dtype) if self._counts else self._lengthened(z, decoder)
        return float(self.weight) * self.per_sample(seen)

    def warnings(self, blocks: CodeBlocks, activation: ActivationModule) -> list[str]:
        result = super().warnings(blocks, activation)
        if isinstance(activation, JumpReLUModule) and self._counts:
            counts = [(activation.near(pre), int((z != 0).sum()), len(z)) for z, pre in blocks()]
            near, active, n = map(sum, zip(*counts, strict=True))
            if near < SATURATED * max(active, n):
                result.append(
                    f"the weight of 'l0' is saturated: {near / n:.2g} codes per sample are within activation.bandwidth of their "
                    "threshold, so that it moves nothing; widen the bandwidth"
                )
        return result

    def _lengthened(self, z: Tensor, decoder: Any) -> Tensor:
        """Codes times the norms of their atoms, where those count."""
        return z * decoder.norms() if self.norm_weighted else z


def norms(decoder: BiasedDictionaryModule) -> Float[Tensor, " k"]:
    """The norms of the atoms, held fixed where a constraint fixes them."""
    constraint = decoder.spec.constraint
    if isinstance(constraint, UnitNorm) and decoder.n_sites == 1:
        return decoder.atoms.new_full(
            (len(decoder.atoms),), constraint.radius
        )  # the gradient along the atom is projected out anyway
    return decoder.norms()
