"""Terms that revive dead codes."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float, Int
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.losses.term import CodeSums, Forward, TermModule, TrainingTerm
from sparsecode.nn.activations import ActivationModule
from sparsecode.ops.collective import gather_over_ranks, sum_over_ranks, world_size
from sparsecode.records import Code, SparseCode
from sparsecode.specs import Count, NonNegative, Positive

__all__ = ["AuxK", "Resample", "Revival", "auxiliary_error", "depth", "directions"]

DeadAfter = Annotated[Count, Meta(description="a code is dead after this many samples without firing")]


class AuxK(TrainingTerm, tag="auxk"):
    """weight |e - z_dead D_dead|^2, e the error, held fixed: dead codes learn to explain the residual of the others.

    z_dead is the k largest positive pre-activations of dead codes in each sample. Those of codes without a positive one
    in the batch, which learn nothing from that, are raised: weight |e| times how far their largest is below 0.
    Source: Gao et al., "Scaling and evaluating sparse autoencoders", 2024, appendix A.2; the raising is ours.
    """

    k: Annotated[Count | None, Meta(description="dead codes per sample; default: half the number of features")] = None
    weight: Annotated[Positive, Meta(description="beside |x - decode(z)|^2")] = 1 / 32
    dead_after: DeadAfter = 1_000_000

    @property
    def needs(self) -> tuple[str, ...]:
        return ("rows", "atoms", "linear", "regression")

    def build(self, n_code: int) -> AuxKTerm:
        return AuxKTerm(self, n_code)


class Resample(TrainingTerm, tag="resample"):
    """Every `every` steps, reinitialise dead codes from the errors of badly reconstructed samples.

    Samples are drawn with probability proportional to their squared error's square; atoms become the normalised errors,
    encoder weights those times `scale` times the mean norm of the others', biases 0. Source: Bricken et al., "Towards monosemanticity", 2023, appendix.
    """

    every: Annotated[Count, Meta(description="steps")] = 1000
    scale: NonNegative = 0.2
    dead_after: DeadAfter = 1_000_000

    @property
    def needs(self) -> tuple[str, ...]:
        return ("rows", "atoms", "reconstruction")

    def build(self, n_code: int) -> ResampleTerm:
        return ResampleTerm(self, n_code)


class Revival(TermModule):
    """Base class; its state is `silent` [n_code], the number of samples since each code was active."""

    reads = (Code, SparseCode, CodeSums)  # it uses none of them

    def __init__(self, dead_after: int, n_code: int) -> None:
        super().__init__()
        self.dead_after = dead_after
        self.register_buffer("silent", torch.zeros(n_code, dtype=torch.long))
        self.silent: Tensor

    @property
    def dead(self) -> Bool[Tensor, " k"]:
        """Mask [n_code] of dead codes."""
        return self.silent >= self.dead_after

    @torch.no_grad()
    def observe_(self, forward: Forward) -> None:
        """Update `silent` with the codes that fired on this process's share of a batch."""
        total = sum_over_ranks(forward.fired.long())
        self.silent += len(forward.x) * world_size()
        self.silent.masked_fill_(total > 0, 0)

    def stats(self) -> dict[str, Tensor]:
        return {"dead": self.dead.double().sum()}


class AuxKTerm(Revival):
    """The module of `AuxK`."""

    def __init__(self, spec: AuxK, n_code: int) -> None:
        super().__init__(spec.dead_after, n_code)
        self.spec = spec

    def value(self, forward: Forward) -> Tensor:
        dead = self.dead.nonzero()[:, 0]
        if not len(dead):
            return forward.out.new_zeros(())
        error = (forward.target - forward.out).detach()
        pre = forward.activation.drive(forward.encoder.some(forward.x, forward.decoder, dead), dead)
        k = self.spec.k or max(1, forward.target.shape[1] // 2)
        explained = auxiliary_error(error, pre, forward.atoms[dead], k).mean()
        raised = depth(pre) * torch.linalg.vector_norm(error, dim=1).mean()
        return self.spec.weight * (explained + raised)


class ResampleTerm(Revival):
    """The module of `Resample`."""

    def __init__(self, spec: Resample, n_code: int) -> None:
        super().__init__(spec.dead_after, n_code)
        self.spec = spec
        self._renewed: tuple[Tensor, Tensor] | None = None  # dead codes and their new atoms, until the step is done

    def value(self, forward: Forward) -> None:
        dead = self.dead.nonzero()[:, 0]
        if forward.training and forward.step % self.spec.every == self.spec.every - 1 and len(dead):
            error = (forward.target - forward.out).detach()
            self._renewed = dead, directions(error, dead, forward.rng("resample"))

    def after_step_(self, encoder: Any, activation: ActivationModule, decoder: Any) -> None:
        if self._renewed is None:
            return
        rows, atoms = self._renewed
        decoder.atoms[rows] = atoms
        encoder.renew_(rows, atoms, self.spec.scale)
        activation.revive_(rows)
        self.silent[rows] = 0
        self._renewed = None


def auxiliary_error(
    error: Float[Tensor, "b f"], pre: Float[Tensor, "b n"], atoms: Float[Tensor, "n f"], k: int
) -> Float[Tensor, " b"]:
    """|error - z atoms|^2 per sample, z the k largest positive entries of pre; 0 if there are no codes."""
    if not len(atoms):
        return error.new_zeros(len(error))
    values, at = pre.topk(min(k, pre.shape[1]), dim=1, sorted=False)
    z = torch.zeros_like(pre).scatter(1, at, torch.relu(values))
    return (error - z @ atoms).square().sum(dim=1)


def depth(pre: Float[Tensor, "b n"]) -> Tensor:
    """sum_j max(0, -max_b pre_bj), b over the global batch: the distance of codes without a positive entry from activation."""
    peak = pre.amax(dim=0)
    largest = gather_over_ranks(peak.detach()[None]).amax(dim=0)
    return torch.relu(-peak)[peak.detach() == largest].sum() * world_size()  # the ranks' gradients are averaged


def directions(error: Float[Tensor, "b f"], dead: Int[Tensor, " n"], rng: torch.Generator) -> Float[Tensor, "n f"]:
    """Normalised errors of samples, drawn with probability proportional to the error's fourth power."""
    chances = error.double().square().sum(dim=1).square().cpu()
    drawn = torch.multinomial(chances + 1e-300, len(dead), replacement=True, generator=rng)
    return nn.functional.normalize(error[drawn.to(error.device)], dim=1)
