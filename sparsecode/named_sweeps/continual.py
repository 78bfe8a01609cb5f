"""Named sweeps over networks pretrained with noise that then learn classes one pair after the other."""

from __future__ import annotations

from sparsecode.named_sweeps.experiment import Experiment, StartedFrom
from sparsecode.named_sweeps.noise import SIGMA, SIGMAS, SMALL

__all__ = ["CONTINUAL"]


def _continual(about: str, recipe: str, start: StartedFrom, fixed: tuple[str, ...] = ()) -> Experiment:
    return Experiment(
        title="Pretraining with noise against forgetting",
        about=f"Bricken et al., ICML 2023: {about} Accuracy on all classes after the last pair.",
        recipes=(recipe,),
        over=(),
        x=f"start.{SIGMA}",
        y="scores.encode.accuracy",
        fixed=fixed,
        start=start,
    )


CONTINUAL: dict[str, Experiment] = {
    "noise-digits-continual": _continual(
        "ContLearn in small, on scikit-learn's digits.",
        "noise-digits-classify",
        StartedFrom("noise-digits", over=(SMALL,)),
        fixed=('data={"type":"class_tasks","source":{"type":"digits"},"epochs_per_task":20}', f"{SIGMA}=0"),
    ),
    "noise-mnist-continual": _continual(
        "ContLearn on MNIST, 2 epochs per pair.",
        "noise-mnist-continual",
        StartedFrom("noise-mnist", over=(SIGMAS,)),
    ),
    "noise-latents-continual": _continual(
        "ContLearn_Cached, 10 epochs per pair; ContLearn_Cached_Longer: --set data.epochs_per_task=50 train.epochs=250 "
        "train.evaluate_every=50.",
        "noise-latents-continual",
        StartedFrom("noise-latents", over=(SIGMAS,)),
    ),
    "noise-cifar-continual": _continual(
        "ContLearn_RawCIFAR10, 50 epochs per pair.",
        "noise-cifar-classify",
        StartedFrom("noise-cifar", over=(SIGMAS,)),
        fixed=(
            'data={"type":"class_tasks","source":{"type":"cifar10"},"epochs_per_task":50}',
            f"{SIGMA}=0",
            "train.epochs=250",
            "train.evaluate_every=50",
        ),
    ),
}
