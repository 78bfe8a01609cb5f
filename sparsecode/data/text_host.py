"""Language models run over texts: where their activations are recorded, and which rows of these are kept."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import tee
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsecode.data.hook_points import hook_path
from sparsecode.data.hooks import extract, longest
from sparsecode.data.language_models import LanguageModel
from sparsecode.data.text import TokenBatch, token_batches
from sparsecode.data.token_rows import RowChoice

__all__ = ["TextHost", "device_or_default", "named", "text_host"]


class TextHost(NamedTuple):
    """A language model on its device, the paths of its hook points, and the sequences that it is given.

    `length`: tokens in a span. `bos`: a token put before each span, unless the tokenizer does. `start`: the token that a decoder of an
    encoder-decoder model starts with, if the hook points are in it. `choice`: which rows are kept. `lock`: of passes with hooks, where several
    threads run the model.
    """

    model: LanguageModel
    hook_points: tuple[str, ...]
    length: int
    choice: RowChoice
    bos: int | None = None
    start: int | None = None
    lock: Lock = Lock()

    @property
    def network(self) -> nn.Module:
        return self.model.module

    def batches(
        self, text: Path, batch_size: int, column: str = "text", report: Callable[[int], None] = lambda _: None
    ) -> Generator[TokenBatch]:
        """The spans of a text, `batch_size` at a time, as `token_batches` gives them."""
        return token_batches(
            text,
            self.model.tokeniser,
            length=self.length,
            batch_size=batch_size,
            bos=self.bos,
            column=column,
            report=report,
        )

    def seen(self, batch: TokenBatch) -> TokenBatch:
        """A batch as the part of the network sees it that the hook points are in."""
        return batch if self.start is None else batch.for_decoder(self.start)

    def outputs(self, batches: Iterable[TokenBatch]) -> Iterator[tuple[TokenBatch, dict[str, Tensor]]]:
        """Batches of spans, and what the hook points give for them [B, T, *F]. Errors as of `extract`; what a module raises for inputs
        that are not its own becomes a ValueError that names the model."""
        kept, fed = tee(map(self.seen, batches))
        outputs = extract(self.network, self.hook_points, (self.model.inputs(batch) for batch in fed))
        yield from zip(kept, named(outputs, self.model.name, "tokens [spans, length] of this tokenizer"), strict=True)


def named(outputs: Iterator[dict[str, Tensor]], model: str, inputs: str) -> Iterator[dict[str, Tensor]]:
    """The same outputs; what modules raise for inputs that are not theirs becomes a ValueError naming the model."""
    try:
        yield from outputs
    except (TypeError, IndexError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{model}: its forward pass fails ({reason}); expected a model that takes {inputs}") from None


def text_host(
    model: LanguageModel,
    hook_points: Iterable[str],
    choice: RowChoice,
    *,
    length: int,
    bos: bool = False,
    device: str | None = None,
) -> TextHost:
    """A model brought to its device, hook points spelled as `hook_path` does; without a device on CUDA, where there is one.

    Raises ValueError naming `length` if the model takes fewer tokens, `bos` if its tokenizer has no such token, or a hook point that is
    not there, or given twice.
    """
    limit = longest(model.module)
    if limit is not None and length > limit:
        raise ValueError(
            f"length {length}: expected at most {limit}, the most that {model.name} takes: --length, or --data.length of the source host"
        )
    token = getattr(model.tokeniser, "bos_token_id", None) if bos else None
    if bos and token is None:
        raise ValueError(f"bos: the tokenizer of {model.name} has no beginning-of-sequence token; leave it out")
    model.module.to(device_or_default(device))
    paths = tuple(hook_path(model.module, name) for name in hook_points)
    if len(set(paths)) < len(paths):
        raise ValueError(f"hook_point {', '.join(paths)}: expected each once")
    return TextHost(model, paths, length, choice, token, model.starts_decoder(paths), Lock())


def device_or_default(device: str | None) -> str:
    """The device, or CUDA where there is one, else the CPU. Raises ValueError for a device that is not there."""
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kinds = [*(["cuda"] if cards else []), *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    if device is None:
        return "cuda" if cards else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = None
    if wanted is None or wanted.type not in kinds or (wanted.type == "cuda" and (wanted.index or 0) >= cards):
        several = f", of cuda:0 to cuda:{cards - 1}" if cards > 1 else ""
        raise ValueError(f"device is {device!r}; expected {' or '.join(kinds)}{several}, which this machine has")
    return device
