"""Dense training steps of an autoencoder through torch.compile, and the models whose steps it takes."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from sparsecode.leaves import tag_of
from sparsecode.losses.task import Classify
from sparsecode.models.sparse_step import Step
from sparsecode.nn.activations import GABASwitch, LearnedK, SampledK
from sparsecode.specs import Spec

__all__ = ["CompiledSteps", "compile_obstacle"]

CHANGING = {
    SampledK: "draws random numbers",
    LearnedK: "cuts codes at a rank that is learned",
    GABASwitch: "counts what passes through it",
}


def compile_obstacle(spec: Spec) -> str | None:
    """The reason why steps of such a model cannot be compiled, and what is expected; None if they can.

    Parts that are not this library's are tried: their first step raises what torch.compile says of them.
    """
    activation = getattr(spec, "activation", None)
    if activation is None:
        return f"model is {tag_of(spec)!r}; expected an amortised model, whose codes one pass computes"
    k = getattr(activation, "k", 0)
    if not isinstance(k, int | float):
        return f"model.activation.k is {tag_of(k)!r}, another number at every step; expected a constant k"
    for kind, what in CHANGING.items():
        if isinstance(activation, kind):
            return f"model.activation is {tag_of(activation)!r}, which {what}; expected one whose steps have one graph"
    if isinstance(getattr(spec, "task", None), Classify):
        return "model.task is 'classify', which checks the labels of every step; expected 'reconstruct' or 'predict'"
    arithmetic = getattr(spec, "arithmetic", "dense")
    if arithmetic != "dense":
        return f"model.arithmetic is {arithmetic!r}, and only dense steps are compiled; expected 'dense'"
    return None


class CompiledSteps:
    """A function of tensors and modules, compiled at its first call as one graph for the sizes that it gets.

    `backend`: that of torch.compile. Copies, and what is unpickled, compile anew. Raises ValueError with the reason where torch.compile
    fails, for want of a C++ compiler or a working triton, say.
    """

    def __init__(self, function: Callable[..., Step], backend: str = "inductor") -> None:
        self.function, self.backend = function, backend
        self._compiled: Callable[..., Step] | None = None

    def __call__(self, *args: Any) -> Step:
        from torch._dynamo.exc import TorchDynamoException  # here, because it imports torch's compiler

        if self._compiled is None:
            self._compiled = _compiled(self.function, self.backend)
        try:
            return self._compiled(*args)
        except TorchDynamoException as error:
            raise ValueError(
                f"train.compile is set, and torch.compile fails ({type(error).__name__}: {_reason(error)}); leave it out, or change what "
                "the reason names"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {"function": self.function, "backend": self.backend, "_compiled": None}


def _reason(error: Exception) -> str:
    """The first line of an error of torch.compile, and its explanation."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    return " ".join([lines[0], *(line for line in lines[1:] if line.startswith("Explanation:"))])


def _compiled(function: Callable[..., Step], backend: str) -> Callable[..., Step]:
    """`function`, compiled. What torch keeps of a function belongs to its code, so that each has code of its own, and many models no common limit."""
    import torch

    assert isinstance(function, FunctionType)
    code = function.__code__.replace()
    alone = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    return torch.compile(alone, fullgraph=True, dynamic=False, backend=backend)
