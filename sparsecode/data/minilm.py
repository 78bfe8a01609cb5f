"""Activations of a small transformer on English text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta

from sparsecode.data.arrays import Arrays, Share, read_array, read_tokens
from sparsecode.data.downloads import VARIABLE
from sparsecode.data.published import MINILM
from sparsecode.data.splits import Splits, permuted_splits, sizes_of_shares
from sparsecode.specs import Seed, Spec

__all__ = ["MiniLM"]

SPAN = 126


class MiniLM(Spec, tag="minilm"):
    """16 384 activations of 384 features: layer 3 of all-MiniLM-L6-v2 on WikiText-2, split by spans of 126 tokens.

    Tokens of one span share their context, so that a split by tokens would leak. The file (array `acts`) is read from
    `$SPARSECODE_DATA`; there is no public copy of it: `sparsecode extract` makes the like from any model and text.

    With a `window` of w > 1, a sample is the activations of w successive tokens of a span, [w, 384], a site each. With
    `predict` the last of them is the target: a sample is then [w - 1, 384], or [384] for w = 2. `Split.tokens` are the tokens, of a
    window its first one.
    """

    window: Annotated[int, Meta(ge=1, le=SPAN, description="successive tokens in a sample")] = 1
    predict: Annotated[bool, Meta(description="the last token of the window is the target")] = False
    valid: Annotated[Share, Meta(description="share of the spans for validation")] = 0.1
    test: Annotated[Share, Meta(description="share of the spans for test")] = 0.1
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.predict and self.window < 2:
            raise ValueError(f"MiniLM.window is {self.window} and predict is true; expected at least 2 tokens")

    def load(self) -> Splits:
        path = Path(os.environ.get(VARIABLE, ".")) / MINILM
        if not path.is_file():
            raise FileNotFoundError(
                f"{MINILM}: not in {path.parent.absolute()}. Set {VARIABLE} to the folder that holds it, or extract activations "
                'with `sparsecode extract` and train on them: --set data=\'{"type":"shards","path":"FOLDER"}\''
            )
        if self.window == 1:
            return Arrays(str(path), key="acts", valid=self.valid, test=self.test, seed=self.seed, block=SPAN).load()
        x = read_array(path, "acts")
        spans = x[: len(x) // SPAN * SPAN].reshape(-1, SPAN, x.shape[1])
        block = SPAN - self.window + 1
        windows = np.stack([spans[:, i : i + block] for i in range(self.window)], axis=2)
        windows = windows.reshape(-1, self.window, x.shape[1])
        target = windows[:, -1].copy() if self.predict else None
        if target is not None:
            windows = windows[:, 0] if self.window == 2 else windows[:, :-1]
        sizes = sizes_of_shares(len(spans), self.valid, self.test, str(path), "spans")
        tokens = read_tokens(path, len(x))
        if tokens is not None:  # of the first token of each window
            tokens = tokens.take(torch.arange(len(spans) * SPAN).view(-1, SPAN)[:, :block].flatten())
        splits = permuted_splits(windows, None, sizes[:2], self.seed, 0.0, 1.0, block, target, tokens)
        low, high = splits.target_span()
        return splits._replace(low=low, high=high)
