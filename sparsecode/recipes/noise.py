"""Networks that become sparse coders because their input is noisy.

Bricken, Schaeffer, Olshausen & Kreiman, "Emergence of sparse representations from noise", ICML 2023: an ordinary network
of one hidden layer, trained to give back the clean input of a noisy one, falls silent but for few units, the fewer the
stronger the noise. Their loss is the mean over d features; ours is the sum, d times that, so that Adam's eps and the norm
at which gradients are clipped are d times theirs (1e-8 and 1), and the steps are the same. Biases start at 0 here, on
+-1/sqrt(d) there; either way half of the units fire at the start. sigma is the noise's standard deviation whatever its law.
Theirs: latents of CIFAR-10, 10 000 units, Adam 1e-4, batches of 1024, 800 epochs and more, on a GPU; `noise-latents` is that.
The others are cut down to minutes on a CPU.
"""

from __future__ import annotations

from msgspec.structs import replace

from sparsecode.data import CIFAR10, MNIST, CIFAR10Latents, Data, Digits
from sparsecode.data.tasks import ClassTasks, Labelled
from sparsecode.losses.task import Classify, Reconstruct, Task
from sparsecode.models.amortised import Amortised
from sparsecode.models.iterative import Inference, Iterative
from sparsecode.nn.activations import Activation, Inhibition, ReLU, Softmax, TopK
from sparsecode.nn.affine import Affine, BiasedDictionary
from sparsecode.nn.constraints import Free
from sparsecode.nn.decoders import LinearDictionary
from sparsecode.nn.encoders import LinearEncoder
from sparsecode.nn.noises import Gaussian
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.trunks import ConvMixer, ResNet50
from sparsecode.penalties import L1
from sparsecode.runs import Evaluate, Run
from sparsecode.schedules import Linear
from sparsecode.solvers.gradient import AdamDescent
from sparsecode.train.optim import SGD, Adam, Clip, Group, Optim, SparseAdam
from sparsecode.train.plan import Train

__all__ = [
    "noise_cifar",
    "noise_cifar_classify",
    "noise_cifar_convmixer",
    "noise_cifar_resnet50",
    "noise_digits",
    "noise_digits_attention",
    "noise_digits_classify",
    "noise_digits_sdm",
    "noise_latents",
    "noise_latents_classify",
    "noise_latents_continual",
    "noise_mnist",
    "noise_mnist_anneal",
    "noise_mnist_classify",
    "noise_mnist_continual",
    "noise_mnist_deep",
    "noise_mnist_explain_away",
    "noise_mnist_inhibition",
    "noise_mnist_l1",
    "noise_mnist_sdm",
    "noise_mnist_sgd",
]

PLAIN = Affine(centred=False, start="uniform")
VALUES = BiasedDictionary(constraint=Free(), bias="zero", start="uniform")


def _network(
    n_code: int,
    sigma: float | Linear,
    activation: Activation | None = None,
    encoder: Affine | ConvMixer | ResNet50 = PLAIN,
    decoder: BiasedDictionary | Perceptron = VALUES,
    task: Task | None = None,
) -> Amortised:
    return Amortised(
        n_code=n_code,
        activation=activation or ReLU(),
        corruption=Gaussian(sigma=sigma),
        encoder=encoder,
        decoder=decoder,
        task=task or Reconstruct(),
        arithmetic="exact",
    )


def _optim(d: int, lr: float = 1e-3, activation: Group | None = None) -> Optim:
    """Adam for encoder and decoder (and the activation's weights) of a loss d times the mean's."""
    adam = Adam(lr=lr, eps=1e-8 * d)
    groups: dict[str, Group] = {"encoder": adam, "decoder": adam}
    return Optim(
        groups=groups if activation is None else {**groups, "activation": activation}, clip=Clip(norm=float(d))
    )


def _classifying(lr: float = 1e-3) -> Optim:
    """Adam for the mean cross-entropy."""
    return Optim(groups={"encoder": Adam(lr=lr), "decoder": Adam(lr=lr)}, clip=Clip(norm=1.0))


def _run(
    data: Data, model: Amortised | Iterative, optim: Optim, epochs: float, batch: int, sigmas: tuple[float, ...] = ()
) -> Run:
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
        evaluate=Evaluate(sigmas=sigmas),
        seed=0,
    )


def _mnist(model: Amortised, optim: Optim | None = None, sigmas: tuple[float, ...] = (0.1, 0.3, 0.8)) -> Run:
    """4 400 steps: 20 epochs of 55 000 digits in batches of 250."""
    return _run(MNIST(), model, optim or _optim(784), epochs=20, batch=250, sigmas=sigmas)


def noise_digits() -> Run:
    """500 rectified units on scikit-learn's digits with noise of standard deviation .3: seconds, no download.

    Bricken et al., ICML 2023, in small.
    """
    return _run(Digits(), _network(500, 0.3), _optim(64), epochs=100, batch=50, sigmas=(0.1, 0.3, 0.8))


def noise_digits_classify() -> Run:
    """500 rectified units that classify scikit-learn's digits under noise of standard deviation .3: seconds, no download.

    Bricken et al., ICML 2023, in small.
    """
    return _run(Digits(), _network(500, 0.3, task=Classify(n_classes=10)), _classifying(), epochs=100, batch=50)


def noise_digits_sdm() -> Run:
    """A sparse distributed memory on scikit-learn's digits: cosines to unit-norm addresses, the largest of 500, in the end 20.

    Bricken & Pehlevan, NeurIPS 2021; SparseAdam, so that momentum leaves silent units alone.
    """
    model = _network(
        500,
        0.3,
        TopK(k=Linear(start=500, stop=20, length=0.5, unit="fraction")),
        Affine(centred=False, start="uniform", bias=False, cosine=True),
    )
    sparse = SparseAdam(lr=1e-3, eps=1e-8 * 64)
    adam = Adam(lr=1e-3, eps=1e-8 * 64)
    optim = Optim(groups={"decoder.bias": adam, "encoder": sparse, "decoder": sparse}, clip=Clip(norm=64.0))
    return _run(Digits(), model, optim, epochs=100, batch=50, sigmas=(0.1, 0.3, 0.8))


def noise_digits_attention() -> Run:
    """Attention over the training digits, of which only the inverse temperature is learned: what memory alone can do.

    The baseline of Bricken et al., ICML 2023. Its memory is the training set at test, too, where theirs held the clean query.
    """
    model = _network(
        1437,
        0.3,
        Softmax(beta=2.0),
        Affine(centred=False, tied=True, bias=False, cosine=True),
        BiasedDictionary(constraint=Free(), bias="zero", start="samples", frozen=True),
    )
    optim = Optim(groups={"activation": Adam(lr=1e-2)})
    run = _run(Digits(), model, optim, epochs=20, batch=50, sigmas=(0.1, 0.3, 0.8))
    return replace(run, evaluate=replace(run.evaluate, theta=0.01))  # no share of attention is ever 0


def noise_mnist() -> Run:
    """1000 rectified units on MNIST with noise of standard deviation .3.

    Bricken et al., ICML 2023, section 8's small reference: about a fifth of the units active, half of them without noise.
    """
    return _mnist(_network(1000, 0.3))


def noise_mnist_anneal() -> Run:
    """`noise-mnist` with noise that is taken back to 0 over the second half of training: the units stay silent.

    Bricken et al., ICML 2023 ("gentle annealing": 800 epochs constant, 800 to 0).
    """
    return _mnist(_network(1000, Linear(start=0.3, stop=0.0, delay=0.5, length=0.5, unit="fraction")))


def noise_mnist_classify() -> Run:
    """1000 rectified units that classify noisy digits of MNIST.

    Bricken et al., ICML 2023: noise makes classifiers sparse, too, though less.
    """
    model = _network(1000, 0.3, task=Classify(n_classes=10))
    return _mnist(model, _classifying(), ())


def noise_mnist_deep() -> Run:
    """Three hidden layers of 1000, 500 and 1000 units; the code is the first. Noise of standard deviation .3.

    Bricken et al., ICML 2023: the effect is not one of shallow networks.
    """
    return _mnist(_network(1000, 0.3, decoder=Perceptron(hidden=(500, 1000))))


def noise_mnist_sdm() -> Run:
    """`noise-mnist` with the 50 largest of 1000 cosines to unit-norm addresses in place of a threshold.

    The comparison of Bricken et al., ICML 2023: sparse distributed memory, `LINEAR_DECAY_MASK` from all units to 50.
    """
    activation = TopK(k=Linear(start=1000, stop=50, length=0.5, unit="fraction"))
    return _mnist(_network(1000, 0.3, activation, Affine(centred=False, start="uniform", bias=False, cosine=True)))


def noise_mnist_inhibition() -> Run:
    """`noise-mnist` with learned all-to-all inhibition between the units, one step of it.

    The circuits of the code of Bricken et al., ICML 2023.
    """
    return _mnist(_network(1000, 0.3, Inhibition()), _optim(784, activation=Adam(lr=1e-3, eps=1e-8 * 784)))


def noise_mnist_l1() -> Run:
    """No noise, and L1 on the activations, values of norm 1: what noise is compared with.

    Bricken et al., ICML 2023; without the norm, which their code leaves out, small codes with long values escape the penalty.
    """
    model = Amortised(
        n_code=1000,
        activation=ReLU(),
        penalty=L1(positive=True),
        weight=0.5,
        encoder=PLAIN,
        decoder=BiasedDictionary(bias="zero"),
        arithmetic="exact",
    )
    return _mnist(model)


def noise_mnist_sgd() -> Run:
    """`noise-mnist` by plain gradient descent, with a learning rate of their own for biases: Adam is not the cause.

    Bricken et al., ICML 2023: rates .1 and .5 on their loss, so .1 / 784 and .5 / 784 on ours.
    """
    optim = Optim(groups={"*.bias": SGD(lr=0.5 / 784), "*.weight": SGD(lr=0.1 / 784)}, clip=Clip(norm=784.0))
    return _mnist(_network(1000, 0.3), optim)


def noise_mnist_explain_away() -> Run:
    """Pre-activations of a noisy digit, improved by 5 steps of Adam until they explain the clean one; encoder and decoder follow.

    The explain-away network in the first code of Bricken et al., ICML 2023 (5 inner steps, rate .01). Its inner loop also
    left gradients in the decoder, which this one does not; the decoder has no bias.
    """
    model = Iterative(
        n_code=1000,
        weight=0.0,
        link="relu",
        corruption=Gaussian(sigma=0.3),
        encoder=LinearEncoder(),
        decoder=LinearDictionary(constraint=Free()),
        penalty=L1(),
        inference=Inference(solver=AdamDescent(lr=0.01), max_steps=5, tol=1e-6),
    )
    return _run(MNIST(), model, _optim(784), epochs=20, batch=250, sigmas=(0.1, 0.3, 0.8))


def _continual(data: Labelled, model: Amortised, epochs_per_task: int, batch: int) -> Run:
    """Five pairs of classes, one after the other, one head for all; validated at the end of each."""
    run = _run(
        ClassTasks(source=data, epochs_per_task=epochs_per_task), model, _classifying(), 5 * epochs_per_task, batch
    )
    return replace(run, train=replace(run.train, evaluate_every=epochs_per_task, checkpoint_every=epochs_per_task))


def noise_mnist_continual() -> Run:
    """Pairs of digits learned one after the other by 1000 rectified units without noise; `sparsecode forgetting` shows what stays.

    Bricken et al., ICML 2023, start from networks pretrained with noise: `--set init_from='{"run":"RUN"}'`, of `noise-mnist`.
    """
    return _continual(MNIST(), _network(1000, 0.0, task=Classify(n_classes=10)), epochs_per_task=2, batch=250)


def noise_latents_continual() -> Run:
    """Pairs of classes of CIFAR-10's latents, learned one after the other by 10 000 units without noise, for a GPU.

    Bricken et al., ICML 2023: 10 (or 50) epochs per pair, from `noise-latents` at each sigma (`init_from`).
    """
    return _continual(
        CIFAR10Latents(), _network(10_000, 0.0, task=Classify(n_classes=10)), epochs_per_task=10, batch=1024
    )


def noise_latents() -> Run:
    """10 000 rectified units on the latents of CIFAR-10, noise .1: the baseline, for a GPU.

    Bricken et al., ICML 2023: batches of 1024, Adam 1e-4, 800 epochs; fractions active .77 .46 .34 .13 .04 at sigma 0 .05 .1 .3 .8.
    """
    return _run(CIFAR10Latents(), _network(10_000, 0.1), _optim(256, lr=1e-4), epochs=800, batch=1024)


def noise_latents_classify() -> Run:
    """10 000 rectified units that classify the latents of CIFAR-10, noise .1, for a GPU.

    Bricken et al., ICML 2023.
    """
    model = _network(10_000, 0.1, task=Classify(n_classes=10))
    return _run(CIFAR10Latents(), model, _classifying(1e-4), epochs=800, batch=1024)


def noise_cifar_convmixer() -> Run:
    """A ConvMixer of width 256 that classifies CIFAR-10 with noise .8 on its pixels; the code is its pooled features. For a GPU.

    Bricken et al., ICML 2023, whose networks of this kind (there with augmentation, AdamW .01, decay .005) are attacked.
    """
    model = _network(256, 0.8, encoder=ConvMixer(), task=Classify(n_classes=10))
    adam = Adam(lr=1e-3, weight_decay=0.005, decoupled=True)
    return _run(
        CIFAR10(), model, Optim(groups={"encoder": adam, "decoder": adam}, clip=Clip(norm=1.0)), epochs=150, batch=128
    )


def noise_cifar_resnet50() -> Run:
    """A ResNet-50 that classifies CIFAR-10 with noise .8 on its pixels; the code is its 2048 pooled features. For a GPU.

    Bricken et al., ICML 2023 (batches of 256).
    """
    model = _network(2048, 0.8, encoder=ResNet50(), task=Classify(n_classes=10))
    adam = Adam(lr=1e-3)
    return _run(
        CIFAR10(), model, Optim(groups={"encoder": adam, "decoder": adam}, clip=Clip(norm=1.0)), epochs=150, batch=256
    )


def noise_cifar() -> Run:
    """10 000 rectified units on CIFAR-10 in colour, noise .8: centre-surround and oriented receptive fields, for a GPU.

    Bricken et al., ICML 2023: 3 000 epochs and more.
    """
    return _run(CIFAR10(), _network(10_000, 0.8), _optim(3072, lr=1e-4), epochs=3000, batch=1024, sigmas=(0.3, 0.8))


def noise_cifar_classify() -> Run:
    """10 000 rectified units that classify CIFAR-10 in colour, noise .8, for a GPU.

    Bricken et al., ICML 2023.
    """
    model = _network(10_000, 0.8, task=Classify(n_classes=10))
    return _run(CIFAR10(), model, _classifying(1e-4), epochs=3000, batch=1024)
