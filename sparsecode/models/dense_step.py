"""A training step of an autoencoder with dense codes, zeros included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from sparsecode.losses.task import Classify
from sparsecode.losses.variance import squared_error
from sparsecode.models.sparse_step import Step
from sparsecode.ops.rng import Stream

if TYPE_CHECKING:
    from sparsecode.models.amortised import AmortisedModel

__all__ = ["dense_step"]


def dense_step(
    model: AmortisedModel,
    x: Float[Tensor, "b n"],
    target: Float[Tensor, "b f"],
    label: Tensor | None,
    step: int,
    rng: Stream,
) -> Step:
    """The parts of a step, for the encoder's input x; `label` is used by classification tasks. torch.compile traces it as a whole."""
    pre, decoder, terms, task = model.pre(x).to(x), model.decoder, model.terms, model.spec.task
    code = model.activation.train_code(pre, step, model.training, rng)
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
