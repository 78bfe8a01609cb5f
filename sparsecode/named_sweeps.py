"""Named sweeps: recipes, axes, the quantity to plot, and the source with the differences from it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from sparsecode.recipes import RECIPES
from sparsecode.specs import Spec

__all__ = ["EXPERIMENTS", "Experiment"]

Lines = Annotated[tuple[str, ...], Meta(min_length=1)]


class Experiment(Spec, tag="experiment"):
    """A sweep with a question: `y` against `x`, over seeds, a line per recipe and value of every further axis.

    `over` and `fixed` are what `--over` and `--set` take. `x` is the path of an axis, `y` a dotted place in a line of
    `results.jsonl`: `activity.active_clean`, or `scores.encode.l0`. `about` cites the source and says where this differs.
    """

    title: str
    about: str
    recipes: Lines
    over: Lines
    x: str
    y: str
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        paths = [text.partition("=")[0] for text in self.over]
        if self.x not in paths:
            raise ValueError(f"Experiment: x is {self.x!r}; expected one of the axes in over, {', '.join(paths)}")
        if unknown := [name for name in self.recipes if name not in RECIPES]:
            raise ValueError(f"Experiment: no recipe {unknown[0]!r}; choose from {', '.join(RECIPES)}")


SIGMA = "model.corruption.sigma"
SIGMAS = f"{SIGMA}=0,0.05,0.1,0.3,0.8,1.5,3,10"
SMALL = f"{SIGMA}=0,0.1,0.3,0.8,1.5,3"
LAWS = "model.corruption=" + ",".join(
    f'{{"type":"{law}","sigma":0}}' for law in ("gaussian", "laplace", "uniform", "exponential", "poisson")
)
SHAPES = "model.activation=" + ",".join(f'{{"type":"{name}"}}' for name in ("relu", "gelu", "elu", "sigmoid", "tanh"))
RATES = "optim.groups=" + ",".join(f'{{"*":{{"type":"adam","lr":{lr},"eps":0.00000256}}}}' for lr in (1e-2, 1e-3, 1e-5))
ONE_RATE = 'optim.groups={"*":{"type":"adam","lr":0.0001,"eps":0.00000256}}'
COMPETITION = "model.activation=" + ",".join(
    [f'{{"type":"{kind}","k":{k}}}' for kind in ("topk", "subtract_topk", "gaba_switch") for k in (10, 100, 1000)]
    + ['{"type":"learned_k","start":100}', '{"type":"sampled_k","start":100}']
)


def _units(
    title: str,
    about: str,
    *recipes: str,
    over: Lines = (SIGMAS,),
    x: str = SIGMA,
    y: str = "activity.active_noisy",
    fixed: Lines | tuple[()] = (),
) -> Experiment:
    """A question to Bricken et al., ICML 2023: which share of units is active, with the noise of training on."""
    return Experiment(title, f"Bricken et al., ICML 2023: {about}", recipes, over, x, y, fixed)


SIZES = "8,16,24,32,48,64,96,128,160,200"


def _latents(*recipes: str, sizes: str) -> Experiment:
    """A question to Tonolini, Jensen & Murray-Smith, UAI 2019, as its replication put it."""
    return Experiment(
        title="The bound against the number of codes",
        about="Replication of Tonolini et al., UAI 2019: test bound in nats per sample with hard gates (theirs are relaxed, which gives no bound); theirs every 8 codes.",
        recipes=recipes,
        over=(f"model.n_code={sizes}",),
        x="model.n_code",
        y="elbo.hard|exact.elbo",
    )


EXPERIMENTS: dict[str, Experiment] = {
    "digits-noise": Experiment(
        title="Input noise silences units: scikit-learn's digits",
        about="Bricken et al., ICML 2023, the first figure in small: 100 units in place of 10 000, digits in place of CIFAR-10.",
        recipes=("digits-dae",),
        over=("model.corruption.sigma=0,0.1,0.3,0.8,1.5", "seed=0,1,2"),
        x="model.corruption.sigma",
        y="activity.active_clean",
        fixed=("model.corruption.unit=input", "train.epochs=60", "evaluate.sigmas=[]"),
    ),
    "digits-latents": _latents("digits-vae", "digits-vsc", sizes="2,4,8,16,32"),
    "mnist-latents": _latents("mnist-vae", "mnist-vsc-50", "mnist-vsc-20", "mnist-vsc-1", sizes=SIZES),
    "fashion-latents": _latents("fashion-vae", "fashion-vsc-50", "fashion-vsc-20", "fashion-vsc-1", sizes=SIZES),
    # In seconds to minutes on a laptop, on data that need no download: the five ablations in small.
    "noise-digits-width": _units(
        "Wider layers are sparser",
        "their widths are 100 to 100 000, on latents of CIFAR-10.",
        "noise-digits",
        over=(SMALL, "model.n_code=50,200,1000"),
    ),
    "noise-digits-laws": _units(
        "Any noise will do",
        "normal, Laplace, exponential and Poisson noise, there with scale parameters other than the standard deviation, and means other than 0.",
        "noise-digits",
        over=(LAWS, SMALL),
    ),
    "noise-digits-tasks": _units(
        "Reconstruction silences more than classification",
        "the same.",
        "noise-digits",
        "noise-digits-classify",
        over=(SMALL,),
    ),
    "noise-digits-activations": _units(
        "Not of ReLU alone",
        "a unit counts as active above 0.01, theirs at 0.0001 or 0.01.",
        "noise-digits",
        over=(SHAPES, SMALL),
        fixed=("evaluate.theta=0.01",),
    ),
    "noise-digits-seeds": _units("Seeds agree", "seeds 10, 55 and 78.", "noise-digits", over=(SMALL, "seed=10,55,78")),
    # On MNIST, minutes per run on a CPU.
    "noise-mnist": _units(
        "Input noise silences units: MNIST",
        "their MNIST networks have 10 000 units, these 1000.",
        "noise-mnist",
        over=(SIGMAS,),
    ),
    "noise-mnist-anneal": _units(
        "Units stay silent when the noise is gone",
        "800 epochs of noise, 800 to take it back; here 10 and 10.",
        "noise-mnist-anneal",
        over=("model.corruption.sigma.start=0.05,0.1,0.3,0.8",),
        x="model.corruption.sigma.start",
        y="activity.active_clean",
    ),
    "noise-mnist-kinds": _units(
        "Noise beside what else makes codes sparse",
        "ReLU, a deep network, Top-K memory, inhibition and a classifier.",
        "noise-mnist",
        "noise-mnist-deep",
        "noise-mnist-sdm",
        "noise-mnist-inhibition",
        "noise-mnist-classify",
        over=(SMALL,),
        y="scores.encode.active_fraction",
    ),
    "noise-mnist-l1": _units(
        "L1 in place of noise",
        "their L1 leaves the norms free, so that codes shrink and values grow; here values have norm 1.",
        "noise-mnist-l1",
        over=("model.terms.sparsity.weight=0.1,0.3,1,3",),
        x="model.terms.sparsity.weight",
        y="scores.encode.active_fraction",
    ),
    "noise-mnist-sgd": _units(
        "Adam is not the cause",
        "SGD 0.1 with 0.5 for biases, and momentum 0.9 at a tenth of that; 1000 units.",
        "noise-mnist-sgd",
        over=(SMALL, "optim.groups.*.weight.momentum=0,0.9"),
    ),
    "noise-mnist-inhibition": _units(
        "Learned inhibition beside a shared threshold",
        "one step of all-to-all inhibition, or one interneuron.",
        "noise-mnist-inhibition",
        over=(SMALL, "model.activation.circuit=all_to_all,interneuron"),
        y="scores.encode.active_fraction",
    ),
    "noise-mnist-explain-away": _units(
        "Codes that were explained away",
        "5 inner steps at 0.01, 30 at 0.005.",
        "noise-mnist-explain-away",
        over=(SMALL, "model.inference.max_steps=5,30"),
        y="scores.amortised.active_fraction",
    ),
    "noise-mnist-shared-bias": _units(
        "One threshold for all units is enough",
        "biases converge to one value; here each its own, or one for all.",
        "noise-mnist",
        over=(SMALL, "model.encoder.shared_bias=false,true"),
    ),
    "noise-mnist-robustness": _units(
        "Accuracy of classifiers on clean digits, before they are attacked",
        "the attacks are `sparsecode attack runs/noise-mnist-robustness/*/`.",
        "noise-mnist-classify",
        over=(SMALL,),
        y="scores.encode.accuracy",
    ),
    # As in the paper, for a GPU.
    "noise-latents": _units(
        "Input noise silences units: CIFAR-10 latents", "the baseline, 1000 epochs there, 800 here.", "noise-latents"
    ),
    "noise-latents-seeds": _units(
        "Seeds agree", "seeds 10, 55 and 78, 800 epochs.", "noise-latents", over=(SIGMAS, "seed=10,55,78")
    ),
    "noise-latents-width": _units(
        "Wider layers are sparser",
        "100 to 100 000 units.",
        "noise-latents",
        over=(SIGMAS, "model.n_code=100,1000,10000,100000"),
    ),
    "noise-data": _units(
        "Whatever the data",
        "latents of CIFAR-10, CIFAR-10 and MNIST; 10 000 units there, 1000 on MNIST here.",
        "noise-latents",
        "noise-cifar",
        "noise-mnist",
    ),
    "noise-latents-laws": _units("Any noise will do", "see `noise-digits-laws`.", "noise-latents", over=(LAWS, SIGMAS)),
    "noise-latents-rates": _units(
        "Learning rates are not the cause",
        "sigma 0.3 and 0.6, rates 0.01, 0.001 and 0.00001.",
        "noise-latents",
        over=(RATES, f"{SIGMA}=0.3,0.6"),
    ),
    "noise-latents-activations": _units(
        "Not of ReLU alone",
        "GELU 800 epochs at level 0.0001, GELU and sigmoid 6000 at 0.01.",
        "noise-latents",
        over=(SHAPES, SIGMAS),
        fixed=("evaluate.theta=0.01",),
    ),
    "noise-latents-tasks": _units(
        "Reconstruction silences more than classification",
        "the classifier 3000 epochs.",
        "noise-latents",
        "noise-latents-classify",
    ),
    "noise-latents-anneal": _units(
        "Units stay silent when the noise is gone",
        "800 epochs of noise, 800 to take it back.",
        "noise-latents",
        over=(f"{SIGMA}.start=0.05,0.1,0.3,0.8,1.5,3,10",),
        x=f"{SIGMA}.start",
        y="activity.active_clean",
        fixed=(
            f'{SIGMA}={{"type":"linear","start":0.1,"stop":0,"delay":0.5,"length":0.5,"unit":"fraction"}}',
            "train.epochs=1600",
        ),
    ),
    "noise-latents-l1": _units(
        "L1 in place of noise",
        "weights 0.1 to 0.0000001 on the mean over features, so 256 times that here, 2000 epochs; norms are free, as theirs.",
        "noise-latents",
        over=("model.terms.sparsity.weight=25.6,2.56,0.256,0.0256,0.00256,0.000256,0.0000256",),
        x="model.terms.sparsity.weight",
        y="scores.encode.active_fraction",
        fixed=(
            f"{SIGMA}=0",
            'model.terms.l1={"type":"sparsity","penalty":{"type":"l1","positive":true}}',
            "train.epochs=2000",
        ),
    ),
    "noise-latents-competition": _units(
        "Top-K variants at one noise",
        "a random search over k and variants at sigma 0.8; here a grid, k learned at the rate of all else.",
        "noise-latents",
        over=(COMPETITION,),
        x="model.activation",
        y="scores.encode.explained_variance",
        fixed=(f"{SIGMA}=0.8", ONE_RATE),
    ),
    "noise-latents-inhibition": _units(
        "Learned inhibition",
        "one step of all-to-all inhibition, or an interneuron.",
        "noise-latents",
        over=('model.activation={"type":"inhibition"},{"type":"inhibition","circuit":"interneuron"}', SIGMAS),
        y="scores.encode.active_fraction",
        fixed=(ONE_RATE,),
    ),
    "noise-cifar": _units("Input noise silences units: CIFAR-10", "3000 epochs, then 6000 and 12 000.", "noise-cifar"),
    "noise-cifar-sdm": _units(
        "Unit-norm keys and inputs, one threshold",
        "receptive fields of interpretable units.",
        "noise-cifar",
        fixed=('model.encoder={"type":"affine","centred":false,"start":"uniform","cosine":true,"shared_bias":true}',),
    ),
    "noise-cifar-tasks": _units(
        "Reconstruction silences more than classification",
        "3000 epochs.",
        "noise-cifar",
        "noise-cifar-classify",
    ),
    "noise-cifar-nets": _units(
        "Deep networks to attack",
        "with augmentation there, none here; then `sparsecode attack`.",
        "noise-cifar-convmixer",
        "noise-cifar-resnet50",
        over=(f"{SIGMA}=0,0.3,0.8,1.5,3,5",),
        y="scores.encode.accuracy",
    ),
}
