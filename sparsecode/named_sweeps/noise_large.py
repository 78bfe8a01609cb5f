"""Named sweeps over networks trained with input noise, as large as in the paper: for a GPU."""

from __future__ import annotations

from sparsecode.named_sweeps.experiment import Experiment
from sparsecode.named_sweeps.noise import COMPETITION, INNER, LAWS, ONE_RATE, RATES, SIGMA, SIGMAS, attacked, units

__all__ = ["NOISE_LARGE"]

NOISE_LARGE: dict[str, Experiment] = {
    # As in the paper, for a GPU.
    "noise-latents": units(
        "Input noise silences units: CIFAR-10 latents", "the baseline, 1000 epochs there, 800 here.", "noise-latents"
    ),
    "noise-latents-seeds": units(
        "Seeds agree", "seeds 10, 55 and 78, 800 epochs.", "noise-latents", over=(SIGMAS, "seed=10,55,78")
    ),
    "noise-latents-width": units(
        "Wider layers are sparser",
        "100 to 100 000 units.",
        "noise-latents",
        over=(SIGMAS, "model.n_code=100,1000,10000,100000"),
    ),
    "noise-data": units(
        "Whatever the data",
        "latents of CIFAR-10, CIFAR-10 and MNIST; 10 000 units there, 1000 on MNIST here.",
        "noise-latents",
        "noise-cifar",
        "noise-mnist",
    ),
    "noise-latents-laws": units("Any noise will do", "see `noise-digits-laws`.", "noise-latents", over=(LAWS, SIGMAS)),
    "noise-latents-rates": units(
        "Learning rates are not the cause",
        "sigma 0.3 and 0.6, rates 0.01, 0.001 and 0.00001.",
        "noise-latents",
        over=(RATES, f"{SIGMA}=0.3,0.6"),
    ),
    "noise-latents-tasks": units(
        "Reconstruction silences more than classification",
        "the classifier 3000 epochs.",
        "noise-latents",
        "noise-latents-classify",
    ),
    "noise-latents-anneal": units(
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
    "noise-latents-competition": units(
        "Top-K variants at one noise",
        "a random search over k and variants at sigma 0.8; here a grid, k learned at the rate of all else.",
        "noise-latents",
        over=(COMPETITION,),
        x="model.activation",
        y="scores.encode.explained_variance",
        fixed=(f"{SIGMA}=0.8", ONE_RATE),
    ),
    "noise-latents-explain-away": units(
        "Codes that were explained away",
        "ExplainAwayTest (5 inner steps at 0.01) and ExplainAwayTest_MoreSteps (30 at 0.005).",
        "noise-latents-explain-away",
        over=(SIGMAS, INNER),
        y="scores.amortised.active_fraction",
    ),
    "noise-cifar": units("Input noise silences units: CIFAR-10", "3000 epochs, then 6000 and 12 000.", "noise-cifar"),
    "noise-cifar-sdm": units(
        "Unit-norm keys and inputs, one threshold",
        "receptive fields of interpretable units.",
        "noise-cifar",
        fixed=('model.encoder={"type":"affine","centred":false,"start":"uniform","cosine":true,"shared_bias":true}',),
    ),
    "noise-cifar-tasks": units(
        "Reconstruction silences more than classification",
        "3000 epochs.",
        "noise-cifar",
        "noise-cifar-classify",
    ),
    "noise-cifar-nets": units(
        "Deep networks under attack",
        "ResNet50_Adv_Robustness (noise 0 to 10) and ResNet50_YesAugs, ConvMixer_NoPretrain_YesAugs; the augmentation without RandAugment, "
        "colour jitter and erasing, and not of the ResNet; norms over samples, not batches.",
        "noise-cifar-convmixer",
        "noise-cifar-resnet50",
        over=(f"{SIGMA}=0,0.3,0.8,1.5,3,5",),
        y="under_attack.attacked_accuracy",
        fixed=(attacked(8 / 255),),
    ),
    "noise-cifar-resnet50-augmented": units(
        "A deep network under attack, with augmentation",
        "ResNet50_YesAugs.",
        "noise-cifar-resnet50",
        over=(f"{SIGMA}=0,0.3,0.8,1.5,3,5",),
        y="under_attack.attacked_accuracy",
        fixed=(
            'data={"type":"augmented","source":{"type":"cifar10"},"flip":0.5,"pad":0,"scale":0.75}',
            attacked(8 / 255),
        ),
    ),
    "noise-cifar-convmixer-bigger": units(
        "A wider and deeper network under attack",
        "ConvMixer_Bigger: 12 blocks of 512, 150 epochs.",
        "noise-cifar-convmixer",
        over=(f"{SIGMA}=1,1.3",),
        y="under_attack.attacked_accuracy",
        fixed=("model.n_code=512", 'model.encoder={"type":"convmixer","blocks":12}', attacked(8 / 255)),
    ),
}
