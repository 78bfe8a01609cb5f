"""A training step of an autoencoder from all its codes, zeros and all."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparsecode.losses.matryoshka import Matryoshka
from sparsecode.losses.task import Classify, Reconstruct
from sparsecode.losses.variance import squared_error
from sparsecode.models.sparse_step import Step
from sparsecode.nn.activations import ActivationModule
from sparsecode.nn.affine import BiasedDictionaryModule
from sparsecode.nn.perceptron import PerceptronModule
from sparsecode.ops.streams import Stream

__all__ = ["dense_step", "weighed"]

Decoder = BiasedDictionaryModule | PerceptronModule


def dense_step(
    pre: Float[Tensor, "b k"],
    activation: ActivationModule,
    decoder: Decoder,
    penalty: nn.Module | None,
    target: Float[Tensor, "b f"],
    label: Tensor | None,
    step: int,
    rng: Stream,
    *,
    moving: bool,
    task: Classify | Reconstruct,
    matryoshka: Matryoshka | None,
    norm_weighted: bool,
    theta: float,
) -> Step:
    """The step's parts from pre-activations; `label` is what a task of classification needs."""
    code = activation.train_code(pre, step, moving, rng)
    out, fidelity = _decoded(code.z, decoder, target, label, task, matryoshka)
    gate_fidelity = cost = surrogate = None
    if code.gate is not None:
        # the gate alone must reconstruct, too; decoder held fixed, so that only the encoder learns from it
        assert isinstance(decoder, BiasedDictionaryModule)
        gate_fidelity = squared_error(torch.addmm(decoder.bias.detach(), code.gate, decoder.atoms.detach()), target)
    if penalty is not None:
        if norm_weighted:
            gate = code.gate if code.gate is None else weighed(code.gate, decoder)
            cost = penalty(code._replace(z=weighed(code.z, decoder), gate=gate), moving).mean()
        else:
            cost = penalty(code, moving).mean()
    if code.logp is not None and len(pre) > 1:
        given = fidelity.detach()
        advantage = given - (given.sum() - given) / (len(given) - 1)  # against the others, so that it stays unbiased
        surrogate = (advantage * code.logp).mean()
        surrogate = surrogate - surrogate.detach()  # a gradient, no cost
    fired = code.z.detach().abs() > theta
    l0 = fired.sum(dim=1).double().mean()
    return Step(out, cost, fired.any(dim=0), l0, fidelity, gate_fidelity, surrogate)


def weighed(z: Float[Tensor, "b k"], decoder: Decoder) -> Float[Tensor, "b k"]:
    """Codes times the norms of their atoms."""
    assert isinstance(decoder, BiasedDictionaryModule)
    return z * torch.linalg.vector_norm(decoder.atoms, dim=1)


def _decoded(
    z: Tensor,
    decoder: Decoder,
    target: Tensor,
    label: Tensor | None,
    task: Classify | Reconstruct,
    matryoshka: Matryoshka | None,
) -> tuple[Tensor, Tensor]:
    """decode(z) from all codes, and the error per sample: the mean over all prefixes, if there are any."""
    if matryoshka is not None and isinstance(decoder, BiasedDictionaryModule):
        return matryoshka.fidelity(z, decoder, target)
    out = decoder.mean(z)
    return out, task.error(out, label) if isinstance(task, Classify) else squared_error(out, target)
