"""Networks that become sparse coders because their input is noisy: explaining away, and adversarial changes in place of noise.

Bricken, Schaeffer, Olshausen & Kreiman, "Emergence of sparse representations from noise", ICML 2023; `noise` documents the
deviations from the paper.
"""

from __future__ import annotations

from msgspec.structs import replace

from sparsecode import Run
from sparsecode.data import MNIST, CIFAR10Latents
from sparsecode.evaluate import STANDARD, UnderAttack
from sparsecode.losses import Classify
from sparsecode.models import Inference, Iterative
from sparsecode.nn import PGD, Free, GaussianNoise, LinearDictionary, LinearEncoder
from sparsecode.penalties import L1
from sparsecode.recipes.noise import adam_for, classifying, network, trained
from sparsecode.solvers import AdamDescent

__all__ = ["noise_latents_explain_away", "noise_mnist_adversarial", "noise_mnist_explain_away"]


def explaining_away(n_code: int, sigma: float) -> Iterative:
    """Pre-activations of a noisy sample, improved by 5 steps of Adam until they explain the clean one."""
    return Iterative(
        n_code=n_code,
        weight=0.0,
        link="relu",
        corruption=GaussianNoise(sigma=sigma),
        encoder=LinearEncoder(),
        decoder=LinearDictionary(constraint=Free()),
        penalty=L1(),
        inference=Inference(solver=AdamDescent(lr=0.01), max_steps=5, tol=1e-6),
    )


def noise_mnist_explain_away() -> Run:
    """Pre-activations of a noisy digit, improved by 5 steps of Adam until they explain the clean one; encoder and decoder follow.

    The explain-away network in the first code of Bricken et al., ICML 2023 (5 inner steps, rate 0.01). Its inner loop also
    left gradients in the decoder, which this one does not; the decoder has no bias.
    """
    model = explaining_away(1000, sigma=0.3)
    return trained(MNIST(), model, adam_for(784), epochs=20, batch=250, sigmas=(0.1, 0.3, 0.8))


def noise_latents_explain_away() -> Run:
    """`noise-mnist-explain-away` with 10 000 units on the latents of CIFAR-10, noise 0.1, for a GPU.

    "ExplainAwayTest" in the first code of Bricken et al., ICML 2023.
    """
    model = explaining_away(10_000, sigma=0.1)
    return trained(CIFAR10Latents(), model, adam_for(256, lr=1e-4), epochs=1000, batch=1024)


def noise_mnist_adversarial() -> Run:
    """1000 rectified units that classify digits changed adversarially by at most 0.1 per pixel, in 3 steps; no noise.

    Adversarial training as in the first code of Bricken et al., ICML 2023, there of 8/255; measured by 10 steps of the same size.
    """
    model = replace(network(1000, 0.0, task=Classify(n_classes=10)), corruption=PGD(eps=0.1, clip=True))
    run = trained(MNIST(), model, classifying(), epochs=20, batch=250)
    attack = UnderAttack(PGD(eps=0.1, steps=10, clip=True))
    return replace(run, evaluate=replace(run.evaluate, measures=(*STANDARD, attack)))
