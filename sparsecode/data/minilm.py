"""Activations of a small transformer on English text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from sparsecode.data.arrays import Arrays, Share
from sparsecode.data.sources import VARIABLE
from sparsecode.data.splits import Splits
from sparsecode.specs import Seed, Spec

__all__ = ["MiniLM"]

FILE, SPAN = "acts_minilm_l3_wikitext2_16k_f16.npz", 126


class MiniLM(Spec, tag="minilm"):
    """16 384 activations of 384 features: layer 3 of all-MiniLM-L6-v2 on WikiText-2, split by spans of 126 tokens.

    Tokens of one span share their context, so that a split by tokens would leak. The file (array `acts`) is read from
    `$SPARSECODE_DATA`; there is no public copy of it: `sparsecode extract` makes the like from any model and text.
    """

    valid: Annotated[Share, Meta(description="share of the spans for validation")] = 0.1
    test: Annotated[Share, Meta(description="share of the spans for test")] = 0.1
    seed: Seed = 0

    def load(self) -> Splits:
        path = Path(os.environ.get(VARIABLE, ".")) / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{FILE}: not in {path.parent.absolute()}. Set {VARIABLE} to the folder that holds it, or make activations "
                'of your own with `sparsecode extract` and train on them: --set data=\'{"type":"shards","path":"FOLDER"}\''
            )
        return Arrays(str(path), key="acts", valid=self.valid, test=self.test, seed=self.seed, block=SPAN).load()
