"""A training step of an autoencoder with dense codes, zeros included."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from sparsecode.losses.task import Classify, Task
from sparsecode.losses.term import Terms
from sparsecode.losses.variance import squared_error
from sparsecode.models.sparse_step import Step
from sparsecode.nn.activations import ActivationModule
from sparsecode.nn.affine import BiasedDictionaryModule
from sparsecode.nn.decoders import DecoderModule
from sparsecode.nn.perceptron import PerceptronModule
from sparsecode.ops.rng import Stream

__all__ = ["dense_step"]


def dense_step(
    pre: Float[Tensor, "b k"],
    activation: ActivationModule,
    decoder: BiasedDictionaryModule | PerceptronModule | DecoderModule,
    terms: Terms,
    target: Float[Tensor, "b f"],
    label: Tensor | None,
    step: int,
    rng: Stream,
    *,
    training: bool,
    task: Task,
) -> Step:
    """The parts of a step, computed from pre-activations; `label` is used by classification tasks."""
    code = activation.train_code(pre, step, training, rng)
    computed = next(
        (both for term in terms.each() if (both := term.fidelity(code.z, decoder, target)) is not None), None
    )
    if computed is None:
        out = decoder.mean(code.z).to(target)
        error = task.error(out, label) if isinstance(task, Classify) else squared_error(out, target)
        computed = out, error
    out, error = computed[0].to(target), computed[1]  # whatever its products are in
    fired = code.z.detach().abs() > terms.theta
    return Step(code, out, error, fired.any(dim=0), fired.sum(dim=1).double().mean(), pre)
