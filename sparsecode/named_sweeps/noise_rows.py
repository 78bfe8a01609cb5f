"""Named sweeps over networks trained with input noise: rows that the paper's code has on latents, on pixels of CIFAR-10, or on both.

One function gives them for either: `about` names the original's experiment. Their loss is the mean over features, ours the sum,
so that weights of penalties are d times theirs, and rates of plain gradient descent a d-th. For a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping

from sparsecode.named_sweeps.experiment import Experiment
from sparsecode.named_sweeps.noise import SHAPES, SIGMA, SIGMAS, attacked, descent, units

__all__ = ["NOISE_ROWS"]

EPS = 8 / 255
ATTACKED = attacked(EPS)


def _rows(data: str, d: int, weights: tuple[float, ...], theirs: Mapping[str, str]) -> dict[str, Experiment]:
    """The rows for data of d features, by what varies; `theirs` says what the original did, for each row that it has."""
    recipe = f"noise-{data}"
    adam = f'optim.groups={{"*":{{"type":"adam","lr":0.0001,"eps":{1e-8 * d:.8g}}}}}'
    inhibition = 'model.activation={"type":"inhibition"},{"type":"inhibition","circuit":"interneuron"}'
    all_active, l1 = "scores.encode.active_fraction", "model.terms.sparsity.weight"
    every = {
        "activations": units(
            "Not of ReLU alone",
            theirs.get("activations", ""),
            recipe,
            over=(SHAPES, SIGMAS),
            fixed=("evaluate.theta=0.01",),
        ),
        "l1": units(
            "L1 in place of noise",
            theirs.get("l1", ""),
            recipe,
            over=(f"{l1}={','.join(f'{weight * d:.8g}' for weight in weights)}",),
            x=l1,
            y=all_active,
            fixed=(
                f"{SIGMA}=0",
                'model.terms.l1={"type":"sparsity","penalty":{"type":"l1","positive":true}}',
                "train.epochs=2000",
            ),
        ),
        "inhibition": units(
            "Learned inhibition",
            theirs.get("inhibition", ""),
            recipe,
            over=(inhibition, SIGMAS),
            y=all_active,
            fixed=(adam,),
        ),
        "inhibition-sgd": units(
            "Learned inhibition by plain gradient descent",
            theirs.get("inhibition-sgd", ""),
            recipe,
            y=all_active,
            fixed=(
                'model.activation={"type":"inhibition"}',
                f'optim.groups={{"*":{{"type":"sgd","lr":{0.5 / d:.8g}}}}}',
                "model.n_code=1000",
                "train.epochs=2000",
            ),
        ),
        "sgd": units(
            "Adam is not the cause",
            theirs.get("sgd", ""),
            recipe,
            over=(descent(d), SIGMAS),
            fixed=("model.n_code=1000",),
        ),
        "adversarial": units(
            "Adversarial changes in place of noise",
            theirs.get("adversarial", ""),
            recipe,
            over=(f"model.corruption.eps=0,{EPS / 4:.8g},{EPS:.8g},{EPS * 4:.8g}",),
            x="model.corruption.eps",
            y="under_attack.attacked_error",
            fixed=('model.corruption={"type":"pgd"}', ATTACKED),
        ),
        "robustness": units(
            "Accuracy of classifiers under attack",
            theirs.get("robustness", ""),
            f"{recipe}-classify",
            y="under_attack.attacked_accuracy",
            fixed=(ATTACKED,),
        ),
        "robustness-recon": units(
            "Errors of autoencoders under attack",
            theirs.get("robustness-recon", ""),
            recipe,
            y="under_attack.attacked_error",
            fixed=(ATTACKED,),
        ),
    }
    return {f"noise-{data}-{name}": every[name] for name in theirs}


NOISE_ROWS: dict[str, Experiment] = {
    **_rows(
        "latents",
        256,
        weights=(0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7),
        theirs={
            "activations": "GELU (800 epochs, level 0.0001), GeLU-0.1 and Sigmoid-0.1 (6000, 0.01).",
            "l1": "L1Reg_CIFAR10, which is on latents, 2000 epochs; norms are free, as theirs.",
            "inhibition": "InhibCircuitSimple and InhibInterneuron, one step.",
            "inhibition-sgd": "SGD_InhibCircuitSimple: rate 0.5, 1000 units, 2000 epochs.",
            "sgd": "SGDSeparateBias (0.1, biases 0.5) and SGDMSeparateBias (momentum 0.9, 0.01, biases 0.1), 1000 units.",
            "adversarial": "AdvTrain, there eight equal runs, as it switches noise off; the changed sample was the target, too.",
            "robustness": "Adv_Robustness: PGD of 10 steps, noise off; theirs leaves the range of the data.",
            "robustness-recon": "Adv_Robustness_Recon, whose attack is of a cross-entropy of pixels; here of the squared error.",
        },
    ),
    **_rows(
        "cifar",
        3072,
        weights=(1e-5, 1e-6, 1e-7),
        theirs={
            "activations": "GELU_CIFAR10 and Sigmoid_CIFAR10, 3000 epochs.",
            "l1": "L1Reg_CIFAR10_Actual, 2000 epochs; norms are free, as theirs.",
            "inhibition": "InhibCircuitSimple_CIFAR10, 2000 epochs; here an interneuron, too.",
            "robustness": "Adv_Robustness_ClassifCIFAR10: PGD of 10 steps, noise off; theirs leaves the range of pixels.",
        },
    ),
}
