"""Classes one after the other, weights from other runs, and what is forgotten."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import msgspec
import pytest
import torch
from toys import toy

from sparsecode.cli import main
from sparsecode.data import ClassTasks, Digits
from sparsecode.data.batches import batches
from sparsecode.evaluate.networks.forgetting import forgetting
from sparsecode.losses.task import Classify
from sparsecode.models.amortised import Amortised
from sparsecode.nn.affine import Affine
from sparsecode.runner import run
from sparsecode.runs import InitFrom
from sparsecode.train import Adam

replace = msgspec.structs.replace


def test_every_epoch_shows_the_classes_of_its_task_alone() -> None:
    splits = ClassTasks(source=Digits(), epochs_per_task=2, order_seed=3).load()
    stream = splits.training
    tasks = ClassTasks(source=Digits(), order_seed=3).tasks(10)
    assert sorted(c for task in tasks for c in task) == list(range(10))
    assert tasks != ClassTasks(source=Digits()).tasks(10)
    per_epoch = stream.n // 20
    seen: dict[int, set[int]] = {}
    for step, batch in batches(stream, 20, 0, 0, 12 * per_epoch):
        assert batch.label is not None
        seen.setdefault(step // per_epoch, set()).update(batch.label.tolist())
    expected = [set(tasks[min(epoch // 2, 4)]) for epoch in range(12)]
    assert list(seen.values()) == expected
    assert splits.valid.label is not None
    assert len(set(splits.valid.label.tolist())) == 10


def test_the_order_is_a_function_of_the_step() -> None:
    stream = ClassTasks(source=Digits(), epochs_per_task=1).load().training
    whole = {step: batch.x for step, batch in batches(stream, 20, 5, 0, 40)}
    for step, batch in batches(stream, 20, 5, 25, 40):
        assert torch.equal(batch.x, whole[step])


def test_uneven_groups_of_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"per_task is 3, and there are 10 classes; expected a divisor"):
        ClassTasks(source=Digits(), per_task=3).load()


def test_forgetting_is_the_fall_from_the_highest_accuracy() -> None:
    after = [[0.8, 1.0, 0.0, 0.0], [0.4, 0.6, 0.9, 0.7]]
    result = forgetting(after, ((0, 1), (2, 3)))
    assert result.matrix == (pytest.approx((0.9, 0.0)), pytest.approx((0.5, 0.8)))
    assert (result.accuracy, result.forgetting) == (pytest.approx(0.65), pytest.approx(0.4))


def test_weights_of_a_pretrained_run_are_taken_over_and_forgetting_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = toy("noise-digits", tmp_path)
    run(before, tmp_path / "before", accelerator="cpu", figures=False)
    config = toy("noise-mnist-continual", tmp_path)
    assert isinstance(config.model, Amortised)
    epochs = {"epochs": 5.0, "evaluate_every": 1.0}
    config = replace(
        config,
        train=replace(config.train, **epochs),
        init_from=InitFrom(run=str(tmp_path / "before")),
    )
    still = replace(
        config,
        optim=replace(
            config.optim,
            groups={k: msgspec.structs.replace(cast(Adam, g), lr=0.0) for k, g in config.optim.groups.items()},
        ),
    )
    held = run(still, tmp_path / "held", accelerator="cpu", figures=False).folder.best_model()
    source = run(before, tmp_path / "before", accelerator="cpu", figures=False).folder.best_model()
    assert torch.equal(held.state_dict()["encoder.weight"], source.state_dict()["encoder.weight"])

    run(config, tmp_path / "after", accelerator="cpu", figures=False)
    assert main(["forgetting", str(tmp_path / "after")]) == 0
    assert "forgotten" in capsys.readouterr().out
    assert (tmp_path / "after" / "figures" / "forgetting.png").read_bytes().startswith(b"\x89PNG")
    assert main(["forgetting", str(tmp_path / "before")]) == 2
    shutil.rmtree(tmp_path / "before")  # its weights have been taken over
    (tmp_path / "after" / "eval.json").unlink()
    run(config, tmp_path / "after", accelerator="cpu", figures=False)
    run(before, tmp_path / "before", accelerator="cpu", figures=False)
    assert isinstance(config.model, Amortised)
    assert isinstance(config.model.encoder, Affine)
    other = replace(config.model, encoder=replace(config.model.encoder, positive=True))
    with pytest.raises(ValueError, match=r"its encoder\.positive is False, and this model's True; expected the same"):
        run(replace(config, model=other), tmp_path / "other", accelerator="cpu", figures=False)
    wide = replace(config, model=replace(config.model, n_code=30))
    with pytest.raises(ValueError, match=r"encoder\.weight does not fit this model: \(24, 64\) there, \(30, 64\) here"):
        run(wide, tmp_path / "wide", accelerator="cpu", figures=False)


def test_tied_weights_are_no_encoders_own(tmp_path: Path) -> None:
    config = toy("digits-topk", tmp_path, steps=2)
    assert isinstance(config.model, Amortised)
    config = replace(config, model=replace(config.model, encoder=Affine(tied=True)))
    model = run(config, tmp_path / "run", accelerator="cpu", figures=False).folder.best_model()
    with pytest.raises(ValueError, match="'encoder', which is tied"):
        InitFrom(run=str(tmp_path / "run")).apply_(model)


def test_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    config = toy("noise-mnist-classify", tmp_path)
    assert isinstance(config.model, Amortised)
    few = replace(config, model=replace(config.model, task=Classify(n_classes=5)))
    with pytest.raises(ValueError, match=r"task\.n_classes is 5, and labels range from 0 to 9"):
        run(few, tmp_path / "run", accelerator="cpu", figures=False)
