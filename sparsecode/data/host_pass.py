"""A forward pass of a language model in which some rows of activations may be replaced."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from sparsecode.data.hooks import evaluating, forward, hooked
from sparsecode.data.text import TokenBatch
from sparsecode.data.text_host import TextHost

__all__ = ["HostPass"]


class HostPass:
    """A batch of spans [S, T] given to a host; its rows are those at positions (`span`, `column`) [B] of the `hook_points`.

    `next_token` [B] is the token that follows each row in its span, `has_next` [B] whether there is one.
    """

    def __init__(
        self, host: TextHost, batch: TokenBatch, span: Tensor, column: Tensor, hook_points: tuple[str, ...]
    ) -> None:
        self._host, self._batch, self.span, self.column, self.hook_points = host, batch, span, column, hook_points
        after = (column + 1).clamp(max=batch.ids.shape[1] - 1)
        self.next_token = batch.ids[span, after]
        self.has_next = batch.real[span, after] & (after > column)

    def rows(self, x: Tensor) -> Tensor:
        """Rows [B, *F] of an output x [S, T, *F]."""
        return x[self.span.to(x.device), self.column.to(x.device)]

    @torch.no_grad()
    def clean(self, read: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B, V] at the rows and, of the submodules in `read`, their rows [B, d], without a change or a gradient."""
        return self._run({}, read)

    def replaced(self, values: Tensor, read: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The same with the rows of the hook point replaced by `values` [B, *F], of several by [B, sites, *F]; gradients pass through."""
        several = len(self.hook_points) > 1
        each = values.unbind(1) if several else (values,)
        return self._run(dict(zip(self.hook_points, each, strict=True)), read)

    def _run(self, values: dict[str, Tensor], read: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        there: dict[str, Tensor] = {}

        def change(name: str, x: Tensor) -> Tensor:
            if name in values:
                at = (self.span.to(x.device), self.column.to(x.device))
                x = x.index_put(at, values[name].to(x).reshape(-1, *x.shape[2:]))
            if name in read:
                there[name] = self.rows(x)
            return x

        with self._host.lock, ExitStack() as stack:
            stack.enter_context(evaluating(self._host.network))
            for name in dict.fromkeys((*values, *read)):
                stack.enter_context(hooked(self._host.network, name, lambda x, name=name: change(name, x)))
            output: Any = forward(self._host.network, self._host.model.inputs(self._batch))
        logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        if not isinstance(logits, Tensor) or logits.ndim != 3:
            raise ValueError(
                f"{self._host.model.name}: gives {type(output).__name__} without logits [spans, tokens, words]; expected a model that "
                "predicts tokens"
            )
        return self.rows(logits), there
