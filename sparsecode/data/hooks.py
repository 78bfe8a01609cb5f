"""Activations inside a PyTorch module: the outputs of its submodules, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, overload

import torch
from torch import Tensor, nn

from sparsecode.data.hook_points import hook_path

__all__ = ["Inputs", "call", "evaluating", "extract", "forward", "hooked", "longest"]

Inputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]  # of one forward pass
LIMITS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_seq_length",
    "max_sequence_length",
    "seq_length",
    "context_length",
    "block_size",
)  # names of the longest sequence in configs


class _Reached(Exception):
    """All hook points have given their output: what comes after them need not be computed."""


@overload
def extract(module: nn.Module, hook_point: str, batches: Iterable[Inputs]) -> Iterator[Tensor]: ...


@overload
def extract(
    module: nn.Module, hook_point: list[str] | tuple[str, ...], batches: Iterable[Inputs]
) -> Iterator[dict[str, Tensor]]: ...


def extract(
    module: nn.Module, hook_point: str | list[str] | tuple[str, ...], batches: Iterable[Inputs]
) -> Iterator[Tensor] | Iterator[dict[str, Tensor]]:
    """The output of `module`'s submodule `hook_point` for each batch, [B, ..., d], on the module's device; of several
    submodules, their outputs in the same forward pass, by name.

    A batch is what the module is called with: a tensor, a tuple of positional or a mapping of named arguments. The forward
    pass stops where all hook points have given their output (its first tensor, where that is a tuple); of a submodule
    that is called several times, the first call counts. Names are paths in `named_modules`, or what `hook_path` takes for one. The
    module runs in evaluation mode without gradients, and is left in the mode it was in. `x[mask]` then picks rows [n, d] for a `ShardWriter`.

    Raises ValueError naming `hook_point` if there is no such submodule, it is never called, gives no tensor, or is named twice.

    >>> import torch
    >>> from sparsecode.data import extract
    >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> [x.shape for x in extract(network, "1", [torch.zeros(3, 4), torch.zeros(5, 4)])]
    [torch.Size([3, 8]), torch.Size([5, 8])]
    """
    if isinstance(hook_point, str):
        return (outputs[hook_point] for outputs in _outputs(module, (hook_point,), batches))
    return _outputs(module, tuple(hook_point), batches)


def _outputs(module: nn.Module, names: tuple[str, ...], batches: Iterable[Inputs]) -> Iterator[dict[str, Tensor]]:
    if not names or len(set(names)) < len(names):
        raise ValueError(f"hook_point {list(names)}: expected at least one, and each once")
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> Tensor:
        if name not in outputs:
            last = len(outputs) == len(names) - 1
            outputs[name] = output if last else output.clone()  # the module may go on to change it in place
            if last:
                raise _Reached
        return output

    with ExitStack() as stack:
        for name in names:
            stack.enter_context(hooked(module, name, partial(keep, name)))
        stack.enter_context(evaluating(module))
        for batch in batches:
            outputs.clear()
            with suppress(_Reached):
                call(module, batch)
            if missing := [name for name in names if name not in outputs]:
                raise ValueError(
                    f"hook_point {missing[0]!r}: the forward pass of {type(module).__name__} never calls it"
                )
            yield {name: outputs[name] for name in names}


@contextmanager
def hooked(module: nn.Module, hook_point: str, change: Callable[[Tensor], Tensor]) -> Generator[None]:
    """While this holds, the output of a submodule (its first tensor, where that is a tuple) is `change` of itself.

    Raises ValueError naming `hook_point` if there is no such submodule, or it gives no tensor.
    """

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return change(output)
        if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
            return (change(output[0]), *output[1:])
        raise ValueError(
            f"hook_point {hook_point!r}: gives {type(output).__name__}; expected a tensor, or a tuple of them"
        )

    handle = module.get_submodule(hook_path(module, hook_point)).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _number(config: Any, name: str) -> int | None:
    value = config.get(name) if isinstance(config, dict) else getattr(config, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def longest(network: nn.Module) -> int | None:
    """The most tokens that a language model takes in a sequence; None if nothing limits it.

    The least of what its config, or the config's part for text, calls by one of the names `LIMITS` (absent, null or negative where
    positions are relative), and of what its tables of learned positions hold. A table may have rows that no token gets: RoBERTa
    and its kin start counting after the padding token's index, so that a table of 514 rows serves 512 tokens; BART and OPT start
    at an `offset`. The numbers in configs of models with buckets of relative positions (T5) are those of their training, not limits.
    """
    config = getattr(network, "config", None)
    limits: list[int | None] = []
    for part in (config, getattr(config, "text_config", None)):
        names = LIMITS[:1] if _number(part, "relative_attention_num_buckets") else LIMITS
        limits += [_number(part, name) for name in names]
    for name, part in network.named_modules():
        last = name.rpartition(".")[2]
        if isinstance(part, nn.Embedding) and ("position" in last or last == "wpe"):
            unused = 0 if part.padding_idx is None else part.padding_idx + 1
            limits.append(part.num_embeddings - max(unused, getattr(part, "offset", 0)))
    return min((limit for limit in limits if limit is not None and limit > 0), default=None)


@contextmanager
def evaluating(module: nn.Module) -> Generator[None]:
    """Evaluation mode; the previous mode of each submodule is restored."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@torch.no_grad()
def call(module: nn.Module, batch: Inputs) -> Any:
    """`forward` without gradients."""
    return forward(module, batch)


def forward(module: nn.Module, batch: Inputs) -> Any:
    """What the module gives for a batch, which is brought to its device."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    if isinstance(batch, Tensor):
        return module(batch.to(device))
    if isinstance(batch, Mapping):
        return module(**{name: value.to(device) for name, value in batch.items()})
    return module(*(value.to(device) for value in batch))
