"""What a sparse autoencoder must do, beside what every model must."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from toys import toy

from sparsecode.cli.main import main
from sparsecode.data import Digits
from sparsecode.evaluate.reconstruction.calibration import Calibration
from sparsecode.evaluate.reconstruction.restoration import restore
from sparsecode.losses import KL, AuxK, Classify, Matryoshka, Resample, Sparsity, TargetL0
from sparsecode.models import amortised
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.nn.activations import BatchTopK, Gated, JumpReLU, ReLU, Satlin, Sigmoid, TopK
from sparsecode.nn.affine import Affine, BiasedDictionary
from sparsecode.nn.constraints import Free
from sparsecode.nn.corruptions import Half
from sparsecode.nn.encoders import LISTA
from sparsecode.nn.perceptron import Perceptron
from sparsecode.ops.rng import Stream
from sparsecode.penalties import L0, L1, GroupL2, Hoyer, LogSum, TanhPenalty
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch
from sparsecode.runner import run
from sparsecode.runs import Run

SHAPE = (1, 8, 8)
PLAIN = Affine(centred=False, start="uniform")


def images(n: int = 200) -> torch.Tensor:
    return Digits().load().train.x[:n]


def trained(spec: Amortised, steps: int, rate: float = 3e-3) -> tuple[Any, list[dict[str, float]]]:
    """A model after some steps on all the images at once, and the watched numbers of each."""
    x = images()
    model = spec.build((8, 8), seed=0)
    model.initialise_(x)
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    seen: list[dict[str, float]] = []
    for step in range(steps):
        loss = model.loss(Batch(x), step, Stream(0, step))
        seen.append({name: float(value.detach()) for name, value in (loss.parts | loss.stats).items()})
        optimiser.zero_grad()
        loss.total.backward()
        model.project_grads_()
        optimiser.step()
        model.constrain_()
    return model.eval(), seen


@pytest.mark.parametrize(
    "penalty",
    [L1(), *(pytest.param(p, marks=pytest.mark.slow) for p in (TanhPenalty(), LogSum(), Hoyer()))],
    ids=lambda p: type(p).__name__,
)
def test_every_penalty_is_led_to_the_wanted_count(penalty: Any) -> None:
    weight = 1.0 if isinstance(penalty, Hoyer) else 0.1
    target = TargetL0(l0=12, rate=0.02, damping=3.0)  # the rule of constant rate, with the damping that it was made for
    spec = Amortised(n_code=96, activation=ReLU(), terms=(Sparsity(penalty, weight=weight, target_l0=target),))
    _, seen = trained(spec, 350 if isinstance(penalty, L1) else 700)
    assert sum(s["l0"] for s in seen[-50:]) / 50 == pytest.approx(12, rel=0.1)


@pytest.mark.slow
def test_thresholds_are_led_to_the_wanted_count() -> None:
    spec = Amortised(
        n_code=96,
        activation=JumpReLU(threshold=0.1, bandwidth=0.2),
        terms=(Sparsity(L0(), weight=0.01, target_l0=TargetL0(l0=12)),),
    )
    _, seen = trained(spec, 700)
    assert sum(s["l0"] for s in seen[-50:]) / 50 == pytest.approx(12, rel=0.1)


@pytest.mark.parametrize(("activation", "penalty", "l0"), [(ReLU(), L1(), 4.0), (JumpReLU(), L0(), None)])
def test_training_with_a_target_starts_from_sparse_codes(activation: Any, penalty: Any, l0: float | None) -> None:
    """At the target under ReLU; thresholds, and codes that are sparser already, stay as they were."""

    def started(target: TargetL0 | None) -> AmortisedModel:
        model = Amortised(
            n_code=96,
            activation=activation,
            terms=(Sparsity(penalty, target_l0=target),),
        ).build((8, 8), seed=0)
        model.initialise_(images())
        return model

    plain = started(None)
    actual = float((started(TargetL0(l0=4)).encode(images()) != 0).sum(dim=1).double().mean())
    dense = float((plain.encode(images()) != 0).sum(dim=1).double().mean())
    assert dense > 20
    assert actual == pytest.approx(dense if l0 is None else l0, abs=0.1)
    same = started(TargetL0(l0=90)).state_dict()
    assert all(torch.equal(value, same[name]) for name, value in plain.state_dict().items())


@pytest.mark.slow
def test_kl_is_led_to_the_wanted_count_above_a_level() -> None:
    spec = Amortised(
        n_code=96,
        activation=Sigmoid(),
        terms=(KL(weight=0.1, target_l0=TargetL0(l0=8, theta=0.2, rate=0.02, damping=1)),),
    )
    _, seen = trained(spec, 700)
    assert sum(s["l0"] for s in seen[-50:]) / 50 == pytest.approx(8, rel=0.1)


def test_narrow_windows_are_reported_as_saturation(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Amortised(
        n_code=96, activation=JumpReLU(threshold=0.1, bandwidth=1e-6), terms=(Sparsity(L0(), weight=0.01),)
    )
    model, _ = trained(spec, 5)
    rows: list[int] = []
    monkeypatch.setattr(amortised, "ENTRIES", 96 * 32)
    monkeypatch.setattr(
        model, "pre_activations", lambda x: (rows.append(len(x)), type(model).pre_activations(model, x))[1]
    )
    (warning,) = model.warnings(images())
    assert set(rows[:-1]) == {32}  # in bounded memory
    assert sum(rows) == len(images())
    assert "the weight of 'l0' is saturated" in warning
    assert "widen the bandwidth" in warning


@pytest.mark.slow
def test_solved_codes_are_led_to_the_wanted_count(tmp_path: Path) -> None:
    config = toy("digits-sdl", tmp_path, steps=300)
    model = msgspec.structs.replace(config.model, target_l0=TargetL0(l0=4, rate=0.05))
    train = msgspec.structs.replace(config.train, select="last")
    result = run(
        msgspec.structs.replace(config, model=model, train=train), tmp_path / "run", accelerator="cpu", figures=False
    )
    l0 = [float(r["l0"]) for r in result.folder.metrics() if r["kind"] == "train"][-60:]
    assert sum(l0) / len(l0) == pytest.approx(4, rel=0.1)


@cache
def revived_of_ten(text: bytes) -> int:
    """How many of ten codes that begin inactive on every image are active on one after 150 steps; the spec is given as JSON."""
    spec = msgspec.json.decode(text, type=Amortised)
    x, dead = images(), slice(0, 10)
    model = spec.build((8, 8), 0)
    model.initialise_(x)
    with torch.no_grad():
        encoder: Any = model.encoder
        encoder.weight[dead] = -encoder.weight[dead].abs() * 0.01  # off for every image
        if encoder.bias is not None:
            encoder.bias[dead] = -0.5
        if isinstance(spec.activation, Gated):
            model.activation.get_parameter("gate_bias")[dead] = -0.5
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(150):
        optimiser.zero_grad()
        model.loss(Batch(x), step, Stream(0, step)).total.backward()
        model.project_grads_()
        optimiser.step()
        model.constrain_()
    return int((model.eval().encode(x)[:, dead] != 0).any(dim=0).sum())


@pytest.mark.parametrize(
    "revival", [AuxK(dead_after=1000), Resample(every=20, dead_after=1000, scale=1.0)], ids=["auxk", "resample"]
)
@pytest.mark.parametrize(
    "activation",
    [
        TopK(4),
        Gated(),
        *(pytest.param(a, marks=pytest.mark.slow) for a in (BatchTopK(4), JumpReLU(), ReLU(), Satlin())),
    ],
    ids=lambda a: type(a).__name__,
)
def test_dead_codes_are_revived(activation: Any, revival: AuxK | Resample) -> None:
    penalties = (Sparsity(L1(), weight=1e-3),) if isinstance(activation, Gated) else ()
    spec = Amortised(
        n_code=48,
        activation=activation,
        terms=(*penalties, revival),
        encoder=Affine(bias=not isinstance(activation, Gated)),
    )
    assert revived_of_ten(msgspec.json.encode(msgspec.structs.replace(spec, terms=penalties))) == 0
    assert revived_of_ten(msgspec.json.encode(spec)) >= 5


def test_prefixes_reconstruct_by_themselves() -> None:
    plain = Amortised(n_code=48, activation=TopK(6))
    nested = msgspec.structs.replace(plain, terms=(Matryoshka(sizes=(8, 16)),))
    x, errors = images(), list[float]()
    for spec in (plain, nested):
        model, _ = trained(spec, 150)
        z = model.encode(x)
        z[:, 8:] = 0
        errors.append(float((model.denormalise(model.decode(z).detach()) - x).square().sum(dim=(1, 2)).mean()))
    assert errors[1] < 0.8 * errors[0]


def test_the_nested_error_is_the_mean_over_prefixes() -> None:
    model = Amortised(n_code=12, activation=ReLU(), terms=(Matryoshka(sizes=(3, 7)),)).build((8, 8), 0)
    x = images(20)
    loss = model.eval().loss(Batch(x), 0, Stream(0, 0))
    z, target = model.encode(x), model.normalise(x)
    errors: list[torch.Tensor] = []
    for size in (3, 7, 12):
        part = z.clone()
        part[:, size:] = 0
        errors.append((model.decode(part) - target).square().sum(dim=1).mean())
    torch.testing.assert_close(loss.parts["fidelity"], torch.stack(errors).mean())


def test_restoring_reports_what_was_covered_and_what_was_not() -> None:
    model = Amortised(n_code=12, activation=ReLU(), corruption=Half(side="left", fill=0.0)).build((8, 8), 0)
    split = Digits().load().test
    model.initialise_(split.x)
    actual = restore(model, split, 1.0)
    assert actual is not None
    covered = split.x.clone()
    covered[:, :, :4] = 0.0
    y = model.reconstruct(covered).detach()
    square = (split.x - y).double().square()
    assert actual.hidden_mse == pytest.approx(float(square[:, :, :4].mean()), rel=1e-5)
    assert actual.visible_mse == pytest.approx(float(square[:, :, 4:].mean()), rel=1e-5)
    assert actual.mse == pytest.approx(float(square.mean()), rel=1e-5)
    assert actual.corrupted_mse == pytest.approx(float(split.x[:, :, :4].double().square().mean()) / 2, rel=1e-5)
    assert restore(Amortised(n_code=12, activation=ReLU()).build((8, 8), 0), split, 1.0) is None


@pytest.mark.parametrize("seed", range(20))
def test_satlin_with_kl_stays_finite_for_every_seed(seed: int) -> None:
    recipe = RECIPES["digits-satlin"]().model
    model = recipe.build((8, 8), seed)
    x = images(64)
    model.initialise_(x)
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(10):
        optimiser.zero_grad()
        loss = model.loss(Batch(x), step, Stream(seed, step)).total
        loss.backward()
        optimiser.step()
        assert math.isfinite(loss.item())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"activation": TopK(4), "terms": (Sparsity(L0()),)},
            "terms.l0 needs a count of active codes that has a derivative, and activation is 'topk'; choose activation 'jumprelu', "
            "or leave terms.l0 out",
        ),
        (
            {"activation": ReLU(), "terms": (KL(),)},
            r"terms.kl needs codes in \[0, 1\], and activation is 'relu'; choose activation 'sigmoid' or 'satlin'",
        ),
        ({"activation": Sigmoid(), "terms": (KL(target_l0=TargetL0(l0=3)),)}, "set target_l0.theta to the level"),
        (
            {"activation": Gated()},
            "activation 'gated' needs an encoder without biases, and encoder.bias is True; choose encoder 'affine' with bias false",
        ),
        (
            {"activation": TopK(4), "encoder": LISTA()},
            "encoder 'lista' needs .* and activation is 'topk'; choose activation",
        ),
        (
            {"activation": ReLU(), "encoder": LISTA(positive=False)},
            "choose encoder.positive true with activation 'relu'",
        ),
        (
            {"activation": ReLU(), "encoder": LISTA(), "terms": (AuxK(),)},
            "encoder is 'lista'; choose encoder 'affine', or leave",
        ),
        (
            {"activation": TopK(4), "terms": (Matryoshka((8, 32)),)},
            "terms.matryoshka.sizes ends at 32; expected below n_code, 32",
        ),
        (
            {"activation": TopK(4), "terms": (AuxK(),), "decoder": BiasedDictionary(output="tanh")},
            "terms.auxk needs a linear dictionary, and decoder.output is 'tanh'; choose",
        ),
        (
            {"activation": TopK(4), "decoder": Perceptron()},
            "encoder.centred needs atoms in data space, and decoder is 'perceptron'; choose decoder 'biased_dictionary', or change",
        ),
        (
            {
                "activation": ReLU(),
                "terms": (Sparsity(L1(), norm_weighted=True),),
                "task": Classify(3),
                "encoder": PLAIN,
            },
            "terms.l1.norm_weighted needs an error of numbers, not of classes, and task is 'classify'; choose task 'reconstruct'",
        ),
        ({"activation": ReLU(), "terms": (Sparsity(L1()), Sparsity(L1(), weight=2.0))}, "terms has 'l1' 2 times"),
        (
            {"activation": ReLU(), "terms": (Sparsity(GroupL2(size=5)),)},
            "terms.group_l2.penalty.size is 5 and n_code 32",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Amortised(n_code=32, **fields)


def test_counts_of_codes_do_not_know_the_norms_of_atoms() -> None:
    with pytest.raises(ValueError, match="penalty 'l0' counts codes of any size; leave norm_weighted out"):
        Sparsity(L0(), norm_weighted=True)


def test_data_beyond_the_output_are_refused() -> None:
    model = Amortised(n_code=4, activation=Sigmoid(), decoder=BiasedDictionary(constraint=Free(), output="tanh")).build(
        SHAPE, 0
    )
    with pytest.raises(
        ValueError, match=r"'tanh', which gives -1 to 1, and the samples span .* choose another normaliser"
    ):
        model.initialise_(5 * torch.rand(10, *SHAPE))


def jumprelu_run(folder: Path, steps: int) -> Run:
    config = toy("acts-jumprelu", folder, steps=steps)
    assert isinstance(config.model, Amortised)
    terms = (Sparsity(L0(), weight=0.5, target_l0=TargetL0(l0=3)),)
    model = msgspec.structs.replace(config.model, terms=terms)
    return msgspec.structs.replace(config, model=model)


def test_a_run_says_how_far_calibration_moved_its_thresholds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(jumprelu_run(tmp_path, 10), tmp_path / "run", accelerator="cpu", figures=False).folder
    evaluation = folder.evaluation()
    assert evaluation is not None
    actual = evaluation.calibration
    assert actual is not None
    assert (actual.wanted, actual.l0_after) == (3, pytest.approx(3, abs=0.01))
    assert actual.l0_before > 2 * actual.wanted
    assert actual.trained is not None
    assert actual.trained > 2 * actual.wanted
    assert actual.explained_variance_before != actual.explained_variance_after
    assert "L0 before calibration was +" in evaluation.warnings[0]
    assert "train longer" in evaluation.warnings[0]
    assert main(["eval", str(folder.path)]) == 0
    assert "L0 before calibration was +" in " ".join(capsys.readouterr().out.split())
    # a run stopped between the two files: its model is calibrated already, and what was before is not lost
    folder.eval_file.unlink()
    assert run(folder.config(), folder.path, accelerator="cpu", figures=False).evaluation == evaluation


def test_small_moves_of_thresholds_are_no_warning_and_old_scores_have_none(tmp_path: Path) -> None:
    close = Calibration(n=100, wanted=32.0, l0_before=33.0, l0_after=32.0, trained=32.1)
    assert close.warnings() == []
    assert close.line() == ("calibration moved thresholds from L0 33 to 32 (32 wanted), on 100 validation samples")
    (far,) = msgspec.structs.replace(close, l0_before=38.4).warnings()
    assert "+20% off" in far
    assert "train on more samples" in far
    (low,) = msgspec.structs.replace(close, l0_before=20.0, trained=22.0).warnings()
    assert "raise target_l0.arrival" in low
    folder = run(toy("digits-topk", tmp_path), tmp_path / "run", accelerator="cpu", figures=False).folder
    stored = msgspec.json.decode(folder.eval_file.read_bytes())
    assert stored["spec"].pop("calibration") is None
    folder.eval_file.write_bytes(msgspec.json.encode(stored))
    evaluation = folder.evaluation()
    assert evaluation is not None
    assert evaluation.calibration is None
