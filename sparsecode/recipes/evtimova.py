"""Sparse coding with linear and one-hidden decoders, kept from collapse by unit norms or by a floor under the variance.

SDL, SDL-NL, VDL and VDL-NL of Evtimova & LeCun, TMLR 2022, with the constants of their scripts, quoted as they stand
there and converted here. They minimise, for P pixels, K codes and batches of 250,

    (1/P) sum_i |x_i - decode(z_i)|^2 + lambda |z|_1 + beta sum_j max(0, T - s_j)^2 + (gamma / K) |z - encoder(x)|^2

by steps eta. Ours is P/2 times that: weight = lambda P / 2, proximity = gamma P / K, steps 2 eta / P, and, since our
variance term is per sample, its weight is beta P / 250. Their training losses are means over pixels (codes), ours sums:
Adam's eps and weight decay are multiplied by P (K), and its steps are then the same. They take at most 200 steps of
fixed size and stop on small changes (`--model.inference.compat` does that); here codes stop by duality gap or KKT
residual.
"""

from __future__ import annotations

from typing import NamedTuple

from sparsecode import Evaluate, Run
from sparsecode.data import LCN, MNIST, Patches
from sparsecode.losses import BatchVariance
from sparsecode.models import Inference, Iterative
from sparsecode.nn import LISTA, Free, Identity, LinearDictionary, OneHidden, Standardise, UnitNorm
from sparsecode.penalties import L1
from sparsecode.schedules import Exponential
from sparsecode.solvers import EvtimovaFISTA
from sparsecode.train import Adam, Group, Optim, Train

__all__ = [
    "mnist_sdl",
    "mnist_sdl_nl",
    "mnist_vdl",
    "mnist_vdl_nl",
    "patches_sdl",
    "patches_sdl_nl",
    "patches_vdl",
    "patches_vdl_nl",
]

PIXELS, BATCH = 28 * 28, 250


class Script(NamedTuple):
    """A script's constants, by the names they have above; `lr_d`, `lr_e` and biases' `decay_d`, `decay_e` are Adam's."""

    lam: float
    gamma: float
    eta: float
    lr_d: float
    lr_e: float
    beta: float = 0.0
    hidden: int = 0
    decay_d: float = 0.0
    decay_e: float = 0.0
    halved_every: int = 0


def _model(script: Script, n_code: int, normaliser: Identity | Standardise) -> Iterative:
    constraint = Free() if script.beta else UnitNorm()
    return Iterative(
        n_code=n_code,
        weight=script.lam * PIXELS / 2,
        proximity=script.gamma * PIXELS / n_code,
        variance=BatchVariance(weight=script.beta * PIXELS / BATCH, floor=0.5) if script.beta else None,
        normaliser=normaliser,
        encoder=LISTA(n_iter=3),
        decoder=OneHidden(script.hidden, constraint) if script.hidden else LinearDictionary(constraint),
        penalty=L1(positive=True),
        inference=Inference(
            # the KKT residual of a decoder with kinks does not fall much further
            tol=1e-2 if script.hidden else 1e-3,
            max_steps=100 if script.hidden else 200,
            original=EvtimovaFISTA(step_size=script.eta * 2 / PIXELS, tau=1e-3),
        ),
    )


def _optim(script: Script, n_code: int) -> Optim:
    rate = (
        Exponential(script.lr_d, factor=0.5, every=script.halved_every, stairs=True, unit="epoch")
        if script.halved_every
        else script.lr_d
    )
    groups: dict[str, Group] = {}
    if script.decay_e:
        groups["encoder.bias"] = Adam(lr=script.lr_e, eps=1e-8 * n_code, weight_decay=script.decay_e * n_code)
    groups["encoder"] = Adam(lr=script.lr_e, eps=1e-8 * n_code)
    if script.decay_d:
        groups["decoder.bias"] = Adam(lr=rate, eps=1e-8 * PIXELS, weight_decay=script.decay_d * PIXELS)
    groups["decoder"] = Adam(lr=rate, eps=1e-8 * PIXELS)
    return Optim(groups=groups)


def _mnist(script: Script) -> Run:
    n_code = 128
    return Run(
        data=MNIST(),
        model=_model(script, n_code, Standardise(mean=0.1307, std=0.3081)),
        optim=_optim(script, n_code),
        train=Train(epochs=200, batch_size=BATCH, select="encode/objective"),
        evaluate=Evaluate(sigmas=(0.25, 0.5, 1.0, 1.5, 2.0), unit="input"),
        seed=31,
    )


def _patches(script: Script) -> Run:
    n_code = 256
    return Run(
        data=Patches(preprocess=LCN(), n_train=200_000, n_valid=20_000, n_test=20_000, seed=31),
        model=_model(script, n_code, Identity()),
        optim=_optim(script, n_code),
        train=Train(epochs=100, batch_size=BATCH, select="encode/objective"),
        evaluate=Evaluate(sigmas=(1.0,), unit="input"),
        seed=31,
    )


def mnist_sdl() -> Run:
    """Sparse dictionary learning on MNIST: 128 unit-norm atoms, non-negative codes, LISTA encoder.

    Evtimova & LeCun, TMLR 2022, MNIST SDL: lambda 0.005, gamma 1, eta 1, K 128, 200 epochs of 220 batches of 250,
    Adam 1e-3 (decoder) and 3e-4 (encoder), 3 LISTA iterations.
    """
    return _mnist(Script(lam=0.005, gamma=1, eta=1, lr_d=1e-3, lr_e=3e-4))


def mnist_sdl_nl() -> Run:
    """SDL with a one-hidden decoder on MNIST: 1024 hidden units, unit norms in both layers.

    Evtimova & LeCun, TMLR 2022, MNIST SDL-NL: lambda 0.01, gamma 1, eta 1, K 128, 200 epochs, Adam 1e-3 (decoder; L2
    1e-3 on its bias) and 1e-4 (encoder).
    """
    return _mnist(Script(lam=0.01, gamma=1, eta=1, lr_d=1e-3, lr_e=1e-4, hidden=1024, decay_d=1e-3))


def mnist_vdl() -> Run:
    """SDL on MNIST with free atoms and a floor of 0.5 under the standard deviation of every code.

    Evtimova & LeCun, TMLR 2022, MNIST VDL: lambda 0.02, beta 10, T 0.5, gamma 5, eta 0.5, K 128, 200 epochs, Adam 3e-4
    (decoder) and 1e-4 (encoder).
    """
    return _mnist(Script(lam=0.02, gamma=5, eta=0.5, lr_d=3e-4, lr_e=1e-4, beta=10))


def mnist_vdl_nl() -> Run:
    """A free one-hidden decoder on MNIST with a floor of 0.5 under the standard deviation of every code.

    Evtimova & LeCun, TMLR 2022, MNIST VDL-NL: lambda 0.01, beta 10, T 0.5, gamma 100, eta 0.5, K 128, 1024 hidden, 200
    epochs, Adam 3e-4 halved every 30 epochs (decoder; L2 1e-3 on its bias) and 1e-4 (encoder).
    """
    return _mnist(
        Script(
            lam=0.01,
            gamma=100,
            eta=0.5,
            lr_d=3e-4,
            lr_e=1e-4,
            beta=10,
            hidden=1024,
            decay_d=1e-3,
            halved_every=30,
        )
    )


def patches_sdl() -> Run:
    """SDL on locally contrast-normalised 28x28 patches of natural images: 256 unit-norm atoms.

    Evtimova & LeCun, TMLR 2022, ImageNet SDL: lambda 0.005, gamma 1, eta 0.5, K 256, 100 epochs, Adam 1e-3 (decoder) and
    1e-4 (encoder; L2 1e-2 on its bias). Theirs are patches of ImageNet: give its folder as `--data.images`.
    """
    return _patches(Script(lam=0.005, gamma=1, eta=0.5, lr_d=1e-3, lr_e=1e-4, decay_e=1e-2))


def patches_sdl_nl() -> Run:
    """SDL with a one-hidden decoder on contrast-normalised patches: 2048 hidden units, unit norms in both layers.

    Evtimova & LeCun, TMLR 2022, ImageNet SDL-NL: lambda 0.01, gamma 1, eta 0.5, K 256, 100 epochs, Adam 1e-3 (decoder; L2
    1e-2 on its bias) and 1e-4 (encoder; L2 1e-2 on its bias).
    """
    return _patches(Script(lam=0.01, gamma=1, eta=0.5, lr_d=1e-3, lr_e=1e-4, hidden=2048, decay_d=1e-2, decay_e=1e-2))


def patches_vdl() -> Run:
    """Free atoms on contrast-normalised patches with a floor of 0.5 under the standard deviation of every code.

    Evtimova & LeCun, TMLR 2022, ImageNet VDL: lambda 0.01, beta 10, T 0.5, gamma 5, eta 0.5, K 256, 100 epochs, Adam 3e-4
    (decoder) and 1e-4 (encoder; L2 1e-2 on its bias).
    """
    return _patches(Script(lam=0.01, gamma=5, eta=0.5, lr_d=3e-4, lr_e=1e-4, beta=10, decay_e=1e-2))


def patches_vdl_nl() -> Run:
    """A free one-hidden decoder on contrast-normalised patches with a floor of 0.5 under the standard deviation of every code.

    Evtimova & LeCun, TMLR 2022, ImageNet VDL-NL: lambda 0.01, beta 10, T 0.5, gamma 40, eta 0.5, K 256, 2048 hidden, 100
    epochs, Adam 5e-5 halved every 30 epochs (decoder; L2 1e-1 on its bias) and 1e-4 (encoder; L2 1e-2 on its bias).
    """
    return _patches(
        Script(
            lam=0.01,
            gamma=40,
            eta=0.5,
            lr_d=5e-5,
            lr_e=1e-4,
            beta=10,
            hidden=2048,
            decay_d=1e-1,
            decay_e=1e-2,
            halved_every=30,
        )
    )
