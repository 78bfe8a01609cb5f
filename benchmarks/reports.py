"""Reports: processor time and size of the page of a run, and of a model of 24 576 codes with 16 examples or more for each.

The wide model (TopK, k = 32) is trained for a few steps on standard normal samples of 384 features, so that all codes fire alike; its page is made with
the default number of codes and with more. `--run` names the run of `make demo`. Processor time of one thread, from the model in memory, or
from the folder of the run, to the file.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save

from sparsecode.cli import main as sparsecode
from sparsecode.fitting import Fitted, fit
from sparsecode.models import Amortised
from sparsecode.nn import TopK
from sparsecode.reports.document import Document

SAMPLES, FEATURES, TRAINED = 20_000, 384, 4000


def wide(n_code: int) -> Fitted:
    """A model of so many codes after a few steps, with its samples."""
    x = np.random.default_rng(0).standard_normal((TRAINED + SAMPLES, FEATURES), dtype=np.float32)
    spec = Amortised(n_code=n_code, activation=TopK(k=32))
    valid = SAMPLES / len(x)
    return fit(spec, x, valid=valid, epochs=1, batch_size=1000, progress=False, figures=False, device="cpu")


def examples_of(document: Document) -> list[int]:
    """The number of examples of each code that is shown and fires."""
    codes = document.runs[0].codes
    assert codes is not None
    counts = [sum(len(band.examples) for band in detail.bands) for detail in codes.details]
    return [count for count in counts if count]


def of_wide(fitted: Fitted, n_codes: int, place: Path) -> dict[str, Any]:
    """Time and size of the page with so many codes."""
    page = place / f"{n_codes}.html"
    start = time.process_time()
    document = fitted.report(page, n_codes=n_codes, n_samples=SAMPLES)
    seconds = time.process_time() - start
    counts = examples_of(document)
    return {
        "codes shown": n_codes,
        "examples of a code, median": float(np.median(counts)) if counts else 0.0,
        "time, s": round(seconds, 1),
        "page, MB": round(page.stat().st_size / 1e6, 2),
    }


def main() -> None:
    """Make the pages; print and save times and sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-code", type=int, default=24_576)
    parser.add_argument("--shown", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--run", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"codes": args.n_code, "samples": SAMPLES}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if args.run is not None:
            start = time.process_time()
            sparsecode(["report", str(args.run), "--out", str(place / "run.html")])
            seconds = time.process_time() - start
            result["run"] = {
                "time, s": round(seconds, 1),
                "page, MB": round((place / "run.html").stat().st_size / 1e6, 2),
            }
        fitted = wide(args.n_code)
        result["pages"] = [of_wide(fitted, shown, place) for shown in args.shown]
    result["peak memory, MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    for name, value in result.items():
        print(f"{name:20} {value}")
    save("reports", result)


if __name__ == "__main__":
    main()
