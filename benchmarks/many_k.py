"""Explained variance at several k of a model trained for all of them and of models trained at one; top-k codes as codes above thresholds.

    python benchmarks/many_k.py digits-topk 2 4 8 16 --epochs 100
    python benchmarks/many_k.py acts-topk 4 8 16 32 --epochs 20

Runs go to --out and are not trained twice. Prints a row per model and saves results/many-k-RECIPE.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec
from common import ended, save

import sparsecode as sc
from sparsecode.evaluate.reconstruction.calibration import l0_and_variance
from sparsecode.interop import to_jumprelu
from sparsecode.losses import NestedK
from sparsecode.models import with_k
from sparsecode.nn import TopK


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("k", type=int, nargs="+")
    parser.add_argument("--epochs", type=float, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/many-k"))
    args = parser.parse_args()
    base: Any = sc.RECIPES[args.recipe]()
    base = msgspec.structs.replace(base, train=msgspec.structs.replace(base.train, epochs=args.epochs))
    splits = base.data.load()
    *smaller, largest = sorted(args.k)
    models = {f"{largest}, nested_k {smaller}": (largest, (NestedK(k=tuple(smaller)),))}
    models |= {str(k): (k, ()) for k in (largest, *reversed(smaller))}
    results: dict[str, Any] = {}
    for name, (k, terms) in models.items():
        spec = msgspec.structs.replace(base.model, activation=TopK(k=float(k)), terms=(*terms, *base.model.terms))
        folder = args.out / f"{args.recipe}-{'nested' if terms else k}"
        ended(sc.run(msgspec.structs.replace(base, model=spec), folder, figures=False).state)
        model = sc.RunFolder(folder).best_model()
        results[name] = {str(n): l0_and_variance(with_k(model, n), splits.test)[1] for n in (*smaller, largest)}
        print(f"trained at k = {name}: ", ", ".join(f"{n}: {ev:.4f}" for n, ev in results[name].items()), flush=True)
        if name == str(largest):
            for kind in ("codes", "global"):
                jump, _ = to_jumprelu(model, splits.train, splits.valid, thresholds=kind)
                l0, ev = l0_and_variance(jump, splits.test)
                results[f"{name}, thresholds {kind}"] = {"l0": l0, "explained_variance": ev}
                print(f"  thresholds {kind}: L0 {l0:.3f}, explained variance {ev:.4f} on test samples", flush=True)
    save(f"many-k-{args.recipe}", {"epochs": args.epochs, "explained_variance": results})


if __name__ == "__main__":
    main()
