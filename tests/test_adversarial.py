"""Adversarial training: the changes of PGD, their bounds, the gradients of training, resumption; errors under attack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from toys import toy

from sparsecode.cli import main
from sparsecode.data import Augmented, Digits
from sparsecode.data.batches import batches
from sparsecode.evaluate import MeasureSettings, UnderAttack
from sparsecode.losses import Classify, Reconstruct
from sparsecode.models import Amortised, Iterative
from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.stackable import obstacle
from sparsecode.nn import PGD, Affine, ReLU
from sparsecode.ops.rng import Stream
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch, Event
from sparsecode.runner import run
from sparsecode.schedules import Linear
from sparsecode.specs import from_json, to_json
from sparsecode.train import StopTraining

replace = msgspec.structs.replace
FREE = (-1e9, 1e9)
DIGITS = Digits().load()
BATCH = Batch(*DIGITS.train.take(slice(40))[:3])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(task: Classify | Reconstruct, corruption: PGD | None = None) -> AmortisedModel:
    spec = Amortised(
        n_code=30,
        activation=ReLU(),
        task=task,
        corruption=corruption,
        encoder=Affine(centred=False, start="uniform"),
        arithmetic="exact",
    )
    built = spec.build((8, 8), seed=0)
    built.initialise_(DIGITS.train.x)
    return built


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_the_worst_change_of_a_linear_error_is_known(norm: Any) -> None:
    w, x = torch.randn(6, generator=rng(1)), torch.randn(20, 6, generator=rng(2))
    result = PGD(norm=norm, random_start=False).attack(x, lambda x: x @ w, 0.3, FREE, rng()) - x
    worst = w.sign() if norm == "inf" else w / torch.linalg.vector_norm(w)
    torch.testing.assert_close(result, (0.3 * worst).expand(20, 6))


def test_one_step_of_its_size_is_the_fast_gradient_sign_method() -> None:
    w, x = torch.randn(6, generator=rng(1)), torch.randn(20, 6, generator=rng(2))
    fast = PGD(steps=1, step_size=0.3, random_start=False)
    torch.testing.assert_close(fast.attack(x, lambda x: x @ w, 0.3, FREE, rng()), x + 0.3 * w.sign())


@pytest.mark.parametrize("task", [Classify(n_classes=10), Reconstruct()], ids=["classify", "reconstruct"])
@pytest.mark.parametrize("norm", ["inf", "2"])
def test_changes_stay_in_the_ball_and_range_and_raise_the_error(norm: Any, task: Classify | Reconstruct) -> None:
    eps = 0.1 if norm == "inf" else 0.5
    attack, net, x = PGD(norm=norm, steps=10, clip=True), model(task).eval(), BATCH.x.flatten(1)
    with torch.no_grad():  # as evaluation is
        worst, same, other = (
            attack.attack(x, lambda x: net.error(x, BATCH), eps, (0.0, 1.0), rng(seed)) for seed in (0, 0, 1)
        )
        random = x + eps * (torch.rand(x.shape, generator=rng()) * 2 - 1 if norm == "inf" else 0.1)
        errors = [float(net.error(rows, BATCH).mean()) for rows in (x, random, worst)]
    assert torch.equal(worst, same)
    assert not torch.equal(worst, other)
    assert torch.equal(x, BATCH.x.flatten(1))
    size = (worst - x).abs().amax(dim=1) if norm == "inf" else torch.linalg.vector_norm(worst - x, dim=1)
    assert float(size.max()) <= eps * (1 + 1e-5)
    assert 0 <= float(worst.min()) <= float(worst.max()) <= 1
    assert errors[2] > 1.05 * max(errors[:2])
    assert all(param.grad is None for param in net.parameters())


def test_weights_get_the_gradient_of_the_loss_at_the_changed_samples_against_the_clean_ones() -> None:
    attack = PGD(eps=0.1, steps=2, clip=True)
    trained, plain = model(Reconstruct(), attack).train(), model(Reconstruct())
    trained.loss(BATCH, 3, Stream(5, 3)).total.backward()
    clean = BATCH.x.flatten(1)
    changed = attack.attack(clean, lambda x: plain.error(x, BATCH), 0.1, (0.0, 1.0), Stream(5, 3)("corruption"))
    assert not torch.equal(changed, clean)
    plain.error(changed, BATCH).mean().backward()
    ours, theirs = dict(trained.named_parameters()), dict(plain.named_parameters())
    for name, param in ours.items():
        torch.testing.assert_close(param.grad, theirs[name].grad, atol=1e-5, rtol=1e-4)


def test_evaluation_is_clean_and_a_schedule_may_begin_at_0() -> None:
    attacked = model(Classify(n_classes=10), PGD(eps=Linear(start=0, stop=0.1, delay=10, length=10)))
    plain = model(Classify(n_classes=10))

    def loss(net: AmortisedModel, step: int) -> float:
        return float(net.loss(BATCH, step, Stream(0, step)).total.detach())

    attacked.eval()
    assert loss(attacked, 50) == loss(plain, 50)
    attacked.train()
    before, late, last = (loss(attacked, step) for step in (5, 15, 20))
    assert before == loss(plain, 5)
    assert last > late > before


def test_pgd_survives_json_and_is_refused_where_no_gradient_is() -> None:
    spec = RECIPES["noise-mnist-adversarial"]().model
    assert isinstance(spec, Amortised)
    assert from_json(to_json(spec), Amortised) == spec
    assert "'pgd'" in str(obstacle(replace(spec, task=Reconstruct())))
    with pytest.raises(ValueError, match=r"Iterative.*corruption"):
        Iterative(n_code=5, weight=0.1, corruption=PGD())  # pyright: ignore[reportArgumentType] - that is the error
    with pytest.raises(ValueError, match=r"PGD\.eps"):
        PGD(eps=-0.1)


def test_training_with_both_resumes_to_the_same_bits(tmp_path: Path) -> None:
    config = toy("noise-mnist-adversarial", tmp_path, steps=8)
    config = replace(config, data=Augmented(source=Digits(), pad=1, scale=0.75))

    def stop(event: Event) -> None:
        if event.kind == "train" and event.step == 4:
            raise StopTraining("enough")

    run(config, tmp_path / "a", observers=[stop], accelerator="cpu", figures=False)
    for name in ("a", "b"):
        run(config, tmp_path / name, accelerator="cpu", figures=False)
    ours, theirs = (load_file(tmp_path / name / "resume/state.safetensors") for name in ("a", "b"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_adversarial_training_resists_what_misleads_other_training() -> None:
    shares: list[tuple[float, float]] = []
    attack = PGD(eps=0.2, steps=5, clip=True)
    for corruption in (None, PGD(eps=0.2, clip=True)):
        net = model(Classify(n_classes=10), corruption).train()
        adam = torch.optim.Adam(net.parameters(), lr=0.01)
        for step, batch in batches(DIGITS.train, 50, 0, 0, 60):
            adam.zero_grad()
            net.loss(batch, step, Stream(0, step)).total.backward()
            adam.step()
        result = UnderAttack(attack).measure(net.eval(), DIGITS.test, MeasureSettings(), 0)["model"]
        assert result.clean_accuracy is not None
        assert result.attacked_accuracy is not None
        shares.append((result.clean_accuracy, result.attacked_accuracy))
    (plain, misled), (_, resisting) = shares
    assert misled < plain - 0.2
    assert resisting > misled + 0.1


def test_errors_under_attack_of_autoencoders_have_no_accuracy_and_need_labels_for_classifiers() -> None:
    split = DIGITS.test.take(slice(30))
    result = UnderAttack().measure(model(Reconstruct()).eval(), split, MeasureSettings(), 0)["model"]
    assert result.attacked_error > result.clean_error
    assert (result.clean_accuracy, result.n) == (None, 30)
    assert not UnderAttack().measure(model(Classify(n_classes=10)), split._replace(label=None), MeasureSettings(), 0)


@pytest.mark.slow
def test_the_attack_command_averages_nothing_over_draws_that_there_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy("noise-mnist-adversarial", tmp_path, steps=2)
    run(config, tmp_path / "run", accelerator="cpu", figures=False)
    assert main(["attack", str(tmp_path / "run"), "--draws", "2", "--samples", "5", "--steps", "1"]) == 0
    assert "mean of" not in capsys.readouterr().out
