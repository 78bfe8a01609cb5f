"""A training step of a sparse autoencoder by each library, on batches [n, d]: ours as `fit` takes it, those of peers by their own trainers."""

# peers are in another environment than pyright
# pyright: reportMissingImports=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportOptionalMemberAccess=false, reportUnusedExpression=false

from __future__ import annotations

import cProfile
import importlib.machinery
import sys
import types
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from sparsecode.losses import AuxK, Sparsity
from sparsecode.models.amortised import Amortised
from sparsecode.models.sparse_step import Arithmetic
from sparsecode.nn.activations import JumpReLU, ReLU, TopK
from sparsecode.nn.affine import BiasedDictionary
from sparsecode.ops.rng import Stream
from sparsecode.penalties import L0, L1
from sparsecode.records import Batch
from sparsecode.train.optim import Adam, Clip, Optim, build
from sparsecode.train.steps import AutogradSteps

BATCH, K, LR = 4096, 32, 1e-4
PARTS = {  # functions, none of which calls another of these
    "products that find active codes": ("quantise_panels", "quantise_pairs", "quantise", "pair_products", "_int_mm", "mm", "addmm"),
    "selection": ("top_quantised", "above_quantised", "top_rows", "above_rows", "packed"),
    "sums and products of active codes": ("row_sums", "row_dots", "column_order", "column_sums"),
    "Adam and clipping": ("_fused_adam_", "_foreach_norm", "_foreach_mul_"),
}  # fmt: skip

Step = Callable[[Tensor], object]


def spec(kind: str, m: int, arithmetic: Arithmetic) -> Amortised:
    """Our model."""
    activation, *terms = {
        "topk": (TopK(k=K),),
        "l1": (ReLU(), Sparsity(L1(positive=True), weight=0.1)),
        "jumprelu": (JumpReLU(), Sparsity(L0(), weight=0.1)),
    }[kind]
    return Amortised(
        n_code=m,
        activation=activation,
        terms=(*terms, AuxK(dead_after=10_000_000)),
        decoder=BiasedDictionary(bias="zero"),
        arithmetic=arithmetic,
    )


def ours(kind: str, d: int, m: int, level: float, arithmetic: Arithmetic) -> Step:
    """A step as `fit` takes it."""
    model = spec(kind, m, arithmetic).build((d,), seed=0).train()
    with torch.no_grad():
        if kind == "l1":
            model.encoder.bias.sub_(level)
        elif kind == "jumprelu" and level:
            model.activation.log_threshold.fill_(np.log(level))
    optim = Optim(groups={"*": Adam(lr=LR)}, clip=Clip(norm=1.0))
    plain = AutogradSteps(model, build(optim, model), optim.clip)
    count = 0

    def step(x: Tensor) -> float:
        nonlocal count
        loss = plain.loss(Batch(x), count, Stream(0, count))
        if not bool(torch.isfinite(loss.total)):
            raise ValueError("the loss is not finite")
        plain.update(loss, count)
        count += 1
        return float(loss.stats["l0"])

    return step


def saelens(kind: str, d: int, m: int, level: float) -> Step:
    """`SAETrainer.step`."""
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

    if kind == "topk":
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d, d_sae=m, k=K))
    elif kind == "l1":
        sae = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=d, d_sae=m, l1_coefficient=0.1, decoder_init_norm=1.0))
    else:
        sae = JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(d_in=d, d_sae=m, l0_coefficient=0.1, decoder_init_norm=1.0))
    with torch.no_grad():
        if kind == "l1":
            sae.b_enc.sub_(level)
        elif kind == "jumprelu" and level:
            sae.threshold.fill_(level)
    config = SAETrainerConfig(total_training_samples=1000 * BATCH, train_batch_size_samples=BATCH, lr=LR, lr_end=LR)
    trainer = SAETrainer(config, sae, data_provider=iter(()))

    def step(x: Tensor) -> float:
        output = trainer._train_step(sae=sae, sae_in=x)
        trainer.n_training_steps += 1
        trainer.n_training_samples += len(x)
        return float((output.feature_acts != 0).sum()) / len(x) if kind != "topk" else K

    return step


def dictionary_learning(kind: str, d: int, m: int, level: float) -> Step:
    """`Trainer.update`."""
    stand_in = types.ModuleType("nnsight")
    stand_in.__spec__, stand_in.LanguageModel = importlib.machinery.ModuleSpec("nnsight", None), object
    sys.modules.setdefault("nnsight", stand_in)
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.standard import StandardTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    common = {"steps": 100_000, "activation_dim": d, "dict_size": m, "layer": 0, "lm_name": "none", "device": "cpu"}
    if kind == "topk":
        trainer = TopKTrainer(k=K, **common)
    elif kind == "l1":
        trainer = StandardTrainer(resample_steps=10_000, **common)
    else:
        trainer = JumpReluTrainer(**common)
    with torch.no_grad():
        if kind == "l1":
            trainer.ae.encoder.bias.sub_(level)
        elif kind == "jumprelu" and level:
            trainer.ae.threshold.fill_(level)
    count = 1  # at 0 it would start its bias, or resample

    def step(x: Tensor) -> None:
        nonlocal count
        trainer.update(count, x)
        count += 1

    return step


def sparsify(d: int, m: int, optimiser: str) -> Step:
    """The body of `Trainer.fit` for one autoencoder."""
    from sparsify.config import SparseCoderConfig
    from sparsify.sign_sgd import SignSGD
    from sparsify.sparse_coder import SparseCoder

    coder = SparseCoder(d, SparseCoderConfig(num_latents=m, k=K))
    kinds = {"adam": torch.optim.Adam, "signum": SignSGD}
    optimizer = kinds[optimiser](coder.parameters(), lr=LR)
    if optimiser == "signum":
        from schedulefree import ScheduleFreeWrapper

        optimizer = ScheduleFreeWrapper(optimizer, momentum=0.95)
        optimizer.train()
    silent = torch.zeros(m, dtype=torch.long)
    fired = torch.zeros(m, dtype=torch.bool)

    def step(x: Tensor) -> None:
        coder.set_decoder_norm_to_unit_norm()
        variance = (x - x.mean(0)).pow(2).sum()
        out = coder(x=x, y=x, dead_mask=silent > 10_000_000, total_variance=variance)
        fired[out.latent_indices.flatten()] = True
        float(out.fvu.detach()), float(out.auxk_loss.detach())
        (out.fvu + 1 / 32 * out.auxk_loss).backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        silent.add_(len(x))
        silent[fired] = 0
        fired.zero_()

    return step


def contenders(kind: str, d: int, m: int, level: float) -> dict[str, Callable[[], Step]]:
    """How to build each."""
    actual: dict[str, Callable[[], Step]] = {
        "ours": lambda: ours(kind, d, m, level, "bf16"),
        "ours, exact": lambda: ours(kind, d, m, level, "exact"),
        "ours, dense": lambda: ours(kind, d, m, level, "dense"),
        "saelens": lambda: saelens(kind, d, m, level),
        "dictionary_learning": lambda: dictionary_learning(kind, d, m, level),
    }
    if kind == "topk":
        actual |= {f"sparsify, {o}": lambda o=o: sparsify(d, m, o) for o in ("adam", "signum")}
    return actual


def shares(step: Step, batches: Iterable[Tensor]) -> dict[str, float]:
    """Which share of our steps with sparse codes each of PARTS takes, by Python's profiler, which makes steps somewhat longer."""
    profile = cProfile.Profile()
    for x in batches:
        profile.runcall(step, x)
    seconds, whole = dict[str, float](), 0.0
    for entry in profile.getstats():
        code = entry.code
        name = code.rstrip(">").split(".")[-1] if isinstance(code, str) else code.co_name
        seconds[name] = seconds.get(name, 0) + entry.totaltime
        whole = entry.totaltime if code is step.__code__ else whole
    return {part: round(sum(seconds.get(name, 0) for name in names) / whole, 3) for part, names in PARTS.items()}
