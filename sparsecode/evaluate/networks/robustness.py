"""Accuracy of classifiers under adversarial changes of their input.

The attacks are those of the Adversarial Robustness Toolbox (the extra `robustness`).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.data.splits import Split
from sparsecode.losses.task import Classify
from sparsecode.models.amortised import AmortisedModel
from sparsecode.ops.rng import generator
from sparsecode.specs import Count, Positive, Spec

__all__ = ["Attack", "Robustness", "robustness"]


class Attack(Spec, tag="attack"):
    """Changes of at most `eps` per feature (or of 2-norm `eps`), `steps` of them uphill on the cross-entropy.

    `pgd`: steps of `eps` / 4 along the sign of the gradient (Madry et al., ICLR 2018); `apgd`: step sizes that adapt, best of
    `restarts` random starts (Croce & Hein, ICML 2020). With `draws` > 0 the network keeps the noise it was trained with, and
    both attack and answers go through the mean of its logits over so many draws (expectation over transformation: Athalye et
    al., ICML 2018); with 0 its noise is off.
    """

    kind: Literal["pgd", "apgd"] = "pgd"
    eps: Annotated[Positive, Meta(description="in units of the data")] = 8 / 255
    norm: Literal["inf", "2"] = "inf"
    steps: Count = 10
    restarts: Count = 1
    draws: Annotated[int, Meta(ge=0, description="draws of noise to average over; 0: noise off")] = 0


class Robustness(Spec, tag="robustness"):
    """Shares of `n` samples that are classified right: clean, with changes of the same size at random, and attacked."""

    n: int
    attack: Attack
    clean: float
    random: float
    attacked: float


def robustness(
    model: AmortisedModel, split: Split, attack: Attack, clip: tuple[float, float] | None, seed: int = 0
) -> Robustness:
    """Attack every sample of a split, in data space, values clipped to `clip`.

    Raises ValueError for models that do not classify, and ImportError without the toolbox.
    """
    if not isinstance(model.spec.task, Classify) or split.label is None:
        raise ValueError("attacks need a model that classifies, and labels; expected task 'classify'")
    x, label = split.x, split.label
    network = _Logits(model, attack.draws, seed)
    spread = torch.rand(x.shape, generator=generator(seed, "random")).to(x) * 2 - 1
    change = attack.eps * (spread.sign() if attack.norm == "inf" else _to_norm(spread))
    moved = x + change if clip is None else (x + change).clamp(*clip)
    with _drawn(seed):
        result = torch.from_numpy(_attacker(network, model, attack, clip, x).generate(_numbers(x), _numbers(label)))
    shares = [float((network(value.to(x)).argmax(dim=1) == label).double().mean()) for value in (x, moved, result)]
    return Robustness(len(x), attack, *shares)


class _Logits(nn.Module):
    """The network in the form that the toolbox expects: samples in, logits out."""

    def __init__(self, model: AmortisedModel, draws: int, seed: int) -> None:
        super().__init__()
        self.model, self.draws, self.seed, self.calls = model, draws, seed, 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.draws:
            return self.model.respond(x)
        self.calls += 1
        rngs = [generator(self.seed, "attack", self.calls, draw) for draw in range(self.draws)]
        return torch.stack([self.model.respond(x, rng) for rng in rngs]).mean(dim=0)


def _attacker(
    network: nn.Module, model: AmortisedModel, attack: Attack, clip: tuple[float, float] | None, x: Tensor
) -> Any:
    try:
        from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier
    except ImportError as error:
        raise ImportError(
            f"attacks need the Adversarial Robustness Toolbox ({error}); pip install 'sparsecode[robustness]'"
        ) from None
    assert model.n_classes is not None
    target = PyTorchClassifier(
        network,
        loss=nn.CrossEntropyLoss(),
        input_shape=model.shape,
        nb_classes=model.n_classes,
        clip_values=clip,
        device_type="gpu" if x.is_cuda else "cpu",
    )
    norm = np.inf if attack.norm == "inf" else 2
    common: dict[str, Any] = {
        "norm": norm,
        "eps": attack.eps,
        "eps_step": attack.eps / 4,
        "max_iter": attack.steps,
        "batch_size": 256,
        "verbose": False,
    }
    if attack.kind == "pgd":
        return ProjectedGradientDescentPyTorch(target, num_random_init=attack.restarts - 1, **common)
    return AutoProjectedGradientDescent(target, nb_random_init=attack.restarts, loss_type="cross_entropy", **common)


def _numbers(x: Tensor) -> Any:
    return x.detach().cpu().numpy()


def _to_norm(x: Tensor) -> Tensor:
    return nn.functional.normalize(x.flatten(1), dim=1).reshape(x.shape)


@contextmanager
def _drawn(seed: int) -> Generator[None]:
    """The toolbox draws its starts from numpy's global generator: seeded for it, and put back."""
    before = np.random.get_state(legacy=False)  # noqa: NPY002 - it is the toolbox's
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
