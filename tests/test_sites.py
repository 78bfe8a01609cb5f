"""Transcoders and crosscoders: configurations of one model, on halves of real digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import Tensor
from toys import halves, toy

from sparsecode.cli import main
from sparsecode.data import Digits, Splits
from sparsecode.evaluate.analysis import analyse
from sparsecode.evaluate.evaluation import Evaluate, evaluate_model
from sparsecode.evaluate.metrics import ExplainedVariance
from sparsecode.evaluate.reconstruction.score import score
from sparsecode.evaluate.reconstruction.sites import LinearBaseline, SiteScores, linear_map, site_scores
from sparsecode.losses import AuxK, Matryoshka, Predict, Resample, Sparsity
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.models.iterative import Iterative
from sparsecode.models.sparse_step import sparse_step
from sparsecode.models.stackable import obstacle
from sparsecode.models.storage import build_model, load_model, save_model
from sparsecode.nn.activations import BatchTopK, Gated, JumpReLU, ReLU, TopK
from sparsecode.nn.affine import Affine, BiasedDictionary, BiasedDictionaryModule
from sparsecode.nn.constraints import Free
from sparsecode.nn.normalisers import Centre, Normaliser, Standardise, Whiten
from sparsecode.ops.rng import Stream
from sparsecode.penalties import L1
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch
from sparsecode.runner import run
from sparsecode.runs import RunFolder

PLAIN = Affine(centred=False, start="uniform")
FREE = BiasedDictionary(constraint=Free(), bias="zero", sites=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("halves")


@pytest.fixture(scope="module")
def upper_to_lower(folder: Path) -> Splits:
    return halves(folder, predict=True).load()


def transcoder(n_code: int = 24, normaliser: Normaliser | None = None, skip: bool = False, **parts: Any) -> Amortised:
    task = Predict(normaliser=normaliser or Centre(), skip=skip)
    chosen: dict[str, Any] = {"activation": TopK(4), "encoder": PLAIN, "normaliser": Centre(), **parts}
    return Amortised(n_code=n_code, task=task, **chosen)


def started(spec: Amortised, splits: Splits) -> AmortisedModel:
    model = spec.build(splits.shape, 0, splits.target_shape)
    model.initialise_(splits.train.x, splits.train.target)
    return model


def trained(model: AmortisedModel, splits: Splits, steps: int) -> AmortisedModel:
    optimiser = torch.optim.Adam(model.train().parameters(), lr=3e-3)
    for step in range(steps):
        optimiser.zero_grad()
        model.loss(Batch(splits.train.x, splits.train.target), step, Stream(0, step)).total.backward()
        model.project_grads_()
        optimiser.step()
        model.constrain_()
    return model.eval()


def target_of(splits: Splits) -> Tensor:
    assert splits.test.target is not None
    return splits.test.target


# Transcoders


@torch.no_grad()
@pytest.mark.parametrize("skip", [False, True])
def test_the_loss_is_the_error_of_the_target_in_its_own_space(skip: bool, upper_to_lower: Splits) -> None:
    model = started(transcoder(skip=skip, normaliser=Standardise()), upper_to_lower).double().train()
    part = upper_to_lower.train.take(slice(50)).to(torch.device("cpu"), torch.float64)
    assert part.target is not None
    predict = model.predict
    assert predict is not None
    if predict.skip is not None:
        assert float(predict.skip.abs().max()) == 0  # where it starts
        predict.skip.data += 0.1 * torch.randn(predict.skip.shape, generator=torch.Generator().manual_seed(0)).double()
    loss = model.loss(Batch(part.x, part.target), 0, Stream(0, 0))
    y = part.target.flatten(1)
    z, x = model.encode(part.x), model.normalise(part.x)
    made = z @ model.decoder.atoms + model.decoder.bias  # pyright: ignore - it is a dictionary
    made = made if predict.skip is None else made + x @ predict.skip.T
    wanted = (y - predict.normaliser.shift) / predict.normaliser.scale
    torch.testing.assert_close(loss.parts["fidelity"], (wanted - made).square().sum(dim=1).mean())
    torch.testing.assert_close(model.reconstruct(part.x), made * predict.normaliser.scale + predict.normaliser.shift)
    error = model.objective(Batch(part.x, part.target), z)
    torch.testing.assert_close(error.mean(), loss.parts["fidelity"])
    assert float(predict.normaliser.shift[0]) == pytest.approx(float(upper_to_lower.train.target.mean()), rel=1e-5)  # pyright: ignore - there


@pytest.mark.parametrize("skip", [False, True])
def test_wide_transcoders_take_sparse_steps_to_the_same_gradients(skip: bool, upper_to_lower: Splits) -> None:
    specs = (transcoder(1100, skip=skip, arithmetic=how, terms=(AuxK(dead_after=1),)) for how in ("dense", "exact"))
    dense, sparse = (started(spec, upper_to_lower).train() for spec in specs)
    batch = Batch(upper_to_lower.train.x[:40], upper_to_lower.train.target[:40])  # pyright: ignore - there
    for step in range(2):
        for model in (dense, sparse):
            model.zero_grad()
            model.loss(batch, step, Stream(0, step)).total.backward()
    made = sparse_step(
        sparse.encoder, sparse.activation, sparse.decoder, sparse.terms, sparse.normalise(batch.x),  # pyright: ignore - they are
        sparse.predict.wanted(batch.target), 0, training=False, arithmetic="exact",  # pyright: ignore - there
    )  # fmt: skip
    assert made is not None
    for (name, one), other in zip(dense.named_parameters(), sparse.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-5 * float(one.grad.abs().max()), msg=name)


@pytest.mark.parametrize(
    "parts",
    [
        {"activation": JumpReLU(), "terms": (Sparsity(L1(positive=True), weight=0.1),)},
        {"activation": Gated(), "encoder": Affine(centred=False, start="uniform", bias=False)},
        {"activation": BatchTopK(4), "terms": (Matryoshka(sizes=(6, 12)),)},
        {"decoder": BiasedDictionary(start="samples")},
    ],
    ids=["jumprelu", "gated", "matryoshka", "samples"],
)
def test_any_activation_and_terms_of_outputs_go_with_a_target(parts: dict[str, Any], upper_to_lower: Splits) -> None:
    model = trained(started(transcoder(normaliser=Whiten(), skip=True, **parts), upper_to_lower), upper_to_lower, 3)
    assert all(bool(param.isfinite().all()) and param.grad is not None for param in model.parameters())
    assert model.reconstruct(upper_to_lower.test.x).shape == target_of(upper_to_lower).shape


def test_a_skip_connection_learns_what_is_linear(upper_to_lower: Splits) -> None:
    scores = {
        skip: score(model, model.encode, upper_to_lower.test, upper_to_lower.data_range)
        for skip in (False, True)
        for model in [trained(started(transcoder(skip=skip), upper_to_lower), upper_to_lower, 60)]
    }
    plain, with_skip = (scores[skip].explained_variance for skip in (False, True))
    assert plain is not None
    assert with_skip is not None
    assert 0.1 < plain < with_skip


def test_scores_are_of_the_target(upper_to_lower: Splits) -> None:
    model, part = trained(started(transcoder(), upper_to_lower), upper_to_lower, 20), upper_to_lower.test
    actual = score(model, model.encode, part, upper_to_lower.data_range)
    made, wanted = model.reconstruct(part.x).detach(), target_of(upper_to_lower)
    assert actual.mse == pytest.approx(float((made - wanted).double().square().mean()), rel=1e-5)
    variance = ExplainedVariance()
    variance.update(wanted, made)
    assert actual.explained_variance == pytest.approx(variance.result())
    assert actual.objective_of == "|y - decode(z)|^2 in model space"
    error = model.objective(Batch(part.x, part.target), model.encode(part.x).detach())
    assert actual.objective == pytest.approx(float(error.mean()), rel=1e-5)
    with pytest.raises(ValueError, match=r"predicts targets of shape \(32,\), and the samples have none; choose"):
        score(model, model.encode, part._replace(target=None), 1.0)
    with pytest.raises(ValueError, match=r"the samples have those of shape \(31,\)"):
        score(model, model.encode, part._replace(target=wanted[:, :31]), 1.0)
    with pytest.raises(ValueError, match="this model predicts a target; see its scores"):
        analyse(model, upper_to_lower)


def test_the_linear_baseline_is_least_squares(upper_to_lower: Splits) -> None:
    train, test = upper_to_lower.train, upper_to_lower.test
    actual = linear_map(train, test)
    assert actual is not None
    theirs = LinearRegression().fit(train.x.numpy(), train.target.numpy()).predict(test.x.numpy())  # pyright: ignore - there
    assert actual.mse == pytest.approx(
        float((torch.from_numpy(theirs) - target_of(upper_to_lower)).square().mean()), rel=0.02
    )
    assert (actual.n, actual.n_train) == (test.n, train.n)
    assert linear_map(train._replace(target=None), test) is None


def test_a_transcoder_is_scored_beside_the_linear_map(upper_to_lower: Splits) -> None:
    model = started(transcoder(), upper_to_lower).eval()
    actual = evaluate_model(model, upper_to_lower, Evaluate(), 0)
    assert actual.of(LinearBaseline) == {"model": linear_map(upper_to_lower.train, upper_to_lower.test)}
    assert set(actual.measures) == {"scores", "linear_map"}  # it is not there to restore or denoise


def test_a_model_folder_keeps_the_shape_of_the_target(upper_to_lower: Splits, tmp_path: Path) -> None:
    splits = upper_to_lower._replace(train=upper_to_lower.train._replace(target=upper_to_lower.train.target[:, :7]))  # pyright: ignore - there
    model = started(transcoder(skip=True), splits).eval()
    save_model(model, tmp_path, {})
    loaded = load_model(tmp_path)
    assert loaded.target_shape == (7,)
    assert torch.equal(loaded.reconstruct(splits.test.x), model.reconstruct(splits.test.x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"encoder": Affine(centred=False)},
            r"encoder\.start needs a reconstruction of the sample, and task is 'predict'",
        ),
        ({"encoder": Affine(start="uniform")}, r"encoder\.centred needs a reconstruction"),
        ({"terms": (Resample(),)}, r"terms\.resample needs a reconstruction"),
    ],
)
def test_what_needs_the_sample_back_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transcoder(**change)


def test_models_and_data_agree_on_whether_there_is_a_target(
    upper_to_lower: Splits, folder: Path, tmp_path: Path
) -> None:
    for spec in (Amortised(n_code=8, activation=ReLU()), Iterative(n_code=8, weight=0.1)):
        with pytest.raises(ValueError, match=r"the data have targets of shape \(32,\), which the model does not use"):
            build_model(spec, (32,), 0, (32,))
    with pytest.raises(
        ValueError, match="task is 'predict', and the samples have no target; choose data that have one"
    ):
        build_model(transcoder(), (32,), 0)
    config = msgspec.structs.replace(toy("acts-transcoder", folder), data=Digits())
    with pytest.raises(ValueError, match="the samples have no target"):
        run(config, tmp_path / "run", accelerator="cpu", figures=False)
    assert not (tmp_path / "run" / "config.json").exists()
    model = started(transcoder(), upper_to_lower)
    with pytest.raises(ValueError, match=r"target has shape \(31,\); expected \(32,\), which the model predicts"):
        model.loss(Batch(upper_to_lower.train.x, upper_to_lower.train.target[:, 1:]), 0, Stream(0, 0))  # pyright: ignore - there


# Crosscoders


@pytest.fixture(scope="module")
def both(folder: Path) -> Splits:
    return halves(folder, predict=False).load()


def crosscoder(**parts: Any) -> Amortised:
    chosen: dict[str, Any] = {
        "terms": (Sparsity(L1(positive=True), weight=0.5, norm_weighted=True),),
        "normaliser": Centre(sites=True),
        "encoder": Affine(centred=False),
        **parts,
    }
    return Amortised(n_code=24, activation=ReLU(), decoder=FREE, **chosen)


@torch.no_grad()
@pytest.mark.parametrize("arithmetic", ["dense", "exact"])
def test_the_penalty_weighs_codes_by_the_sum_of_norms_over_sites(arithmetic: str, both: Splits) -> None:
    spec = msgspec.structs.replace(crosscoder(arithmetic=arithmetic), n_code=1100)
    model = started(spec, both).train()
    assert isinstance(model.decoder, BiasedDictionaryModule)
    model.decoder.atoms[:, :32] *= 3
    x = both.train.x[:50]
    loss = model.loss(Batch(x), 0, Stream(0, 0))
    z, atoms = model.encode(x), model.decoder.atoms
    norms = atoms[:, :32].norm(dim=1) + atoms[:, 32:].norm(dim=1)
    torch.testing.assert_close(loss.parts["penalty"].float(), 0.5 * (z * norms).sum(dim=1).mean(), rtol=1e-4, atol=0)
    assert float(norms.mean()) > 1.2 * float(atoms.norm(dim=1).mean())  # that of whole atoms is another penalty
    error = (model.normalise(x) - model.decode(z)).square().sum(dim=1)
    energy = model.energy(x, z)
    torch.testing.assert_close(energy, error + 0.5 * (z * norms).sum(dim=1), rtol=1e-4, atol=1e-4)


def test_scores_of_each_site(both: Splits) -> None:
    model = trained(started(crosscoder(), both), both, 30)
    assert isinstance(model.decoder, BiasedDictionaryModule)
    model.decoder.atoms.data[0, :32] = 0.0
    actual, made = site_scores(model, model.encode, both.test).sites, model.reconstruct(both.test.x).detach()
    for site in (0, 1):
        variance = ExplainedVariance()
        variance.update(both.test.x[:, site], made[:, site])
        assert actual[site].explained_variance == pytest.approx(variance.result())
        assert actual[site].mse == pytest.approx(variance.mse())
    assert actual[0].norm_share + actual[1].norm_share == pytest.approx(1)
    assert (actual[0].alone, actual[1].alone) == (0, 1)
    whole = score(model, model.encode, both.test, 1.0)
    assert whole.mse == pytest.approx((actual[0].mse + actual[1].mse) / 2)


def test_models_without_sites_have_no_such_scores(upper_to_lower: Splits) -> None:
    model = started(transcoder(), upper_to_lower)
    with pytest.raises(ValueError, match="the model has one site"):
        site_scores(model, model.encode, upper_to_lower.test)


def test_plain_crosscoders_are_not_stacked() -> None:
    assert obstacle(crosscoder(terms=())) == "model.decoder has sites"
    assert obstacle(transcoder(activation=ReLU())) == "model.task is set"


def test_sites_are_an_axis_of_samples() -> None:
    with pytest.raises(
        ValueError, match=r"decoder has sites, and samples have shape \(64,\); expected \[sites, \.\.\.\]"
    ):
        crosscoder(normaliser=Centre()).build((64,), 0, None)


def test_crosscoders_learn_codes_in_common(both: Splits) -> None:
    model = trained(started(crosscoder(), both), both, 100)
    actual = site_scores(model, model.encode, both.test).sites
    assert min(site.explained_variance or 0 for site in actual) > 0.4
    assert all(site.alone < 12 for site in actual)


# Recipes


@pytest.mark.parametrize("name", [pytest.param("acts-transcoder", marks=pytest.mark.slow), "acts-crosscoder"])
def test_the_command_trains_and_scores_one(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = msgspec.json.encode(toy(name, folder).data).decode()
    out = str(tmp_path / name)
    small = ["--model.n-code", "40", "--train.epochs", "2", "--train.batch-size", "20"]
    assert main(["train", name, "--out", out, "--set", f"data={data}", *small, "--accelerator", "cpu"]) == 0
    assert main(["eval", out]) == 0
    shown, kept = capsys.readouterr().out, RunFolder(tmp_path / name).evaluation()
    assert kept is not None
    if name == "acts-crosscoder":
        (at,) = kept.of(SiteScores).values()
        assert f"{at.sites[1].explained_variance:.4f}" in shown
        validated = [r for r in RunFolder(tmp_path / name).metrics() if r["kind"] == "evaluate"]
        assert {"sites/encode/explained_variance_0", "sites/encode/explained_variance_1"} <= validated[-1].keys()
    else:
        (baseline,) = kept.of(LinearBaseline).values()
        assert f"{baseline.explained_variance:.4f}" in shown
    assert {p.stem for p in (tmp_path / name / "figures").iterdir()} == {"curves", "usage"}  # sites are no image


SEES = "model.terms.l1 has a target_l0"


def test_they_are_configurations_that_train_one_at_a_time() -> None:
    for name in ("acts-transcoder", "acts-skip-transcoder", "acts-crosscoder"):
        model = RECIPES[name]().model
        assert isinstance(model, Amortised)
        assert isinstance(model.task, Predict) != (model.decoder == FREE)
        assert obstacle(model) in (
            "model.activation is 'topk', which is not a plain function of each pre-activation",
            SEES,
        )
