"""The base class of models: the interface that training and evaluation use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsecode.coders import EARLIER, ENCODE
from sparsecode.leaves import tag_of
from sparsecode.models.inputs import takes_codes, takes_samples
from sparsecode.nn.corruptions import Corrupted
from sparsecode.ops.rng import Stream
from sparsecode.records import Batch, Loss
from sparsecode.specs import Spec

__all__ = ["AbstractSparseModel", "grouped"]


class AbstractSparseModel(nn.Module, ABC):
    """A sparse model. Samples are rows; all state that matters is a parameter or a buffer.

    `spec` (schedules in steps) and the sample `shape` *F rebuild it; `state_dict` then restores it bit for bit.
    `encode`, `decode` and `reconstruct` check their arguments, accept NumPy arrays as well as tensors, and keep leading
    axes: x [..., *F] has codes [..., n_code]. Subclasses define `_encode` and `_decode` of tensors with one leading axis;
    training calls the parts below them. `forward` is `reconstruct`.
    Gradients follow torch's rules: they reach x, z and the weights, except through codes computed by a solver.
    """

    shape: tuple[int, ...]
    n_classes: int | None = None
    """Where `decode` gives logits of so many classes instead of a mean in model space."""
    target_shape: tuple[int, ...] | None = None
    """Where the model predicts the data's target: the target's shape *G."""
    n_sites: int = 1
    """Where samples are [n_sites, ...], from several layers or places, rather than images."""

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """The config this model was built from."""

    @property
    @abstractmethod
    def n_code(self) -> int:
        """The number of codes."""

    @property
    def reconstructs(self) -> bool:
        """Whether the output reconstructs the samples, rather than their classes or another target."""
        return self.n_classes is None and self.target_shape is None

    @takes_samples
    def encode(self, x: Tensor) -> Tensor:
        """Codes [..., n_code] of x [..., *F] in data space: deterministic, row by row."""
        return self._encode(x)

    @takes_codes
    def decode(self, z: Tensor) -> Tensor:
        """The mean [..., n_features] in model space for codes z [..., n_code]; logits [..., n_classes] of models that classify."""
        return self._decode(z)

    @takes_samples
    def reconstruct(self, x: Tensor) -> Tensor:
        """decode(encode(x)) [..., *F] in data space; of models that predict a target, the prediction [..., *G].

        Raises ValueError for a model that classifies.
        """
        if self.n_classes:
            raise ValueError("reconstruct: this model classifies; decode(encode(x)) are its logits")
        return self.output(x, self._encode(x))

    def output(self, x: Tensor, z: Tensor) -> Tensor:
        """The output [B, *F] in data space for codes z [B, n_code] of x: decode(z), plus anything that depends on x directly."""
        return self.denormalise(self._decode(z)).reshape(len(x), *self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """`reconstruct`."""
        return self.reconstruct(x)

    @abstractmethod
    def _encode(self, x: Tensor) -> Tensor:
        """`encode` of checked x [B, *F] or [B, n_features]."""

    @abstractmethod
    def _decode(self, z: Tensor) -> Tensor:
        """`decode` of checked z [B, n_code]."""

    @abstractmethod
    def normalise(self, x: Tensor) -> Tensor:
        """x [B, *F] from data space into model space [B, n_features]."""

    @abstractmethod
    def denormalise(self, x: Tensor) -> Tensor:
        """x [B, n_features] from model space into data space [B, *F]."""

    @abstractmethod
    def loss(self, batch: Batch, step: int, rng: Stream) -> Loss:
        """The training objective of one batch."""

    @abstractmethod
    def energy(self, x: Tensor, z: Tensor) -> Tensor:
        """The inference objective [B] of codes z [B, n_code] of samples x [B, *F]."""

    def objective(self, batch: Batch, z: Tensor) -> Tensor:
        """The objective [B] that scores report for codes z of a batch: `energy`, plus any error that needs labels or targets."""
        return self.energy(batch.x, z)

    def gap(self, x: Tensor, z: Tensor) -> Tensor | None:  # noqa: ARG002 - the contract
        """A bound [B] on `energy` at z minus its minimum, relative to the energy at 0; None without one."""
        return None

    def corrupt(self, x: Tensor, rng: torch.Generator) -> Corrupted | None:  # noqa: ARG002 - the contract
        """x [B, n_features] in model space as corrupted in training; None without corruption."""
        return None

    def coders(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Every way this model maps data to codes, by name; evaluation scores each.

        The first is `encode`, the model's main coder; others are `amortised` or `mean`.
        """
        return {ENCODE: self.encode}

    def coder_called(self, name: str | None = None) -> str:
        """The name of a coder by that name or the one that earlier versions gave it; of the first by default.

        Raises ValueError naming all coders if there is none.
        """
        coders = self.coders()
        if name is None:
            return next(iter(coders))
        today = self.coder_today(name)
        if today not in coders:
            raise ValueError(f"coder is {name!r}; this model has {', '.join(coders)}")
        return today

    def coder_today(self, name: str) -> str:
        """The present name of a coder called `name` in earlier versions; other names unchanged."""
        return name if name in self.coders() else EARLIER.get(tag_of(self.spec), {}).get(name, name)

    def coders_at(self, weight: float) -> dict[str, Callable[[Tensor], Tensor]]:  # noqa: ARG002 - the contract
        """`coders` with another penalty weight where a solver computes the codes, for instance one that fits the noise in samples."""
        return self.coders()

    def calibrate_(self, x: Tensor) -> float | None:  # noqa: ARG002 - the contract
        """Set thresholds so that held-out samples x [B, *F] have the target L0, and return that target; None without thresholds.

        Called after training. Idempotent.
        """
        return None

    def warnings(self, x: Tensor) -> list[str]:  # noqa: ARG002 - the contract
        """Warnings about the trained model, measured on samples x [B, *F]: a line each, with the remedy."""
        return []

    def renamed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a file of this model, also of an earlier format, under the names of `state_dict`."""
        return tensors

    def initialise_(self, sample: Tensor, target: Tensor | None = None) -> None:
        """Data-dependent initialisation from training samples [n, *F] and targets [n, *G]; called once, never on resume."""

    def project_grads_(self) -> None:
        """Project gradients; called after the backward pass, before clipping."""

    def constrain_(self) -> None:
        """Project parameters onto their constraints; called after each optimiser step."""

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Disjoint named groups of all trained parameters, for the optimiser's patterns."""
        return {"all": list(self.parameters())}

    def __repr__(self) -> str:
        """The sizes of samples and codes, and the number of parameters of every part."""
        activation = getattr(self.spec, "activation", None)
        kind = "" if activation is None else f", activation {activation}"
        parts = [
            f"  {name}: {type(part).__name__}, {_count(part):,} parameters" for name, part in self.named_children()
        ]
        first = f"samples {list(self.shape)}, {self.n_code:,} codes{kind}, {_count(self):,} parameters"
        return "\n".join([f"{type(self).__name__}({first}", *parts]) + ")"


def grouped(parts: Mapping[str, Any]) -> dict[str, list[nn.Parameter]]:
    """The parameter groups of a model, `PART.GROUP`, from those of its parts; None stands for a part that it does not have."""
    groups = {part: {} if leaf is None else leaf.param_groups() for part, leaf in parts.items()}
    return {f"{part}.{name}": params for part, leaf in groups.items() for name, params in leaf.items()}


def _count(module: nn.Module) -> int:
    return sum(param.numel() for param in module.parameters())
