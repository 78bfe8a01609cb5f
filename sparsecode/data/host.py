"""Activations of a language model that runs while a model of them is trained."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsecode.data.arrays import Share
from sparsecode.data.chosen_sites import Chosen, chosen_sites
from sparsecode.data.host_rows import HostRows
from sparsecode.data.host_stream import HostStream
from sparsecode.data.images import PARTS, progress
from sparsecode.data.import_paths import names_import_path
from sparsecode.data.language_models import language_model
from sparsecode.data.recorded_host import RecordedHost
from sparsecode.data.shard_index import ShardSite
from sparsecode.data.span_store import stored_spans
from sparsecode.data.splits import Split, Splits, part_of
from sparsecode.data.text import bytes_of, text_spans
from sparsecode.data.text_host import TextHost, text_host
from sparsecode.data.token_rows import RowChoice, largest_norms, sizes_of
from sparsecode.hub import local_path
from sparsecode.ops.rng import generator
from sparsecode.specs import Count, Positive, Seed, Spec

__all__ = ["Host"]

PATH_SIGNS = ("://",)  # of places that are no paths


class Host(Spec, tag="host"):
    """Activations of a language model on a text, computed while a model of them is trained; none of them is stored on disk.

    Rows, hook points and options are those of `sparsecode extract`, and so are the splits for the same shares and seed: each group (a document,
    or a span of a text) is in one of train, valid and test. The text is cut into spans once. An epoch visits the training spans in a random order,
    drawn from (seed, epoch). With `shuffle` "rows", the host runs on as many of them as fill a buffer with at most `buffer` rows, whose rows are
    given in a random order; with "spans", on the spans of a batch, whose rows stay together, as terms need that run the host themselves.
    The position is a function of the step and the buffer of the position, so that resuming is exact. The order depends on this `seed` and
    not on that of a run, so that runs with several seeds can share one pass.

    Rows above `max_norm` are replaced in the order by others of the same buffer, so that the number of rows in an epoch is known without
    running the host. Validation, test and data-dependent initialisation use the rows of some spans drawn at random, `held` rows each, which are
    in memory with their tokens. Memory: the host, the buffer, what is held, and 24 bytes per span; the tokens of the text are in a file
    of temporary files, 4 bytes each.

    Raises FileNotFoundError or ValueError naming what is wrong with model, tokenizer, text or options.
    """

    model: Annotated[
        str,
        Meta(
            min_length=1,
            description="folder of a language model and its tokenizer, or an import path, package.module:NAME",
        ),
    ]
    text: Annotated[str, Meta(min_length=1, description="a text, or documents, as `sparsecode extract` takes them")]
    hook_point: Annotated[
        tuple[str, ...], Meta(min_length=1, description="submodules whose outputs are recorded, a site each")
    ]
    target: Annotated[str | None, Meta(description="the hook point to predict from the others")] = None
    length: Annotated[Count, Meta(description="tokens in a span, special ones among them")] = 128
    batch_size: Annotated[Count, Meta(description="spans in a forward pass of the host")] = 32
    shuffle: Annotated[
        Literal["rows", "spans"], Meta(description="rows in random order, or spans, whose rows stay together")
    ] = "rows"
    buffer: Annotated[Count, Meta(description="most rows in memory to be shuffled")] = 2**17
    held: Annotated[Count, Meta(description="most rows of each of train, valid and test kept in memory")] = 10_000
    tokens: Annotated[Count | None, Meta(description="most tokens of the text that are read")] = None
    tokenizer: Annotated[str | None, Meta(description="folder of a tokenizer, for a model without one")] = None
    column: Annotated[str, Meta(description="of documents: the name that their texts have")] = "text"
    bos: Annotated[bool, Meta(description="put the beginning-of-sequence token before each span")] = False
    skip_first: Annotated[int, Meta(ge=0, description="first positions of a span whose rows are left out")] = 0
    max_norm: Annotated[
        Positive | None, Meta(description="leave out rows whose norm is above so many medians of the first batch")
    ] = None
    keep_special: Annotated[bool, Meta(description="keep the rows of special tokens")] = False
    valid: Annotated[Share, Meta(description="share of the groups for validation")] = 0.05
    test: Annotated[Share, Meta(description="share of the groups for test")] = 0.05
    seed: Annotated[Seed, Meta(description="of the split, and of the order of spans and rows")] = 0
    device: Annotated[str | None, Meta(description="where the host runs; default CUDA, where there is one")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("model", "text", "tokenizer"):
            value = getattr(self, name)
            if value is not None and not names_import_path(value) and not any(sign in value for sign in PATH_SIGNS):
                msgspec.structs.force_setattr(self, name, str(Path(value).absolute()))
        if self.skip_first >= self.length:
            raise ValueError(
                f"Host: skip_first is {self.skip_first}; expected 0 to {self.length - 1}, less than length"
            )
        if self.target is not None and self.target not in self.hook_point:
            raise ValueError(
                f"Host: target is {self.target!r}; expected one of hook_point, {', '.join(self.hook_point)}"
            )
        if self.shuffle == "spans" and self.max_norm is not None:
            raise ValueError("Host: max_norm goes with shuffle 'rows'; expected skip_first in its place, or no limit")

    @property
    def sites_in_order(self) -> tuple[str, ...]:
        """The hook points that samples are made of, and the target after them."""
        names = tuple(name for name in self.hook_point if name != self.target)
        return names if self.target is None else (*names, self.target)

    def load(self) -> Splits:
        text = Path(self.text)
        size = bytes_of(text)
        host = self._host()
        with (
            progress(f"tokens of {text.name}", size) as report,
            text_spans(
                text, host.model.tokeniser, length=self.length, bos=host.bos, column=self.column, report=report
            ) as spans,
        ):
            store = stored_spans(spans, self.tokens)
        first = range(min(self.batch_size, len(store.ends)))
        ((batch, x),) = host.outputs([store.batch(first)])
        most = largest_norms(sizes_of(x, batch, host.choice), host.choice, "--data.")
        rows = HostRows(host, store, self._sites(host, x), most, self.batch_size)
        parts = _parts(store.group, self.seed, self.valid, self.test)
        if empty := [name for i, name in enumerate(PARTS) if not rows.counts[parts == i].sum()]:
            raise ValueError(
                f"{text}: none of its {len(np.unique(store.group))} groups with rows are in {empty[0]}; expected more text or a larger share"
            )
        train, valid, test = (self._held(rows, np.flatnonzero(parts == i), name) for i, name in enumerate(PARTS))
        span = _span(train.x if train.target is None else train.target)
        order = np.flatnonzero((parts == 0) & (rows.counts > 0))
        stream = HostStream(rows, order, self.seed, self.buffer, self.shuffle == "spans", self._fingerprint(rows))
        return Splits(
            train, valid, test, *span, stream=stream, host=self.recorded(tuple(site.name for site in rows.sites.all))
        )

    def _host(self) -> TextHost:
        """The model without gradients, in evaluation mode; drawing its weights leaves torch's global generator as it was."""
        with torch.random.fork_rng(devices=[]):
            model = language_model(self.model, self.tokenizer, head=self.shuffle == "spans")
        model.module.eval().requires_grad_(requires_grad=False)
        choice = RowChoice(self.keep_special, self.skip_first, self.max_norm)
        return text_host(model, self.hook_point, choice, length=self.length, bos=self.bos, device=self.device)

    def recorded(self, hook_points: tuple[str, ...]) -> RecordedHost:
        """What is needed to run the host again, with hook points as they are spelled in it."""
        return RecordedHost(
            self.model,
            self.text,
            hook_points,
            self.length,
            tokenizer=self.tokenizer,
            column=self.column,
            bos=self.bos,
            skip_first=self.skip_first,
            keep_special=self.keep_special,
        )

    def _sites(self, host: TextHost, x: dict[str, Tensor]) -> Chosen:
        sites = [ShardSite(name, tuple(value.shape[2:]), (0.0, 0.0)) for name, value in x.items()]
        target = None if self.target is None else host.hook_points[self.hook_point.index(self.target)]
        return chosen_sites(sites, (), target, host.model.name)

    def _held(self, rows: HostRows, spans: NDArray[np.int64], part: str) -> Split:
        """The first `held` rows of some spans in an order drawn from the seed."""
        order = spans[torch.randperm(len(spans), generator=generator(self.seed, f"held {part}")).numpy()]
        enough = int(np.searchsorted(np.cumsum(rows.counts[order]), self.held)) + 1
        x, tokens = rows.of(order[:enough])
        kept = {name: value[: self.held].float().cpu() for name, value in x.items()}
        if not all(map(len, kept.values())):
            raise ValueError(f"max_norm is {self.max_norm}: no rows of {part} are kept; expected a larger one")
        tokens.tokenizer = str(local_path(self.tokenizer or self.model))
        return Split(*rows.sites.batch(kept)[:3], tokens=tokens.take(slice(self.held)))

    def _fingerprint(self, rows: HostRows) -> str:
        """A short hash of the tokens, of the host's weights, and of how rows are made of them."""
        host = rows.host
        config = host.model.provenance.get("config")
        settings = (self.valid, self.test, self.seed, host.start, *host.choice, *host.hook_points, config)
        hasher = hashlib.sha256(f"{rows.sites.described()} {settings}".encode())
        hasher.update(rows.store.digest())
        hasher.update(_weights(host.network))
        return hasher.hexdigest()[:16]


def _parts(group: NDArray[np.int64], seed: int, valid: float, test: float) -> NDArray[np.int64]:
    """0, 1 or 2 for each span: train, valid or test."""
    groups, inverse = np.unique(group, return_inverse=True)
    return np.array([part_of(number, seed, valid, test) for number in groups.tolist()], np.int64)[inverse]


def _span(x: Tensor) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def _weights(network: nn.Module) -> bytes:
    """A hash of all parameters and buffers."""
    hasher = hashlib.sha256()
    for name, value in network.state_dict().items():
        hasher.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        hasher.update(value.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return hasher.digest()
