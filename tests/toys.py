"""Every recipe at toy size, on real images, without a network."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from sparsecode.data import (
    CIFAR10,
    MNIST,
    Arrays,
    CelebA,
    CIFAR10Latents,
    ClassTasks,
    Digits,
    FashionMNIST,
    MiniLM,
    Olivetti,
    Patches,
    Photos,
    Shapes,
)
from sparsecode.losses import AuxK, Matryoshka, Term
from sparsecode.losses.task import Classify, Predict
from sparsecode.models.amortised import Amortised
from sparsecode.models.iterative import Iterative
from sparsecode.models.variational import Variational
from sparsecode.named_sweeps import Experiment
from sparsecode.nn.activations import BatchTopK, TopK
from sparsecode.nn.affine import BiasedDictionary
from sparsecode.nn.convnet import ConvNet
from sparsecode.nn.decoders import OneHidden
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import SpikeSlab
from sparsecode.nn.priors import PseudoInputs
from sparsecode.nn.trunks import ConvMixer, ResNet50
from sparsecode.recipes import RECIPES
from sparsecode.runs import Run
from sparsecode.sweeps import Axis, Job, Start, jobs_of

replace = msgspec.structs.replace

# Recipes whose rounding grows too fast for two processes to agree in float32: pseudo-inputs behind steep gates.
IN_FLOAT64 = ("mnist-vsc-2",)

# Options of `sparsecode train digits-sdl` for a run of about a second.
SHORT = [
    "--train.epochs",
    "1",
    "--train.log-every",
    "2",
    "--evaluate.sigmas",
    "0.5",
    "--accelerator",
    "cpu",
    "--no-figures",
]


def _kind(model: Iterative | Amortised | Variational) -> tuple[object, ...]:
    if isinstance(model, Iterative):
        return type(model.decoder), model.variance is None, type(model.encoder)
    if isinstance(model, Variational):
        spike = model.posterior.spike if isinstance(model.posterior, SpikeSlab) else None
        return spike, type(model.prior), type(model.net)
    nested = any(isinstance(term, Matryoshka) for term in model.terms)
    parts = type(model.activation), not nested, type(model.encoder)
    skip = isinstance(model.task, Predict) and model.task.skip
    sites = isinstance(model.decoder, BiasedDictionary) and model.decoder.sites
    return (*parts, type(model.decoder), type(model.task), skip, sites)


# One recipe for each combination of parts: what takes long need not be done for others that differ in numbers alone.
# Kinds whose parts have tests of their own and meet here in the slow tests alone; the first is large, whatever its size in codes.
SELDOM = (
    "noise-cifar-resnet50", "noise-cifar-convmixer", "noise-digits-attention", "noise-mnist-deep", "noise-mnist-inhibition",
    "mnist-conv-vsc", "celeba-conv-vsc", "mnist-vsc-2", "mnist-vsc-50", "mnist-vdl-nl", "acts-skip-transcoder",
)  # fmt: skip
KINDS = [
    name
    for name in {_kind(recipe().model): name for name, recipe in reversed(RECIPES.items())}.values()
    if name not in SELDOM
]
# All recipes, for tests that take long: in the default run those of a kind of their own.
EACH_KIND = [name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES]


def big_digits(folder: Path) -> Path:
    """300 handwritten digits as [1, 28, 28] images: scikit-learn's, each pixel tripled, with a border of 2."""
    path = folder / "digits28.npy"
    if not path.exists():
        x = Digits().load().train.x[:300].numpy()
        np.save(path, np.pad(np.kron(x, np.ones((1, 3, 3), np.float32)), ((0, 0), (2, 2), (2, 2)))[:, None])
    return path


def halves(folder: Path, predict: bool) -> Arrays:
    """Digits as two sites [2, 32], their upper and lower halves, or the lower ones to be predicted from the upper ones."""
    path = folder / "halves.npz"
    if not path.exists():
        x = Digits().load().train.x[:300].reshape(-1, 2, 32).numpy()
        np.savez(path, both=x, upper=x[:, 0], lower=x[:, 1])
    return Arrays(path=str(path), key="upper" if predict else "both", target_key="lower" if predict else None)


def toy(name: str, folder: Path, steps: int = 10, **train: float | str) -> Run:
    """Recipe `name` for a few steps of 20 samples with 24 atoms; every step is logged."""
    run = RECIPES[name]()
    data = run.data
    labelled = isinstance(run.model, Amortised) and isinstance(run.model.task, Classify)
    if isinstance(data, MiniLM) and data.window > 1:
        data = halves(folder, data.predict)
    if isinstance(data, MiniLM | CIFAR10 | CIFAR10Latents) or labelled:
        data = Digits()
    if isinstance(run.data, ClassTasks):
        data = ClassTasks(source=Digits(), epochs_per_task=1)
    if isinstance(data, Shapes):
        data = replace(data, n_train=300, n_valid=50, n_test=50)
    if isinstance(data, MNIST | FashionMNIST | Olivetti | CelebA):
        data = Arrays(path=str(big_digits(folder)))
    if isinstance(data, Photos):
        data = replace(data, size=8, n_train=300, n_valid=50, n_test=50)
    if isinstance(data, Patches):
        data = replace(data, size=8, resize=128, n_train=300, n_valid=50, n_test=50)
    n = data.load().training.n
    model = _small(run.model) if isinstance(run.model, Amortised | Variational) else replace(run.model, n_code=24)
    if isinstance(model, Iterative) and isinstance(model.decoder, OneHidden):
        inference = replace(model.inference, max_steps=20)
        model = replace(model, decoder=replace(model.decoder, n_hidden=40), inference=inference)
    settings = {
        "epochs": steps / (n // 20),
        "batch_size": 20,
        "evaluate_every": 5 / (n // 20),
        "checkpoint_every": 5 / (n // 20),
        "log_every": 1,
    }
    return replace(
        run,
        data=data,
        model=model,
        train=replace(run.train, **(settings | train)),
        evaluate=replace(run.evaluate, sigmas=run.evaluate.sigmas[:1]),
    )


def _small(model: Amortised | Variational) -> Amortised | Variational:
    """24 codes of which 4 are active, some dead within a few steps; nets of few units."""
    if isinstance(model, Variational):
        net = ConvNet(channels=(4, 8), hidden=16) if isinstance(model.net, ConvNet) else Perceptron(hidden=(32,))
        prior = replace(model.prior, n=3) if isinstance(model.prior, PseudoInputs) else model.prior
        return replace(model, n_code=24, net=net, prior=prior)
    if isinstance(model.decoder, BiasedDictionary) and model.decoder.start == "samples":
        return model  # its memory is the data
    if isinstance(model.encoder, ResNet50):
        return model
    if isinstance(model.encoder, ConvMixer):
        model = replace(model, encoder=ConvMixer(blocks=2, kernel=3))
    activation = model.activation
    return replace(
        model,
        n_code=24,
        activation=replace(activation, k=4) if isinstance(activation, TopK | BatchTopK) else activation,
        terms=tuple(_smaller(term) for term in model.terms),
    )


def _smaller(term: Term) -> Term:
    if isinstance(term, Matryoshka):
        return Matryoshka(sizes=(6, 12))
    return replace(term, dead_after=40) if isinstance(term, AuxK) else term


def jobs_in(experiment: Experiment, root: Path) -> list[Job]:
    """The runs of an experiment, and those that they start from."""
    first = experiment.start
    start = first and Start(first.recipe, [Axis.parse(text) for text in first.over], first.fixed)
    axes = [Axis.parse(text) for text in experiment.over]
    return jobs_of(experiment.recipes, axes, experiment.fixed, root, start=start)
