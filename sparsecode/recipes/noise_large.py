"""Networks that become sparse coders because their input is noisy, as large as in the paper: for a GPU.

Bricken, Schaeffer, Olshausen & Kreiman, "Emergence of sparse representations from noise", ICML 2023: latents of CIFAR-10 or its
pixels, 10 000 units, Adam 1e-4, batches of 1024, 800 epochs and more. `noise` documents the deviations from the paper.
"""

from __future__ import annotations

from msgspec.structs import replace

from sparsecode import Run
from sparsecode.data import CIFAR10, Augmented, CIFAR10Latents
from sparsecode.losses import Classify
from sparsecode.nn import ConvMixer, ResNet50
from sparsecode.recipes.noise import adam_for, classifying, continual, network, trained
from sparsecode.train import Adam, Clip, Optim

__all__ = [
    "noise_cifar",
    "noise_cifar_classify",
    "noise_cifar_convmixer",
    "noise_cifar_resnet50",
    "noise_latents",
    "noise_latents_classify",
    "noise_latents_continual",
    "noise_latents_default",
]

AUGMENTED = Augmented(source=CIFAR10(), flip=0.5, pad=0, scale=0.75)


def noise_latents_continual() -> Run:
    """Pairs of classes of CIFAR-10's latents, learned one after the other by 10 000 units without noise, for a GPU.

    Bricken et al., ICML 2023: 10 (or 50) epochs per pair, from `noise-latents` at each sigma (`init_from`).
    """
    return continual(
        CIFAR10Latents(), network(10_000, 0.0, task=Classify(n_classes=10)), epochs_per_task=10, batch=1024
    )


def noise_latents() -> Run:
    """10 000 rectified units on the latents of CIFAR-10, noise 0.1: the baseline, for a GPU.

    Bricken et al., ICML 2023: batches of 1024, Adam 1e-4, 800 epochs; fractions active 0.77 0.46 0.34 0.13 0.04 at sigma 0 0.05 0.1 0.3 0.8.
    """
    return trained(CIFAR10Latents(), network(10_000, 0.1), adam_for(256, lr=1e-4), epochs=800, batch=1024)


def noise_latents_default() -> Run:
    """The default experiment: 1000 rectified units on the latents of CIFAR-10 under noise of standard deviation 0.8.

    Bricken et al., ICML 2023, `test_runner.py` of their code: 500 epochs, batches of 512, Adam 1e-4, seed 5.
    """
    run = trained(CIFAR10Latents(), network(1000, 0.8), adam_for(256, lr=1e-4), epochs=500, batch=512)
    return replace(run, seed=5)


def noise_latents_classify() -> Run:
    """10 000 rectified units that classify the latents of CIFAR-10, noise 0.1, for a GPU.

    Bricken et al., ICML 2023.
    """
    model = network(10_000, 0.1, task=Classify(n_classes=10))
    return trained(CIFAR10Latents(), model, classifying(1e-4), epochs=800, batch=1024)


def noise_cifar_convmixer() -> Run:
    """A ConvMixer of width 256 that classifies augmented images of CIFAR-10 with noise 0.8; the code is its pooled features. For a GPU.

    Bricken et al., ICML 2023, whose networks of this kind (there AdamW 0.01, decay 0.005) are attacked. Images are mirrored, and
    parts of at least 0.75 of their area are enlarged; not here: RandAugment, colour jitter, random erasing.
    """
    model = network(256, 0.8, encoder=ConvMixer(), task=Classify(n_classes=10))
    adam = Adam(lr=1e-3, weight_decay=0.005, decoupled=True)
    optim = Optim(groups={"encoder": adam, "decoder": adam}, clip=Clip(norm=1.0))
    return trained(AUGMENTED, model, optim, epochs=150, batch=128)


def noise_cifar_resnet50() -> Run:
    """A ResNet-50 that classifies CIFAR-10 with noise 0.8 on its pixels; the code is its 2048 pooled features. For a GPU.

    Bricken et al., ICML 2023 (batches of 256).
    """
    model = network(2048, 0.8, encoder=ResNet50(), task=Classify(n_classes=10))
    adam = Adam(lr=1e-3)
    return trained(
        CIFAR10(), model, Optim(groups={"encoder": adam, "decoder": adam}, clip=Clip(norm=1.0)), epochs=150, batch=256
    )


def noise_cifar() -> Run:
    """10 000 rectified units on CIFAR-10 in colour, noise 0.8: centre-surround and oriented receptive fields, for a GPU.

    Bricken et al., ICML 2023: 3 000 epochs and more.
    """
    return trained(CIFAR10(), network(10_000, 0.8), adam_for(3072, lr=1e-4), epochs=3000, batch=1024, sigmas=(0.3, 0.8))


def noise_cifar_classify() -> Run:
    """10 000 rectified units that classify CIFAR-10 in colour, noise 0.8, for a GPU.

    Bricken et al., ICML 2023.
    """
    model = network(10_000, 0.8, task=Classify(n_classes=10))
    return trained(CIFAR10(), model, classifying(1e-4), epochs=3000, batch=1024)
