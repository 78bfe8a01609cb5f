"""`Iterative`: the code minimises an energy; decoder and encoder learn from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.losses import squared_error
from sparsecode.models.base import AbstractSparseModel
from sparsecode.nn.decoders import Decoder, LinearDictionary
from sparsecode.nn.encoders import LISTA, Encoder
from sparsecode.nn.normalisers import Identity, Normaliser
from sparsecode.ops.streams import Stream, generator
from sparsecode.penalties import L1, Penalty
from sparsecode.schedules import PositiveSchedule, at
from sparsecode.solvers.energy import QuadraticEnergy
from sparsecode.solvers.solve import Solver, solve
from sparsecode.specs import Spec
from sparsecode.types import Batch, Loss, Solution

__all__ = ["Inference", "Iterative", "IterativeModel"]


class Inference(Spec, tag="inference"):
    """How codes are solved for: algorithm, where it starts, when it stops."""

    solver: Annotated[Solver | None, Meta(description="default: coordinate descent on a CPU, FISTA elsewhere")] = None
    start: Annotated[
        Literal["encoder", "zero"], Meta(description="start from the encoder's prediction or from zero")
    ] = "encoder"
    tol: Annotated[float, Meta(gt=0, description="relative duality gap at which a code is done")] = 1e-3
    max_steps: Annotated[int, Meta(ge=1, description="most steps per code")] = 200


class Iterative(Spec, tag="iterative"):
    """z = argmin 1/2 |x - decode(z)|^2 + weight * penalty(z) + proximity / 2 |z - encoder(x)|^2, detached.

    x in model space; the pull to the encoder acts in training alone, `encode` minimises the rest. Training loss, mean
    over the batch: |decode(z) - x|^2 + |encoder(x) - z|^2: with detached codes, decoder and encoder each learn from
    their own term.
    Source: SDL in Evtimova & LeCun, TMLR 2022; Olshausen & Field, Nature 1996.
    """

    n_code: Annotated[int, Meta(ge=1, description="number of atoms")]
    weight: Annotated[PositiveSchedule, Meta(description="penalty weight beside 1/2 |.|^2")]
    proximity: Annotated[float, Meta(ge=0, description="pull of the codes towards the encoder's prediction")] = 0.0
    normaliser: Normaliser = Identity()
    encoder: Encoder = LISTA()
    decoder: Decoder = LinearDictionary()
    penalty: Penalty = L1(positive=True)
    inference: Inference = Inference()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder.positive != self.penalty.positive:
            raise ValueError(
                f"Iterative: encoder.positive is {self.encoder.positive} and penalty.positive is "
                f"{self.penalty.positive}; expected the same sign rule, or the encoder cannot predict the codes"
            )

    def build(self, shape: tuple[int, ...], seed: int) -> IterativeModel:
        """A fresh model for samples of `shape`; weights are a function of the seed."""
        return IterativeModel(self, shape, seed)


class IterativeModel(AbstractSparseModel):
    """The weights of an `Iterative`. Codes are solved with the penalty weight of the latest training step."""

    def __init__(self, spec: Iterative, shape: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self._spec = spec
        self.shape = shape
        n_features = math.prod(shape)
        self.normaliser = spec.normaliser.build(n_features)
        self.decoder = spec.decoder.build(spec.n_code, n_features, generator(seed, "decoder"))
        self.encoder = spec.encoder.build(spec.n_code, n_features, generator(seed, "encoder"))
        self.register_buffer("weight", torch.tensor(at(spec.weight, 0), dtype=torch.float64))
        self.weight: Tensor

    @property
    def spec(self) -> Iterative:
        return self._spec

    def normalise(self, x: Tensor) -> Tensor:
        return self.normaliser(x.flatten(1))

    def denormalise(self, x: Tensor) -> Tensor:
        return self.normaliser.undo(x).reshape(len(x), *self.shape)

    @torch.no_grad()
    def infer(self, x: Tensor) -> Solution[Tensor]:
        """The codes of x [B, *F] in data space that minimise `energy`, with their certificates."""
        rows = self.normalise(x)
        return self._solve(self._energy(rows, float(self.weight)), self.encoder(rows))

    def encode(self, x: Tensor) -> Tensor:
        return self.infer(x).z

    @torch.no_grad()
    def predict_code(self, x: Tensor) -> Tensor:
        """The encoder's codes [B, n_code] of x [B, *F]: one pass, no solver."""
        return self.encoder(self.normalise(x))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder.mean(z)

    def coders(self) -> dict[str, Callable[[Tensor], Tensor]]:
        return {"solver": self.encode, "encoder": self.predict_code}

    @torch.no_grad()
    def energy(self, x: Tensor, z: Tensor) -> Tensor:
        """1/2 |x - decode(z)|^2 + weight * penalty(z) [B], x in model space."""
        return self._energy(self.normalise(x), float(self.weight)).per_sample(z)

    @torch.no_grad()
    def gap(self, x: Tensor, z: Tensor) -> Tensor:
        return self._energy(self.normalise(x), float(self.weight)).gap(z)

    def loss(self, batch: Batch, step: int, rng: Stream) -> Loss:  # noqa: ARG002 - nothing here is random
        x = self.normalise(batch.x)
        weight = at(self.spec.weight, step)
        if self.training:
            self.weight.fill_(weight)
        predicted = self.encoder(x)
        energy, guess = self._energy(x, weight), predicted.detach()
        found = self._solve(energy.pulled_to(guess, self.spec.proximity) if self.spec.proximity else energy, guess)
        parts = {
            "fidelity": squared_error(self.decode(found.z), x).mean(),
            "amortise": squared_error(predicted, found.z).mean(),
        }
        stats = {
            "objective": found.objective.mean(),
            "l0": (found.z != 0).sum(dim=1).double().mean(),
            "solver_steps": found.steps.double().mean(),
            "converged": found.converged.double().mean(),
        }
        return Loss(parts["fidelity"] + parts["amortise"], parts, stats)

    def initialise_(self, sample: Tensor) -> None:
        self.normaliser.initialise_(sample.flatten(1))

    def constrain_(self) -> None:
        self.decoder.constrain_()
        self.encoder.constrain_()

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        return {
            f"{part}.{name}": params for part, leaf in parts.items() for name, params in leaf.param_groups().items()
        }

    def _energy(self, x: Tensor, weight: float) -> QuadraticEnergy:
        return QuadraticEnergy(x, self.decoder.atoms.detach(), self.spec.penalty, weight)

    @torch.no_grad()
    def _solve(self, energy: QuadraticEnergy, predicted: Tensor) -> Solution[Tensor]:
        how = self.spec.inference
        start = predicted if how.start == "encoder" else torch.zeros_like(predicted)
        return solve(energy, how.solver, start, max_steps=how.max_steps, tol=how.tol)
