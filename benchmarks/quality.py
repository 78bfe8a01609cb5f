"""Explained variance and loss recovered at equal L0: ours beside SAELens, trained on the same activations for as many steps.

The host is a transformer of four layers (width 128, 4096 byte-level tokens), trained here on the text, once, and kept in
FOLDER. Both libraries see the outputs of its second layer, without position 0, scaled to a mean norm of sqrt(128), of nine
tenths of the text; the rest is for testing. 1024 codes, batches of 1024 rows, Adam with the same learning rate, falling to
0 over the last fifth. TopK has k = 16. Under L1 and JumpReLU ours trains with a target L0 of 16; SAELens with
coefficients on either side, and its figures are interpolated, linearly in log L0, at the L0 that ours has on the test rows. Everything
else is each library's default. Loss recovered: (zero - spliced) / (zero - clean), cross-entropy over the test spans.

    python benchmarks/quality.py FOLDER TEXT
"""

# SAELens is in another environment than pyright
# pyright: reportMissingImports=false, reportArgumentType=false

from __future__ import annotations

import argparse
import gzip
import logging
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ended, save, show
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from sparsecode import Evaluate
from sparsecode.data import Split, Splits
from sparsecode.data.hooks import extract
from sparsecode.evaluate.reconstruction.loss_recovered import loss_recovered
from sparsecode.fitting import fit
from sparsecode.losses import AuxK, Sparsity, TargetL0
from sparsecode.models import Amortised
from sparsecode.nn import JumpReLU, ReLU, TopK
from sparsecode.nn.affine import BiasedDictionary
from sparsecode.penalties import L0, L1
from sparsecode.schedules import Linear
from sparsecode.train import Adam, Clip, Optim, Train

WIDTH, LAYERS, VOCABULARY, LENGTH = 128, 4, 4096, 64
HOOK = "transformer.h.1"
CODES, BATCH, STEPS, L0_TARGET, LR = 1024, 1024, 1500, 16, 1e-3
SEEDS = (0, 1, 2)
START, FACTOR, TRIALS = {"l1": 10.0, "jumprelu": 2.0}, 1.5, 8  # SAELens's coefficients
Coder = Callable[[Tensor], tuple[Tensor, Tensor]]  # rows to codes and reconstructions


def host(folder: Path, text: str) -> tuple[nn.Module, Tensor]:
    """The transformer and the text's spans of tokens [n, LENGTH]."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "vocab.json").exists():
        tokeniser = ByteLevelBPETokenizer()
        tokeniser.train_from_iterator(text.splitlines(), vocab_size=VOCABULARY, show_progress=False)
        tokeniser.save_model(str(folder))
    tokeniser = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    ids = torch.tensor(tokeniser.encode(text).ids)
    spans = ids[: len(ids) // LENGTH * LENGTH].reshape(-1, LENGTH)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=WIDTH, n_layer=LAYERS, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    file = folder / "weights.pt"
    if file.exists():
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval(), spans
    optim = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    steps, train = 1200, spans[: len(spans) * 9 // 10]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, 3e-3, total_steps=steps)
    for step in range(steps):
        batch = train[torch.randint(len(train), (32,))]
        loss = model(batch, labels=batch).loss
        optim.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        schedule.step()
        if step % 100 == 0:
            print(f"host: step {step}, loss {loss.item():.3f}", flush=True)
    torch.save(model.state_dict(), file)
    return model.eval(), spans


def rows_of(model: nn.Module, spans: Tensor) -> Tensor:
    """The activations [n, WIDTH] at the hook point, without position 0."""
    return torch.cat([x[:, 1:].flatten(0, 1) for x in extract(model, HOOK, spans.split(64))])


def ours(kind: str, seed: int, train: Tensor, test: Tensor) -> Coder:
    """Trained by `fit`."""
    activation, *terms = {
        "topk": (TopK(k=L0_TARGET),),
        "l1": (ReLU(), Sparsity(L1(positive=True), target_l0=TargetL0(l0=L0_TARGET))),
        "jumprelu": (
            JumpReLU(threshold=0.5, bandwidth=0.5),
            Sparsity(L0(), weight=0.5, target_l0=TargetL0(l0=L0_TARGET)),
        ),
    }[kind]
    spec = Amortised(
        n_code=CODES,
        activation=activation,
        terms=(*terms, AuxK(dead_after=100_000)),
        decoder=BiasedDictionary(bias="zero"),
    )
    rate = Linear(start=LR, stop=0.0, length=0.2, delay=0.8, unit="fraction")
    thresholds = {"activation": Adam(lr=Linear(start=1e-2, stop=0.0, length=0.2, delay=0.8, unit="fraction"))}
    groups = {**(thresholds if kind == "jumprelu" else {}), "*": Adam(lr=rate)}
    fitted = fit(
        spec,
        Splits(Split(train), Split(test), Split(test), train.min().item(), train.max().item()),
        optim=Optim(groups=groups, clip=Clip(norm=1.0)),
        train=Train(epochs=STEPS / (len(train) // BATCH), batch_size=BATCH, select="last", evaluate_every=1e9),
        evaluate=Evaluate(sigmas=()),
        seed=seed,
        progress=False,
        device="cpu",
    )
    ended(fitted.state)
    model = fitted.model
    return lambda x: _pair(model, x)


def saelens(kind: str, seed: int, train: Tensor, coefficient: float) -> Coder:
    """Trained by `SAETrainer.fit`."""
    from sae_lens import (
        JumpReLUTrainingSAE,
        JumpReLUTrainingSAEConfig,
        StandardTrainingSAE,
        StandardTrainingSAEConfig,
        TopKTrainingSAE,
        TopKTrainingSAEConfig,
    )
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(seed)
    if kind == "topk":
        sae: Any = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=WIDTH, d_sae=CODES, k=L0_TARGET))
    elif kind == "l1":
        sae = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=WIDTH, d_sae=CODES, l1_coefficient=coefficient))
    else:
        sae = JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(d_in=WIDTH, d_sae=CODES, l0_coefficient=coefficient))

    def batches() -> Any:
        rng = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(train), generator=rng)
            yield from (train[part] for part in order.split(BATCH) if len(part) == BATCH)

    config = SAETrainerConfig(
        total_training_samples=STEPS * BATCH,
        train_batch_size_samples=BATCH,
        lr=LR,
        lr_end=0.0,
        lr_decay_steps=STEPS // 5,
    )
    trained = SAETrainer(config, sae, data_provider=batches()).fit().eval()
    return lambda x: _pair(trained, x)


def _pair(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    z = model.encode(x)
    return z, model.decode(z)


@torch.no_grad()
def scored(coder: Coder, model: nn.Module, spans: Tensor, test: Tensor, scale: float) -> dict[str, float]:
    """L0, explained variance, dead codes on the test rows, and loss recovered on the test spans."""
    parts = [coder(x) for x in test.split(BATCH)]
    z, out = (torch.cat(part) for part in zip(*parts, strict=True))
    error = (test - out).square().sum().item()

    def loss(output: Any, batch: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            output.logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten(), reduction="none"
        )

    def keep(batch: Tensor) -> Tensor:
        mask = torch.ones(batch.shape, dtype=torch.bool)
        mask[:, 0] = False
        return mask

    recovered = loss_recovered(model, HOOK, spans.split(64), loss, lambda x: coder(x * scale)[1] / scale, keep=keep)
    return {
        "l0": (z != 0).sum(dim=1).double().mean().item(),
        "explained_variance": 1 - error / (test - test.mean(dim=0)).square().sum().item(),
        "loss_recovered": recovered.recovered,
        "spliced": recovered.replaced,
        "clean": recovered.clean,
        "zero": recovered.zero,
        "dead": int((z == 0).all(dim=0).sum()),
    }


def at_equal_l0(train: Callable[[float], dict[str, float]], start: float, l0: float) -> dict[str, Any]:
    """Figures at this L0: interpolated, linearly in log L0, between two coefficients on either side of it.

    Raises ValueError if no such two are met.
    """
    rows = {start: train(start)}
    while len(rows) < TRIALS:
        lowest, highest = min(rows), max(rows)
        if rows[lowest]["l0"] < l0:
            rows[lowest / FACTOR] = train(lowest / FACTOR)
        elif rows[highest]["l0"] > l0:
            rows[highest * FACTOR] = train(highest * FACTOR)
        else:
            break
    sides = sorted(rows.values(), key=lambda row: abs(np.log(row["l0"] / l0)))
    above, below = (next((r for r in sides if (r["l0"] >= l0) is over), None) for over in (True, False))
    if above is None or below is None:
        raise ValueError(f"SAELens has L0 {[round(row['l0'], 1) for row in sides]}; expected {l0:.1f} between")
    share = float(np.log(l0 / below["l0"]) / np.log(above["l0"] / below["l0"]))
    return {key: (1 - share) * below[key] + share * above[key] for key in above} | {"trained": list(rows)}


def main() -> None:
    """Train, print, save."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("folder", type=Path, help="where the host is kept")
    options.add_argument("text", type=Path, help="a text, gzipped or not")
    chosen = options.parse_args()
    logging.getLogger("lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    raw = chosen.text.read_bytes()
    text = (gzip.decompress(raw) if chosen.text.suffix == ".gz" else raw).decode()
    model, spans = host(chosen.folder, text)
    cut = len(spans) * 9 // 10
    train, test = rows_of(model, spans[:cut]), rows_of(model, spans[cut:])
    scale = WIDTH**0.5 / train.norm(dim=1).mean().item()
    train, test = train * scale, test * scale
    result: dict[str, Any] = {"train_rows": len(train), "test_rows": len(test), "steps": STEPS, "rows": []}
    for kind in ("topk", "l1", "jumprelu"):
        for seed in SEEDS:
            mine = scored(ours(kind, seed, train, test), model, spans[cut:], test, scale)

            def trained(coefficient: float, kind: str = kind, seed: int = seed) -> dict[str, float]:
                return scored(saelens(kind, seed, train, coefficient), model, spans[cut:], test, scale)

            theirs = trained(0.0) if kind == "topk" else at_equal_l0(trained, START[kind], mine["l0"])
            result["rows"].append({"kind": kind, "seed": seed, "ours": mine, "saelens": theirs})
            print(kind, seed, mine, theirs, flush=True)
    lines = []
    for kind in ("topk", "l1", "jumprelu"):
        rows = [row for row in result["rows"] if row["kind"] == kind]
        for name in ("ours", "saelens"):
            cells = [
                f"{statistics.mean(row[name][key] for row in rows):.4g} ± {statistics.stdev(row[name][key] for row in rows):.2g}"
                for key in ("l0", "explained_variance", "loss_recovered", "dead")
            ]
            lines.append([f"{kind}, {name}", *cells])
    show(
        f"{STEPS} steps of {BATCH} rows, {CODES} codes: mean ± standard deviation of {len(SEEDS)} seeds",
        ["", "L0", "explained variance", "loss recovered", "dead"],
        lines,
        "SAELens under L1 and JumpReLU interpolated at the L0 of ours",
    )
    print(f"saved to {save('quality', result, ('sae-lens', 'transformers'))}")


if __name__ == "__main__":
    main()
