"""A top-k model at another k."""

from __future__ import annotations

import msgspec

from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.base import AbstractSparseModel
from sparsecode.nn.activations import TopK

__all__ = ["with_k"]


def with_k(model: AbstractSparseModel, k: int) -> AmortisedModel:
    """A copy of a top-k model whose codes are the `k` largest, with the same weights.

    Good at many k are models that were trained for it: term `nested_k`. Raises ValueError for models with other activations, and for a k that is not 1 to the
    number of codes.

    >>> from sparsecode.models import Amortised, with_k
    >>> from sparsecode.nn import TopK
    >>> model = Amortised(n_code=32, activation=TopK(k=8)).build((16,), seed=0)
    >>> with_k(model, 2).spec.activation.k
    2.0
    """
    if not isinstance(model, AmortisedModel) or not isinstance(model.spec.activation, TopK):
        what = type(getattr(model.spec, "activation", model.spec)).__name__
        raise ValueError(f"model: {what}; expected an Amortised model with activation topk")
    if not 1 <= k <= model.n_code:
        raise ValueError(f"k is {k}; expected 1 to {model.n_code}, the number of codes")
    spec = msgspec.structs.replace(model.spec, activation=TopK(float(k)))
    copy = spec.build(model.shape, 0, model.target_shape).to(next(model.parameters()))
    state = model.state_dict()
    copy.load_state_dict({**state, "activation.k": copy.activation.k})
    return copy.train(model.training)
