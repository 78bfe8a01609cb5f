"""Dense training steps of autoencoders by torch.compile (`train.compile`), beside eager ones and those of sparse codes.

Loss and gradients of 1024 rows, 384 features x 3072 codes. Seconds of this process's processor time in turn, medians; compilation apart.
The optimiser's step, the same for all, is left out.

    python benchmarks/compiled.py [REPEATS]
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import msgspec
import torch
from common import interleaved, medians, save, show

from sparsecode.losses import Sparsity
from sparsecode.models import Amortised
from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.compiled_step import CompiledSteps
from sparsecode.models.dense_step import dense_step
from sparsecode.nn import Affine, BatchTopK, Gated, JumpReLU, ReLU, TopK
from sparsecode.ops.rng import Stream
from sparsecode.penalties import L0, L1
from sparsecode.records import Batch

ROWS, FEATURES, CODES = 1024, 384, 3072
L1_TERM = (Sparsity(L1(), weight=0.1),)
SPECS = {
    "relu": Amortised(n_code=CODES, activation=ReLU(), terms=L1_TERM),
    "topk": Amortised(n_code=CODES, activation=TopK(k=32)),
    "batch_topk": Amortised(n_code=CODES, activation=BatchTopK(k=32)),
    "jumprelu": Amortised(n_code=CODES, activation=JumpReLU(threshold=2.5), terms=(Sparsity(L0(), weight=0.05),)),
    "gated": Amortised(n_code=CODES, activation=Gated(), terms=L1_TERM, encoder=Affine(bias=False)),
}


def model_of(spec: Amortised, x: torch.Tensor, arithmetic: str, compiled: bool = False) -> AmortisedModel:
    """A model whose steps are to be timed."""
    model = msgspec.structs.replace(spec, arithmetic=arithmetic).build((FEATURES,), seed=0).train()
    model.initialise_(x)
    model.compiled = CompiledSteps(dense_step) if compiled else None
    return model


def step_of(model: AmortisedModel, x: torch.Tensor) -> Callable[[], float]:
    """Its loss, of which the gradients are computed."""

    def step() -> float:
        model.zero_grad()
        loss = model.loss(Batch(x), 0, Stream(0, 0)).total
        loss.backward()
        return float(loss.detach())

    return step


def main() -> None:
    """Measure, print the table, and save it."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    warnings.filterwarnings("ignore")
    x = torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(0))
    rows: list[dict[str, Any]] = []
    for kind, spec in SPECS.items():
        steps = {
            "eager": step_of(model_of(spec, x, "dense"), x),
            "compiled": step_of(model_of(spec, x, "dense", compiled=True), x),
            "sparse": step_of(model_of(spec, x, "bf16"), x),
        }
        began = time.process_time()
        gap = abs(steps["compiled"]() / steps["eager"]() - 1)
        compilation = time.process_time() - began
        seconds = interleaved(steps, repeats, clock=time.process_time)
        ratio = statistics.median(a / b for a, b in zip(seconds["compiled"], seconds["eager"], strict=True))
        rows.append(
            {"kind": kind, "cpu_seconds": medians(seconds), "ratio": ratio, "compilation": compilation, "gap": gap}
        )
        print(kind, rows[-1], flush=True)
    save("compiled", {"rows": rows, "size": [FEATURES, CODES], "batch": ROWS, "repeats": repeats})
    show(
        f"{ROWS} rows, {FEATURES} features x {CODES} codes",
        ("activation", "eager, ms", "compiled, ms", "of eager", "sparse steps, ms", "compilation, s"),
        [
            (
                row["kind"],
                *(f"{1000 * row['cpu_seconds'][way]:.0f}" for way in ("eager", "compiled")),
                f"{row['ratio']:.2f}",
                f"{1000 * row['cpu_seconds']['sparse']:.0f}",
                f"{row['compilation']:.1f}",
            )
            for row in rows
        ],
    )


if __name__ == "__main__":
    main()
