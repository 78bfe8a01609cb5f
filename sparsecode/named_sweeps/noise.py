"""Named sweeps over networks trained with input noise, in small: scikit-learn's digits and MNIST, seconds to minutes a run on a CPU."""

from __future__ import annotations

from sparsecode.named_sweeps.experiment import Experiment, Lines

__all__ = [
    "COMPETITION",
    "INNER",
    "LAWS",
    "NOISE",
    "ONE_RATE",
    "RATES",
    "SHAPES",
    "SIGMA",
    "SIGMAS",
    "SMALL",
    "attacked",
    "descent",
    "units",
]

SIGMA = "model.corruption.sigma"
SIGMAS = f"{SIGMA}=0,0.05,0.1,0.3,0.8,1.5,3,10"
SMALL = f"{SIGMA}=0,0.1,0.3,0.8,1.5,3"
LAWS = "model.corruption=" + ",".join(
    f'{{"type":"{distribution}","sigma":0}}'
    for distribution in ("gaussian", "laplace", "uniform", "exponential", "poisson")
)
SHAPES = "model.activation=" + ",".join(f'{{"type":"{name}"}}' for name in ("relu", "gelu", "elu", "sigmoid", "tanh"))
RATES = "optim.groups=" + ",".join(f'{{"*":{{"type":"adam","lr":{lr},"eps":0.00000256}}}}' for lr in (1e-2, 1e-3, 1e-5))
ONE_RATE = 'optim.groups={"*":{"type":"adam","lr":0.0001,"eps":0.00000256}}'
INNER = "model.inference=" + ",".join(
    f'{{"solver":{{"type":"adam_descent","lr":{lr}}},"max_steps":{steps},"tol":0.000001}}'
    for steps, lr in ((5, 0.01), (30, 0.005))
)
COMPETITION = "model.activation=" + ",".join(
    [f'{{"type":"{kind}","k":{k}}}' for kind in ("topk", "subtract_topk", "gaba_switch") for k in (10, 100, 1000)]
    + ['{"type":"learned_k","start":100}', '{"type":"sampled_k","start":100}']
)


def attacked(eps: float) -> str:
    """A setting: measure errors under PGD of 10 steps within `eps`, in the range of the data."""
    pgd = f'{{"type":"under_attack","attack":{{"type":"pgd","eps":{eps:.8g},"steps":10,"clip":true}}}}'
    return f'evaluate.measures=[{{"type":"scores"}},{{"type":"activity"}},{pgd}]'


def descent(d: int) -> str:
    """An axis: plain gradient descent and that with momentum, biases at rates of their own, for errors summed over d features."""
    sgd = [(0.1, 0.5, 0.0), (0.01, 0.1, 0.9)]
    return "optim.groups=" + ",".join(
        f'{{"*.bias":{_sgd(bias / d, momentum)},"*.weight":{_sgd(weight / d, momentum)}}}'
        for weight, bias, momentum in sgd
    )


def _sgd(lr: float, momentum: float) -> str:
    return f'{{"type":"sgd","lr":{lr:.8g},"momentum":{momentum}}}'


def units(
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


NOISE: dict[str, Experiment] = {
    "digits-noise": Experiment(
        title="Input noise silences units: scikit-learn's digits",
        about="Bricken et al., ICML 2023, the first figure in small: 100 units in place of 10 000, digits in place of CIFAR-10.",
        recipes=("digits-dae",),
        over=("model.corruption.sigma=0,0.1,0.3,0.8,1.5", "seed=0,1,2"),
        x="model.corruption.sigma",
        y="activity.active_clean",
        fixed=("model.corruption.unit=input", "train.epochs=60", "evaluate.sigmas=[]"),
    ),
    # In seconds to minutes on a laptop, on data that need no download: the five ablations in small.
    "noise-digits-width": units(
        "Wider layers are sparser",
        "their widths are 100 to 100 000, on latents of CIFAR-10.",
        "noise-digits",
        over=(SMALL, "model.n_code=50,200,1000"),
    ),
    "noise-digits-laws": units(
        "Any noise will do",
        "normal, Laplace, exponential and Poisson noise, there with scale parameters other than the standard deviation, and means other than 0.",
        "noise-digits",
        over=(LAWS, SMALL),
    ),
    "noise-digits-tasks": units(
        "Reconstruction silences more than classification",
        "the same.",
        "noise-digits",
        "noise-digits-classify",
        over=(SMALL,),
    ),
    "noise-digits-activations": units(
        "Not of ReLU alone",
        "a unit counts as active above 0.01, theirs at 0.0001 or 0.01.",
        "noise-digits",
        over=(SHAPES, SMALL),
        fixed=("evaluate.theta=0.01",),
    ),
    "noise-digits-seeds": units("Seeds agree", "seeds 10, 55 and 78.", "noise-digits", over=(SMALL, "seed=10,55,78")),
    # On MNIST, minutes per run on a CPU.
    "noise-mnist": units(
        "Input noise silences units: MNIST",
        "their MNIST networks have 10 000 units, these 1000.",
        "noise-mnist",
        over=(SIGMAS,),
    ),
    "noise-mnist-anneal": units(
        "Units stay silent when the noise is gone",
        "800 epochs of noise, 800 to take it back; here 10 and 10.",
        "noise-mnist-anneal",
        over=("model.corruption.sigma.start=0.05,0.1,0.3,0.8",),
        x="model.corruption.sigma.start",
        y="activity.active_clean",
    ),
    "noise-mnist-kinds": units(
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
    "noise-mnist-l1": units(
        "L1 in place of noise",
        "their L1 leaves the norms free, so that codes shrink and values grow; here values have norm 1.",
        "noise-mnist-l1",
        over=("model.terms.sparsity.weight=0.1,0.3,1,3",),
        x="model.terms.sparsity.weight",
        y="scores.encode.active_fraction",
    ),
    "noise-mnist-sgd": units(
        "Adam is not the cause",
        "SGD 0.1 with 0.5 for biases; momentum 0.9, 0.01 with 0.1 for biases; 1000 units.",
        "noise-mnist-sgd",
        over=(SMALL, descent(784)),
    ),
    "noise-mnist-inhibition": units(
        "Learned inhibition beside a shared threshold",
        "one step of all-to-all inhibition, or one interneuron.",
        "noise-mnist-inhibition",
        over=(SMALL, "model.activation.circuit=all_to_all,interneuron"),
        y="scores.encode.active_fraction",
    ),
    "noise-mnist-explain-away": units(
        "Codes that were explained away",
        "5 inner steps at 0.01, 30 at 0.005.",
        "noise-mnist-explain-away",
        over=(SMALL, INNER),
        y="scores.amortised.active_fraction",
    ),
    "noise-mnist-shared-bias": units(
        "One threshold for all units is enough",
        "biases converge to one value; here each its own, or one for all.",
        "noise-mnist",
        over=(SMALL, "model.encoder.shared_bias=false,true"),
    ),
    "noise-mnist-robustness": units(
        "Accuracy of classifiers under attack",
        "PGD of 10 steps, noise off; there 8/255, here 0.1. `sparsecode attack` has stronger attacks, and averages over noise.",
        "noise-mnist-classify",
        over=(SMALL,),
        y="under_attack.attacked_accuracy",
        fixed=(attacked(0.1),),
    ),
    "noise-mnist-adversarial": units(
        "Adversarial training",
        "AdvTrain, there 8/255 on latents, and equal at all sigma.",
        "noise-mnist-adversarial",
        over=("model.corruption.eps=0,0.03,0.1,0.2",),
        x="model.corruption.eps",
        y="under_attack.attacked_accuracy",
    ),
}
