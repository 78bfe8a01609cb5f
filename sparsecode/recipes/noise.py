"""Networks that become sparse coders because their input is noisy.

Bricken, Schaeffer, Olshausen & Kreiman, "Emergence of sparse representations from noise", ICML 2023: an ordinary network
of one hidden layer, trained to reconstruct the clean input from a noisy one, becomes sparse: the stronger the noise,
the fewer units are active. Their loss is the mean over d features; ours is the sum, d times that, so that Adam's eps and the norm
at which gradients are clipped are d times theirs (1e-8 and 1), and the steps are the same. Biases start at 0 here, on
+-1/sqrt(d) there; either way half of the units fire at the start. sigma is the noise's standard deviation for every distribution.
Theirs are in `noise_large`; these are cut down to minutes on a CPU.
"""

from __future__ import annotations

from msgspec.structs import replace

from sparsecode import Evaluate, Run
from sparsecode.data import MNIST, ClassTasks, Data, Digits, Labelled
from sparsecode.evaluate import DURING_TRAINING, TrainingState, UnitActivity
from sparsecode.losses import Classify, Reconstruct, Sparsity, Task
from sparsecode.models import Amortised, Iterative
from sparsecode.nn import (
    Activation,
    Affine,
    BiasedDictionary,
    ConvMixer,
    Free,
    GaussianNoise,
    Inhibition,
    Perceptron,
    ReLU,
    ResNet50,
    Softmax,
    TopK,
)
from sparsecode.penalties import L1
from sparsecode.schedules import Linear
from sparsecode.train import SGD, Adam, Clip, Group, Optim, SparseAdam, Train

__all__ = [
    "adam_for",
    "classifying",
    "continual",
    "network",
    "noise_digits",
    "noise_digits_attention",
    "noise_digits_classify",
    "noise_digits_sdm",
    "noise_mnist",
    "noise_mnist_anneal",
    "noise_mnist_classify",
    "noise_mnist_continual",
    "noise_mnist_deep",
    "noise_mnist_inhibition",
    "noise_mnist_l1",
    "noise_mnist_sdm",
    "noise_mnist_sgd",
    "trained",
]

PLAIN = Affine(centred=False, start="uniform")
VALUES = BiasedDictionary(constraint=Free(), bias="zero", start="uniform")


def network(
    n_code: int,
    sigma: float | Linear,
    activation: Activation | None = None,
    encoder: Affine | ConvMixer | ResNet50 = PLAIN,
    decoder: BiasedDictionary | Perceptron = VALUES,
    task: Task | None = None,
) -> Amortised:
    """A network of one hidden layer, or with another encoder or decoder, under normal noise on its input."""
    return Amortised(
        n_code=n_code,
        activation=activation or ReLU(),
        corruption=GaussianNoise(sigma=sigma),
        encoder=encoder,
        decoder=decoder,
        task=task or Reconstruct(),
        arithmetic="exact",
    )


def adam_for(d: int, lr: float = 1e-3, activation: Group | None = None) -> Optim:
    """Adam for encoder and decoder (and the activation's weights) of a loss d times the mean's."""
    adam = Adam(lr=lr, eps=1e-8 * d)
    groups: dict[str, Group] = {"encoder": adam, "decoder": adam}
    return Optim(
        groups=groups if activation is None else {**groups, "activation": activation}, clip=Clip(norm=float(d))
    )


def classifying(lr: float = 1e-3) -> Optim:
    """Adam for the mean cross-entropy."""
    return Optim(groups={"encoder": Adam(lr=lr), "decoder": Adam(lr=lr)}, clip=Clip(norm=1.0))


def trained(
    data: Data, model: Amortised | Iterative, optim: Optim, epochs: float, batch: int, sigmas: tuple[float, ...] = ()
) -> Run:
    """A run without early stopping, validated ten times, and denoised at `sigmas`."""
    return Run(
        data=data,
        model=model,
        optim=optim,
        train=Train(
            epochs=epochs,
            batch_size=batch,
            select="last",
            evaluate_every=max(1.0, epochs / 10),
            checkpoint_every=max(1.0, epochs / 10),
            log_every=20,
        ),
        evaluate=Evaluate(
            sigmas=sigmas,
            validation=(
                *DURING_TRAINING,
                UnitActivity(samples=500, costs=False),
                TrainingState(),
            ),  # the quantities that the paper follows
        ),
        seed=0,
    )


def _mnist(model: Amortised, optim: Optim | None = None, sigmas: tuple[float, ...] = (0.1, 0.3, 0.8)) -> Run:
    """4 400 steps: 20 epochs of 55 000 digits in batches of 250."""
    return trained(MNIST(), model, optim or adam_for(784), epochs=20, batch=250, sigmas=sigmas)


def noise_digits() -> Run:
    """500 rectified units on scikit-learn's digits with noise of standard deviation 0.3: seconds, no download.

    Bricken et al., ICML 2023, in small.
    """
    return trained(Digits(), network(500, 0.3), adam_for(64), epochs=100, batch=50, sigmas=(0.1, 0.3, 0.8))


def noise_digits_classify() -> Run:
    """500 rectified units that classify scikit-learn's digits under noise of standard deviation 0.3: seconds, no download.

    Bricken et al., ICML 2023, in small.
    """
    return trained(Digits(), network(500, 0.3, task=Classify(n_classes=10)), classifying(), epochs=100, batch=50)


def noise_digits_sdm() -> Run:
    """A sparse distributed memory on scikit-learn's digits: cosines to unit-norm addresses, the largest of 500, in the end 20.

    Bricken & Pehlevan, NeurIPS 2021; SparseAdam, so that momentum leaves silent units alone.
    """
    model = network(
        500,
        0.3,
        TopK(k=Linear(start=500, stop=20, length=0.5, unit="fraction")),
        Affine(centred=False, start="uniform", bias=False, cosine=True),
    )
    sparse = SparseAdam(lr=1e-3, eps=1e-8 * 64)
    adam = Adam(lr=1e-3, eps=1e-8 * 64)
    optim = Optim(groups={"decoder.bias": adam, "encoder": sparse, "decoder": sparse}, clip=Clip(norm=64.0))
    return trained(Digits(), model, optim, epochs=100, batch=50, sigmas=(0.1, 0.3, 0.8))


def noise_digits_attention() -> Run:
    """Attention over the training digits, of which only the inverse temperature is learned: what memory alone can do.

    The baseline of Bricken et al., ICML 2023. Its memory is the training set at test, too, where theirs held the clean query.
    """
    model = network(
        1437,
        0.3,
        Softmax(beta=2.0),
        Affine(centred=False, tied=True, bias=False, cosine=True),
        BiasedDictionary(constraint=Free(), bias="zero", start="samples", frozen=True),
    )
    optim = Optim(groups={"activation": Adam(lr=1e-2)})
    run = trained(Digits(), model, optim, epochs=20, batch=50, sigmas=(0.1, 0.3, 0.8))
    return replace(run, evaluate=replace(run.evaluate, theta=0.01))  # no share of attention is ever 0


def noise_mnist() -> Run:
    """1000 rectified units on MNIST with noise of standard deviation 0.3.

    Bricken et al., ICML 2023, section 8's small reference: about a fifth of the units active, half of them without noise.
    """
    return _mnist(network(1000, 0.3))


def noise_mnist_anneal() -> Run:
    """`noise-mnist` with noise annealed to 0 over the second half of training: the units stay silent.

    Bricken et al., ICML 2023 ("gentle annealing": 800 epochs constant, 800 to 0).
    """
    return _mnist(network(1000, Linear(start=0.3, stop=0.0, delay=0.5, length=0.5, unit="fraction")))


def noise_mnist_classify() -> Run:
    """1000 rectified units that classify noisy digits of MNIST.

    Bricken et al., ICML 2023: noise makes classifiers sparse, too, though less.
    """
    model = network(1000, 0.3, task=Classify(n_classes=10))
    return _mnist(model, classifying(), ())


def noise_mnist_deep() -> Run:
    """Three hidden layers of 1000, 500 and 1000 units; the code is the first. Noise of standard deviation 0.3.

    Bricken et al., ICML 2023: the effect is not one of shallow networks.
    """
    return _mnist(network(1000, 0.3, decoder=Perceptron(hidden=(500, 1000))))


def noise_mnist_sdm() -> Run:
    """`noise-mnist` with the 50 largest of 1000 cosines to unit-norm addresses in place of a threshold.

    The comparison of Bricken et al., ICML 2023: sparse distributed memory, `LINEAR_DECAY_MASK` from all units to 50.
    """
    activation = TopK(k=Linear(start=1000, stop=50, length=0.5, unit="fraction"))
    return _mnist(network(1000, 0.3, activation, Affine(centred=False, start="uniform", bias=False, cosine=True)))


def noise_mnist_inhibition() -> Run:
    """`noise-mnist` with learned all-to-all inhibition between the units, one step of it.

    The circuits of the code of Bricken et al., ICML 2023.
    """
    return _mnist(network(1000, 0.3, Inhibition()), adam_for(784, activation=Adam(lr=1e-3, eps=1e-8 * 784)))


def noise_mnist_l1() -> Run:
    """No noise, and L1 on the activations, values of norm 1: the comparison for noise.

    Bricken et al., ICML 2023; without the norm, which their code leaves out, small codes with long values escape the penalty.
    """
    model = Amortised(
        n_code=1000,
        activation=ReLU(),
        terms=(Sparsity(L1(positive=True), weight=0.5),),
        encoder=PLAIN,
        decoder=BiasedDictionary(bias="zero"),
        arithmetic="exact",
    )
    return _mnist(model)


def noise_mnist_sgd() -> Run:
    """`noise-mnist` by plain gradient descent, with a separate learning rate for biases: Adam is not the cause.

    Bricken et al., ICML 2023: rates 0.1 and 0.5 on their loss, so 0.1 / 784 and 0.5 / 784 on ours.
    """
    optim = Optim(groups={"*.bias": SGD(lr=0.5 / 784), "*.weight": SGD(lr=0.1 / 784)}, clip=Clip(norm=784.0))
    return _mnist(network(1000, 0.3), optim)


def continual(data: Labelled, model: Amortised, epochs_per_task: int, batch: int) -> Run:
    """Five pairs of classes, one after the other, one head for all; validated at the end of each."""
    run = trained(
        ClassTasks(source=data, epochs_per_task=epochs_per_task), model, classifying(), 5 * epochs_per_task, batch
    )
    return replace(run, train=replace(run.train, evaluate_every=epochs_per_task, checkpoint_every=epochs_per_task))


def noise_mnist_continual() -> Run:
    """Pairs of digits learned one after the other by 1000 rectified units without noise; `sparsecode forgetting` shows what stays.

    Bricken et al., ICML 2023, start from networks pretrained with noise: `--set init_from='{"run":"RUN"}'`, of `noise-mnist`.
    """
    return continual(MNIST(), network(1000, 0.0, task=Classify(n_classes=10)), epochs_per_task=2, batch=250)
