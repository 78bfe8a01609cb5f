"""`Iterative`: the code minimises an energy; decoder and encoder learn from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Protocol, get_args, runtime_checkable

import torch
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.coders import AMORTISED, ENCODE
from sparsecode.losses import BatchVariance, TargetL0, squared_error
from sparsecode.models.base import AbstractSparseModel, grouped
from sparsecode.models.inference import Inference
from sparsecode.models.inputs import takes_samples
from sparsecode.nn.corruptions import Corrupted, Corruption, Corruptor
from sparsecode.nn.decoders import Decoder, LinearDictionary
from sparsecode.nn.encoders import LISTA, Encoder
from sparsecode.nn.normalisers import Identity, Normaliser
from sparsecode.ops.collective import mean_over_ranks
from sparsecode.ops.rng import Stream, generator
from sparsecode.penalties import L1, GroupL2, Penalty, Proximal
from sparsecode.records import Batch, Loss, Solution
from sparsecode.schedules import Schedule, at
from sparsecode.solvers.coupled_energy import CoupledEnergy
from sparsecode.solvers.decoder_energy import DecoderEnergy, Rectified, energy_of
from sparsecode.solvers.energy import QuadraticEnergy
from sparsecode.solvers.loop import solve
from sparsecode.solvers.scaling import solve_in_any_units
from sparsecode.specs import Spec, name_of

__all__ = ["Inference", "Iterative", "IterativeModel"]


class Iterative(Spec, tag="iterative"):
    """z = argmin 1/2 |x - decode(z)|^2 + weight * penalty(z) + proximity / 2 |z - encoder(x)|^2 + variance, detached.

    x in model space; the pull to the encoder and the batch's `variance` term act in training alone, `encode` minimises
    the rest row by row. Training loss, mean over the batch: |decode(z) - x|^2 + |encoder(x) - z|^2: with detached
    codes, decoder and encoder each learn from their own term.
    With `link` "relu" the same holds of u, with z = max(u, 0) in decode: the explain-away networks of the code of Bricken
    et al., ICML 2023, where a few steps of `adam_descent` from the encoder's pre-activations of a noisy sample explain
    the clean one.
    Source: SDL, SDL-NL, VDL, VDL-NL in Evtimova & LeCun, TMLR 2022; Olshausen & Field, Nature 1996.
    """

    n_code: Annotated[int, Meta(ge=1, description="number of atoms")]
    weight: Annotated[
        Annotated[float, Meta(ge=0)] | Schedule,
        Meta(description="penalty weight beside 1/2 |.|^2; 0 with link 'relu' alone"),
    ]
    proximity: Annotated[float, Meta(ge=0, description="pull of the codes towards the encoder's prediction")] = 0.0
    target_l0: Annotated[TargetL0 | None, Meta(description="adapt the weight until that many codes are active")] = None
    variance: Annotated[
        BatchVariance | None,
        Meta(description="a lower bound on the codes' standard deviation, instead of a constraint on atoms"),
    ] = None
    normaliser: Normaliser = Identity()
    encoder: Encoder | None = LISTA()
    decoder: Decoder = LinearDictionary()
    penalty: Penalty = L1(positive=True)
    inference: Inference = Inference()
    link: Annotated[
        Literal["identity", "relu"],
        Meta(description="the variable of the solver: the code, or pre-activations u with z = max(u, 0)"),
    ] = "identity"
    corruption: Annotated[
        Corruption | None, Meta(description="of the encoder's input in training; codes explain the clean sample")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        least = self.weight if isinstance(self.weight, int | float) else min(self.weight.extremes())
        if self.link == "identity" and not least:
            raise ValueError("Iterative: weight is 0, which makes no code sparse; expected more than 0, or link 'relu'")
        penalty = self.proximal
        if self.link == "relu" and (penalty.positive or self.variance is not None or self.inference.compat):
            raise ValueError(
                "Iterative: link is 'relu', and the solver's pre-activations have either sign; expected penalty.positive "
                "false, no variance and no compat"
            )
        if self.encoder is None:
            if self.proximity or self.inference.start == "encoder":
                wrong = "proximity > 0" if self.proximity else "inference.start is 'encoder'"
                raise ValueError(
                    f"Iterative: {wrong} without an encoder; expected an encoder, or proximity 0 and start 'zero'"
                )
        elif self.encoder.positive != penalty.positive:
            raise ValueError(
                f"Iterative: encoder.positive is {self.encoder.positive} and penalty.positive is "
                f"{penalty.positive}; expected the same sign rule, or the encoder cannot predict the codes"
            )
        if isinstance(penalty, GroupL2) and self.n_code % penalty.size:
            raise ValueError(
                f"Iterative: n_code is {self.n_code} and penalty.size {penalty.size}; expected whole groups"
            )

    @property
    def proximal(self) -> Proximal:
        """The penalty. Raises ValueError for one without a proximal step, which solvers need."""
        if isinstance(self.penalty, Proximal):
            return self.penalty
        known = [str(kind.__struct_config__.tag) for kind in get_args(Penalty) if hasattr(kind, "prox")]
        raise ValueError(
            f"Iterative: penalty is {name_of(self.penalty)!r}, which has no proximal step for solvers; choose from {', '.join(known)}"
        )

    @property
    def objective(self) -> str:
        """A description of `energy`."""
        return "1/2 |x - decode(z)|^2 + weight * penalty(z) in model space"

    def build(self, shape: tuple[int, ...], seed: int) -> IterativeModel:
        """A fresh model for samples of `shape`; weights are a function of the seed."""
        return IterativeModel(self, shape, seed)


@runtime_checkable
class Observes(Protocol):
    """A decoder that learns from running statistics of samples and codes instead of gradients."""

    def observe_(self, x: Tensor, z: Tensor) -> None: ...


class IterativeModel(AbstractSparseModel):
    """The model of an `Iterative` config. Codes are solved with the penalty weight of the latest training step."""

    def __init__(self, spec: Iterative, shape: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self._spec = spec
        self.shape = shape
        self.normaliser = spec.normaliser.build(shape)
        self.decoder = spec.decoder.build(spec.n_code, shape, generator(seed, "decoder"))
        encoder = spec.encoder
        self.encoder = None if encoder is None else encoder.build(spec.n_code, shape, generator(seed, "encoder"))
        self.register_buffer("weight", torch.tensor(at(spec.weight, 0), dtype=torch.float64))
        self.weight: Tensor
        self.control = spec.target_l0 and spec.target_l0.build()
        self.corruption = None if spec.corruption is None else Corruptor(spec.corruption, shape)

    @property
    def spec(self) -> Iterative:
        return self._spec

    @property
    def n_code(self) -> int:
        return self._spec.n_code

    def normalise(self, x: Tensor) -> Tensor:
        return self.normaliser(x.flatten(1))

    def denormalise(self, x: Tensor) -> Tensor:
        return self.normaliser.undo(x).reshape(len(x), *self.shape)

    @torch.no_grad()
    def infer(self, x: Tensor, weight: float | None = None) -> Solution[Tensor]:
        """The codes of x [B, *F] in data space that minimise `energy`, with their certificates.

        `weight` stands in for the penalty weight of the training.
        """
        rows = self.normalise(x)
        weight = float(self.weight) if weight is None else weight
        result = self._solve(self._energy(rows, weight), rows, any_units=True)
        return result._replace(z=self._linked(result.z))

    def _encode(self, x: Tensor) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            other = "" if self.encoder is None else ", or use predict_code, which has gradients"
            raise ValueError(
                f"x requires gradients, which codes from a solver do not have; expected no gradients: pass x.detach(){other}"
            )
        return self.infer(x).z

    @takes_samples
    def predict_code(self, x: Tensor) -> Tensor:
        """The encoder's codes [B, n_code] of x [B, *F]: one pass, no solver. Raises ValueError without an encoder."""
        if self.encoder is None:
            raise ValueError("predict_code: this model has no encoder; use encode")
        return self._linked(self.encoder(self.normalise(x)))

    def corrupt(self, x: Tensor, rng: torch.Generator) -> Corrupted | None:
        return None if self.corruption is None else self.corruption(x, rng)

    def _decode(self, z: Tensor) -> Tensor:
        return self.decoder.mean(z)

    def coders(self) -> dict[str, Callable[[Tensor], Tensor]]:
        if self.encoder is None:
            return {ENCODE: self.encode}
        return {ENCODE: self.encode, AMORTISED: self.predict_code}

    def coders_at(self, weight: float) -> dict[str, Callable[[Tensor], Tensor]]:
        return self.coders() | {ENCODE: lambda x: self.infer(x, weight).z}

    @torch.no_grad()
    def energy(self, x: Tensor, z: Tensor) -> Tensor:
        """1/2 |x - decode(z)|^2 + weight * penalty(z) [B], x in model space."""
        return self._energy(self.normalise(x), float(self.weight)).per_sample(z)

    @torch.no_grad()
    def gap(self, x: Tensor, z: Tensor) -> Tensor | None:
        if self.spec.link == "relu":  # nothing bounds the energy of pre-activations, and silent ones have no gradient
            return None
        energy = self._energy(self.normalise(x), float(self.weight))
        return energy.proven_gap(z) if isinstance(energy, QuadraticEnergy) else energy.gap(z)

    def loss(self, batch: Batch, step: int, rng: Stream) -> Loss:
        x = self.normalise(batch.x)
        weight = at(self.spec.weight, step) * (1.0 if self.control is None else self.control.factor)
        if self.training:
            self.weight.fill_(weight)
            if self.corruption is not None:
                self.corruption.advance_(step)
        corrupted = self.corrupt(x, rng("corruption"))
        predicted = None if self.encoder is None else self.encoder(x if corrupted is None else corrupted.x)
        energy = self._training_energy(x, weight, predicted)
        result = self._solve(energy, x, predicted)
        if self.training and isinstance(self.decoder, Observes):
            self.decoder.observe_(x, result.z)
        z = self._linked(result.z)
        base = energy.base if isinstance(energy, CoupledEnergy) else energy
        error = base.squared_error(z) if isinstance(base, DecoderEnergy) else squared_error(self.decoder.mean(z), x)
        parts = {"fidelity": error.mean()}
        if predicted is not None:
            parts["amortise"] = squared_error(predicted, result.z).mean()
        stats = {
            "objective": result.objective.mean(),
            "l0": (z != 0).sum(dim=1).double().mean(),
            "solver_steps": result.steps.double().mean(),
            "converged": result.converged.double().mean(),
        }
        if self.control is not None:
            stats["weight"] = self.weight.clone()
            if self.training:
                fired = (result.z.abs() > self.control.spec.theta).sum(dim=1).double().mean()
                self.control.move_(float(mean_over_ranks(fired)))
        if self.spec.variance is not None:
            stats["deviation"] = self.spec.variance.spread(result.z).deviation.mean()
        return Loss(torch.stack(list(parts.values())).sum(), parts, stats)

    def warnings(self, x: Tensor) -> list[str]:
        return [] if self.control is None else self.control.warnings([self.encode(x)])

    def initialise_(self, sample: Tensor, target: Tensor | None = None) -> None:
        super().initialise_(sample, target)
        self.normaliser.initialise_(sample.flatten(1))
        if self.corruption is not None:
            self.corruption.initialise_(self.normalise(sample))

    def constrain_(self) -> None:
        self.decoder.constrain_()
        if self.encoder is not None:
            self.encoder.constrain_()

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return grouped({"encoder": self.encoder, "decoder": self.decoder})

    def _energy(self, x: Tensor, weight: float) -> QuadraticEnergy | DecoderEnergy:
        decoder = Rectified(self.decoder) if self.spec.link == "relu" else self.decoder
        return energy_of(decoder, x, self.spec.proximal, weight)

    def _linked(self, u: Tensor) -> Tensor:
        return torch.relu(u) if self.spec.link == "relu" else u

    def _training_energy(
        self, x: Tensor, weight: float, predicted: Tensor | None
    ) -> QuadraticEnergy | DecoderEnergy | CoupledEnergy:
        energy = self._energy(x, weight)
        if predicted is not None and self.spec.proximity:
            energy = energy.pulled_to(predicted.detach(), self.spec.proximity)
        return energy if self.spec.variance is None else CoupledEnergy(energy, self.spec.variance)

    @torch.no_grad()
    def _solve(
        self,
        energy: QuadraticEnergy | DecoderEnergy | CoupledEnergy,
        x: Tensor,
        predicted: Tensor | None = None,
        any_units: bool = False,
    ) -> Solution[Tensor]:
        settings = self.spec.inference
        solver = settings.original if settings.compat else settings.solver
        if settings.start == "encoder" and self.encoder is not None:
            start = self.encoder(x) if predicted is None else predicted.detach()
        else:
            start = x.new_full((len(x), self.spec.n_code), 0.0 if isinstance(settings.start, str) else settings.start)
        if any_units and isinstance(energy, QuadraticEnergy):
            return solve_in_any_units(energy, solver, start, max_steps=settings.max_steps, tol=settings.tol)
        return solve(energy, solver, start, max_steps=settings.max_steps, tol=settings.tol)
