"""Sparse autoencoders: the classic ones on images, the modern ones on activations.

Of the classic ones on MNIST (a repository of 2019, no paper) the constants are quoted as they stand there: pixels scaled
to [-1, 1], 784 - K - 784 units with sigmoid and tanh, the mean over 784 pixels of the squared error plus the mean over K
units of the KL divergence from rho = 0.05, batches of 50, Adam 1e-4, 50 epochs of 50 000 images. Ours is 784 times that,
sums over pixels and units: weight 784 / K, Adam's eps times 784, the same steps. Its corruptions are kept, too: noise of
standard deviation 1 on [-1, 1], and a left half painted with 0, which is grey, not background (so the model sees where
the hole is; `--model.corruption.fill low` hides that).
"""

from __future__ import annotations

from sparsecode import Evaluate, Run
from sparsecode.data import LCN, MNIST, Digits, MiniLM, Patches
from sparsecode.evaluate import DURING_TRAINING, STANDARD, Codes
from sparsecode.losses import KL, AuxK, Matryoshka, Sparsity, TargetL0, Term
from sparsecode.models import Amortised
from sparsecode.nn import (
    LISTA,
    Activation,
    Affine,
    BatchTopK,
    BiasedDictionary,
    Centre,
    Corruption,
    Free,
    Gated,
    GaussianNoise,
    Half,
    JumpReLU,
    ReLU,
    Satlin,
    Sigmoid,
    Standardise,
    TopK,
)
from sparsecode.penalties import L0, L1
from sparsecode.schedules import Linear
from sparsecode.train import Adam, Clip, Group, Optim, Train

__all__ = [
    "acts_batchtopk",
    "acts_gated",
    "acts_jumprelu",
    "acts_l1",
    "acts_matryoshka",
    "acts_topk",
    "digits_dae",
    "digits_lista",
    "digits_satlin",
    "digits_topk",
    "mnist_kl_16",
    "mnist_kl_64",
    "mnist_kl_256",
    "mnist_kl_half",
    "mnist_kl_noise",
    "patches_topk",
]

PIXELS = 28 * 28
DENSE = BiasedDictionary(constraint=Free(), bias="zero", start="uniform")  # an ordinary linear layer
PLAIN = Affine(centred=False, start="uniform")
FOLLOWED = (*DURING_TRAINING, Codes())  # mean activations and their divergence, too
MEASURED = (*STANDARD, Codes())


def _groups(encoder: Adam, activation: Adam | None = None) -> dict[str, Group]:
    """Optimisers by part, the same for encoder and decoder; `activation` where it has weights."""
    groups: dict[str, Group] = {"encoder": encoder, "decoder": encoder}
    return groups if activation is None else {**groups, "activation": activation}


def _mnist_kl(n_code: int, corruption: Corruption | None = None) -> Run:
    return Run(
        data=MNIST(n_train=50_000),
        model=Amortised(
            n_code=n_code,
            activation=Sigmoid(),
            terms=(KL(rho=0.05, weight=PIXELS / n_code),),
            corruption=corruption,
            normaliser=Standardise(mean=0.5, std=0.5),
            encoder=PLAIN,
            decoder=BiasedDictionary(constraint=Free(), output="tanh", bias="zero", start="uniform"),
        ),
        optim=Optim(groups=_groups(Adam(lr=1e-4, eps=1e-8 * PIXELS))),
        train=Train(epochs=50, batch_size=50, select="last", evaluate_every=5, log_every=100),
        evaluate=Evaluate(sigmas=(0.5, 1.0), unit="input", theta=0.5, measures=MEASURED, validation=FOLLOWED),
        seed=0,
    )


def mnist_kl_16() -> Run:
    """A sigmoid autoencoder on MNIST with 16 units whose means are held at 0.05 by the KL divergence.

    To reach: mean squared error 0.1273 on [-1, 1] after 50 epochs, 0.0318 on [0, 1].
    """
    return _mnist_kl(16)


def mnist_kl_64() -> Run:
    """A sigmoid autoencoder on MNIST with 64 units whose means are held at 0.05 by the KL divergence.

    To reach: mean squared error 0.0544 on [-1, 1] after 50 epochs, 0.0136 on [0, 1].
    """
    return _mnist_kl(64)


def mnist_kl_256() -> Run:
    """A sigmoid autoencoder on MNIST with 256 units whose means are held at 0.05 by the KL divergence.

    To reach: mean squared error 0.0190 on [-1, 1] after 50 epochs, 0.00475 on [0, 1].
    """
    return _mnist_kl(256)


def mnist_kl_noise() -> Run:
    """`mnist-kl-256` trained to remove Gaussian noise of standard deviation 1 on [-1, 1].

    To reach: mean squared error 0.0528 on [-1, 1] after 50 epochs, 0.0132 on [0, 1].
    """
    return _mnist_kl(256, GaussianNoise(sigma=1.0))


def mnist_kl_half() -> Run:
    """`mnist-kl-256` trained to complete digits of which the left half is painted grey.

    To reach: mean squared error 0.0621 on [-1, 1] after 50 epochs, 0.0155 on [0, 1].
    """
    return _mnist_kl(256, Half(side="left", fill=0.0))


def _digits(model: Amortised, epochs: float = 200, theta: float = 0.0) -> Run:
    has_kl = any(isinstance(term, KL) for term in model.terms)
    return Run(
        data=Digits(),
        model=model,
        optim=Optim(groups=_groups(Adam(lr=1e-3))),
        train=Train(epochs=epochs, batch_size=64, select="last", evaluate_every=20),
        evaluate=Evaluate(
            sigmas=(0.1, 0.25, 0.5),
            unit="range",
            theta=theta,
            measures=MEASURED if has_kl else STANDARD,
            validation=FOLLOWED if has_kl else DURING_TRAINING,
        ),
        seed=0,
    )


def digits_satlin() -> Run:
    """100 units clamped to [0, 1] on scikit-learn's digits, their means held at 0.05: `1/2 |e|^2 + 0.1 sum_j KL_j`, doubled.

    Satlin and a linear output, after the MATLAB names; seconds on a laptop, no download.
    """
    return _digits(Amortised(n_code=100, activation=Satlin(), terms=(KL(weight=0.2),), encoder=PLAIN, decoder=DENSE))


def digits_dae() -> Run:
    """A denoising autoencoder on scikit-learn's digits: 100 rectified units, noise of a quarter of the data's range.

    Vincent et al., JMLR 2010: overcomplete, and kept from the identity by the noise alone.
    """
    return _digits(
        Amortised(
            n_code=100,
            activation=ReLU(),
            corruption=GaussianNoise(sigma=0.25, unit="range"),
            encoder=PLAIN,
            decoder=DENSE,
        )
    )


def digits_topk() -> Run:
    """A TopK autoencoder on scikit-learn's digits: 8 of 128 codes, atoms of norm 1.

    Gao et al., "Scaling and evaluating sparse autoencoders", 2024, in small.
    """
    return _digits(Amortised(n_code=128, activation=TopK(k=8), terms=(AuxK(dead_after=5000),)), epochs=100)


def digits_lista() -> Run:
    """A LISTA encoder trained end to end on scikit-learn's digits, with the weight of L1 adjusted to 8 active codes per sample.

    Gregor & LeCun, ICML 2010, without the solver: the encoder learns from the reconstruction itself.
    """
    return _digits(
        Amortised(
            n_code=128,
            activation=ReLU(),
            terms=(Sparsity(L1(positive=True), weight=0.1, target_l0=TargetL0(l0=8)),),
            encoder=LISTA(n_iter=3),
            decoder=BiasedDictionary(bias="zero"),
        ),
        epochs=100,
    )


def patches_topk() -> Run:
    """A TopK autoencoder on contrast-normalised patches of photographs: 32 of 512 codes.

    Gao et al., 2024; the patches are those of `patches-sdl`, smaller.
    """
    return Run(
        data=Patches(preprocess=LCN(), size=16, n_train=50_000, n_valid=5_000, n_test=5_000, seed=31),
        model=Amortised(n_code=512, activation=TopK(k=32), terms=(AuxK(dead_after=100_000),)),
        optim=Optim(groups=_groups(Adam(lr=1e-3)), clip=Clip(norm=1.0)),
        train=Train(epochs=20, batch_size=500, select="last"),
        evaluate=Evaluate(sigmas=(0.5, 1.0), unit="input"),
        seed=31,
    )


ACTS_L0 = 32


def _acts(activation: Activation, *terms: Term, learned: float | None = None, encoder: Affine | None = None) -> Run:
    """With AuxK beside the `terms`; `learned`: the learning rate of the activation's own weights."""
    n_code = 1536
    model = Amortised(
        n_code=n_code,
        activation=activation,
        terms=(*terms, AuxK(dead_after=50_000)),
        normaliser=Centre(),
        encoder=encoder or Affine(),
        decoder=BiasedDictionary(bias="zero"),
    )

    def adam(rate: float) -> Adam:
        return Adam(lr=Linear(start=rate, stop=0.0, length=0.3, delay=0.7, unit="fraction"), beta2=0.99)

    return Run(
        data=MiniLM(),
        model=model,
        optim=Optim(groups=_groups(adam(1e-3), None if learned is None else adam(learned)), clip=Clip(norm=1.0)),
        train=Train(epochs=20, batch_size=256, select="last", evaluate_every=4, checkpoint_every=4),
        evaluate=Evaluate(sigmas=()),
        seed=0,
    )


def acts_topk() -> Run:
    """TopK on activations of a transformer: 32 of 1536 codes.

    Gao et al., "Scaling and evaluating sparse autoencoders", 2024.
    """
    return _acts(TopK(k=ACTS_L0))


def acts_batchtopk() -> Run:
    """BatchTopK on activations of a transformer: 32 of 1536 codes on average, by one threshold.

    Bussmann, Leask & Nanda, "BatchTopK sparse autoencoders", 2024.
    """
    return _acts(BatchTopK(k=ACTS_L0))


def acts_jumprelu() -> Run:
    """JumpReLU on activations of a transformer, with the weight of the L0 penalty adjusted to 32 of 1536 codes.

    Rajamanoharan et al., "Jumping Ahead", 2024.
    """
    return _acts(
        JumpReLU(threshold=0.5, bandwidth=0.5),
        Sparsity(L0(), weight=0.5, target_l0=TargetL0(l0=ACTS_L0)),
        learned=1e-2,  # thresholds are learned as logarithms, which have far to go
    )


def acts_gated() -> Run:
    """A gated autoencoder on activations of a transformer, the weight of L1 on its gates adjusted to 32 of 1536 codes.

    Rajamanoharan et al., "Improving dictionary learning with gated sparse autoencoders", 2024.
    """
    return _acts(
        Gated(),
        Sparsity(L1(positive=True), target_l0=TargetL0(l0=ACTS_L0)),
        learned=1e-3,
        encoder=Affine(bias=False),
    )


def acts_l1() -> Run:
    """ReLU and L1 on activations of a transformer, the weight adjusted to 32 of 1536 codes.

    Bricken et al., "Towards monosemanticity", 2023; the norm-weighted penalty of Conerly et al., April 2024, comes to
    the same here, where atoms have norm 1.
    """
    return _acts(ReLU(), Sparsity(L1(positive=True), target_l0=TargetL0(l0=ACTS_L0)))


def acts_matryoshka() -> Run:
    """BatchTopK on activations of a transformer, with reconstructions from nested prefixes of the codes.

    Bussmann et al., "Learning multi-level features with Matryoshka sparse autoencoders", ICML 2025.
    """
    return _acts(BatchTopK(k=ACTS_L0), Matryoshka(sizes=(96, 192, 384, 768)))
