"""What codes add to a model's output: the atoms of linear decoders, and their counterparts elsewhere."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_activation, has_posterior, one_layer

__all__ = ["Additions", "additions_of", "receptive_fields"]

SMALL = 4096  # codes up to which a decoder without atoms is tried for linearity, and features up to which fields are mapped back
TOGETHER = 2**24  # numbers of a batch of codes with one code each
LINEAR = 1e-3  # relative error of a decoder that counts as linear


class Additions(NamedTuple):
    """What each of `n` units adds to the output. A unit is a code, or the codes of one atom at all its `places`, one after the other.

    Of linear decoders, `local` [n, f] and `data` [n, f] are what a unit of the code adds in model space and in data space (of
    classifiers: to the logits); None of others, whose additions depend on the value: see `at`. `filters` [n, c, s, s] are those of
    convolutional dictionaries.
    """

    model: AbstractSparseModel
    n: int
    places: int = 1
    local: Tensor | None = None
    data: Tensor | None = None
    filters: Tensor | None = None

    @property
    def linear(self) -> bool:
        """Whether additions are multiples of the same atom, one for each code."""
        return self.local is not None

    @torch.no_grad()
    def at(self, units: Int[Tensor, " m"], values: Float[Tensor, " m"]) -> tuple[Tensor, Tensor]:
        """decode(c e_j) - decode(0) [m, f] in model space and in data space, for units j with values c at their middle place."""
        if self.local is not None and self.data is not None:
            return values[:, None] * self.local[units], values[:, None] * self.data[units]
        weights = next(self.model.parameters())
        local, data = list[Tensor](), list[Tensor]()
        zero = weights.new_zeros(1, self.model.n_code)
        base = self.model.decode(zero)
        step = max(1, TOGETHER // self.model.n_code)
        for part, value in zip(units.split(step), values.split(step), strict=True):
            z = weights.new_zeros(len(part), self.model.n_code)
            z[torch.arange(len(part)), part * self.places + self.places // 2] = value.to(weights)
            out = self.model.decode(z)
            local.append(out - base)
            data.append(_in_data_space(self.model, out) - _in_data_space(self.model, base))
        return torch.cat(local), torch.cat(data)


@torch.no_grad()
def additions_of(model: AbstractSparseModel) -> Additions:
    """The additions of a model's codes."""
    decoder = getattr(model, "decoder", None)
    filters = getattr(decoder, "filters", None)
    if isinstance(filters, Tensor):
        return Additions(model, len(filters), model.n_code // len(filters), filters=filters.detach())
    atoms = getattr(decoder, "atoms", None)
    if isinstance(atoms, Tensor) and atoms.ndim == 2 and _is_linear(model, atoms):
        return Additions(model, len(atoms), 1, atoms.detach(), _mapped(model, atoms.detach()))
    if model.n_code <= SMALL and not has_posterior(model):
        units = Additions(model, model.n_code)
        local, data = units.at(torch.arange(model.n_code), torch.ones(model.n_code))
        if _is_linear(model, local):
            return Additions(model, model.n_code, 1, local, data)
    return Additions(model, model.n_code)


def _is_linear(model: AbstractSparseModel, atoms: Tensor) -> bool:
    """Whether decode(z) is decode(0) + z `atoms`, tried on codes with all atoms in them."""
    trial = torch.linspace(0.1, 1.0, model.n_code).to(atoms).expand(2, -1) * torch.tensor([[1.0], [-1.0]]).to(atoms)
    expected = trial @ atoms
    made = model.decode(trial) - model.decode(torch.zeros_like(trial[:1]))
    return bool((made - expected).norm() <= LINEAR * expected.norm())


def _in_data_space(model: AbstractSparseModel, out: Tensor) -> Tensor:
    """Outputs of `decode` [m, f] as values in data space, flattened; logits as they are."""
    if model.n_classes is not None:
        return out
    if has_activation(model) and model.predict is not None:
        return model.predict.normaliser.undo(out)
    return model.denormalise(out).flatten(1)


def _mapped(model: AbstractSparseModel, atoms: Tensor) -> Tensor:
    """Atoms of model space in data space, by the linear part of the normaliser."""
    zero = _in_data_space(model, torch.zeros_like(atoms[:1]))
    return torch.cat([_in_data_space(model, part) - zero for part in atoms.split(SMALL)])


@torch.no_grad()
def receptive_fields(model: AbstractSparseModel, units: Int[Tensor, " m"]) -> Tensor | None:
    """The gradient [m, n_features] of each unit's pre-activation with respect to a sample in data space; None without an affine encoder.

    Of encoders that normalise their inputs, the weights themselves.
    """
    layer = one_layer(model)
    if layer is None or layer.model.projection is not None:
        return None
    keys = layer.encoder.map(layer.model.decoder)[0].detach()[units]
    if layer.encoder.spec.cosine or keys.shape[1] > SMALL:
        return keys
    features = torch.eye(keys.shape[1]).to(keys)
    zero = model.normalise(torch.zeros(1, *model.shape).to(keys))
    forward = model.normalise(features.reshape(-1, *model.shape)) - zero
    return keys @ forward.T
