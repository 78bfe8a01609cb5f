"""`sparsecode.fit`: the training of `run` on samples in memory, with a folder and without."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import sparsecode as sc
from sparsecode.cli import main
from sparsecode.data import Arrays, Digits, InMemory, Split, Splits
from sparsecode.data.in_memory import splits_from
from sparsecode.evaluate.measures import STANDARD
from sparsecode.losses import Classify, Predict
from sparsecode.models import Amortised, Iterative, Variational
from sparsecode.nn import Affine, ReLU, TopK
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import Gaussian
from sparsecode.nn.priors import StandardNormal
from sparsecode.records import Event
from sparsecode.runner import RunConflictError
from sparsecode.train import Adam, Optim, Train

X = np.random.default_rng(0).random((300, 12), np.float32)
SPEC = Amortised(n_code=20, activation=TopK(k=3))
SPECS = {
    "amortised": SPEC,
    "iterative": Iterative(n_code=16, weight=0.1),
    "variational": Variational(4, Gaussian(), StandardNormal(), net=Perceptron(hidden=(8,))),
}
QUICK: dict[str, Any] = {"epochs": 2, "progress": False, "evaluate": sc.Evaluate(sigmas=())}


def quick(**changes: Any) -> dict[str, Any]:
    return {**QUICK, **changes}


def weights(model: Any) -> dict[str, torch.Tensor]:
    return dict(model.state_dict())


def same(a: Any, b: Any) -> bool:
    ours, theirs = weights(a), weights(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("family", SPECS)
def test_weights_are_those_of_a_run_of_the_same_config(family: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    fitted = sc.fit(SPECS[family], X, valid=0.1, test=0.1, **QUICK)
    config = msgspec.structs.replace(fitted.config, data=Arrays(path=str(tmp_path / "x.npy")))
    result = sc.run(config, tmp_path / "run", accelerator="cpu", figures=False)
    assert same(fitted.model, result.folder.best_model())
    assert fitted.scores == result.evaluation
    records = [{k: v for k, v in r.items() if k != "seconds"} for r in result.folder.metrics()]
    assert [{k: v for k, v in r.items() if k != "seconds"} for r in fitted.history] == records
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "x.npy"]
    z = fitted.model.encode(X[:3])
    assert isinstance(z, np.ndarray)
    if family == "amortised":
        assert set(fitted.figures()) == {"curves", "usage"}


class Frame:
    """What pandas' data frames are to NumPy."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return X.astype(np.float64)


def mapped(tmp_path: Path) -> Any:
    np.save(tmp_path / "x.npy", X)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def test_it_takes_the_same_samples_in_any_form(tmp_path: Path) -> None:
    expected = sc.fit(SPEC, X, **QUICK)
    tensor = torch.from_numpy(X)
    loader = DataLoader(TensorDataset(tensor), batch_size=expected.config.train.batch_size, shuffle=True)
    for given in (tensor, tensor.double(), Frame(), loader, mapped(tmp_path), splits_from(X)):
        fitted = sc.fit(SPEC, given, **QUICK)
        assert same(fitted.model, expected.model), type(given)
        assert fitted.scores == expected.scores, type(given)
    assert expected.scores is not None
    assert expected.scores.split == "valid"  # without a test split


@pytest.mark.slow
def test_a_data_spec_is_the_data_of_the_config() -> None:
    fitted = sc.fit(SPEC, Digits(), batch_size=200, **QUICK)
    assert fitted.config.data == Digits()
    assert fitted.model.shape == (8, 8)
    assert fitted.scores is not None
    assert fitted.scores.split == "test"


def test_samples_of_their_own_and_labels_reach_the_splits() -> None:
    labels, own = np.arange(300) % 3, Split(torch.from_numpy(X[:20]), label=torch.zeros(20, dtype=torch.long))
    splits = splits_from(X, labels=labels, valid=own, test=0.1)
    assert (splits.train.n, splits.valid.n, splits.test.n) == (270, 20, 30)
    where = {row.tobytes(): label for row, label in zip(X, labels, strict=True)}
    for split in (splits.train, splits.test):
        assert split.label is not None
        assert [where[row.tobytes()] for row in split.x.numpy()] == split.label.tolist()
    classifier = Amortised(
        n_code=20, activation=ReLU(), encoder=Affine(centred=False, start="uniform"), task=Classify(n_classes=3)
    )
    fitted = sc.fit(classifier, X, labels=labels, **QUICK)
    assert fitted.scores is not None
    assert fitted.scores.scores["encode"].accuracy is not None
    loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(labels)), batch_size=50)
    assert same(sc.fit(classifier, loader, batch_size=fitted.config.train.batch_size, **QUICK).model, fitted.model)
    with_targets = splits_from(X, target=2 * X)
    assert with_targets.train.target is not None
    assert torch.equal(with_targets.train.target, 2 * with_targets.train.x)
    assert (with_targets.low, with_targets.high) == with_targets.target_span()


def test_a_target_is_predicted(tmp_path: Path) -> None:
    transcoder = Amortised(
        n_code=20, activation=TopK(k=3), encoder=Affine(centred=False, start="uniform"), task=Predict()
    )
    y = X[:, :5] @ np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    np.savez(tmp_path / "xy.npz", x=X, y=y)
    fitted = sc.fit(transcoder, X, target=y, test=0.1, **QUICK)
    assert fitted.model.target_shape == (4,)
    data = Arrays(path=str(tmp_path / "xy.npz"), key="x", target_key="y")
    result = sc.run(
        msgspec.structs.replace(fitted.config, data=data), tmp_path / "run", accelerator="cpu", figures=False
    )
    assert same(fitted.model, result.folder.best_model())
    assert fitted.scores == result.evaluation
    with pytest.raises(ValueError, match="the data have targets of shape"):
        sc.fit(SPEC, X, target=y, **QUICK)


@dataclasses.dataclass(frozen=True)
class Twice:
    """A user's penalty."""

    positive: bool = True

    def value(self, z: torch.Tensor) -> torch.Tensor:
        return 2 * z.abs().sum(dim=1)

    def prox(self, v: torch.Tensor, t: Any) -> torch.Tensor:
        return torch.relu(v - 2 * t)


@pytest.mark.usefixtures("unchecked")
def test_parts_of_users_train_and_measures_are_chosen(tmp_path: Path) -> None:
    spec = Iterative(n_code=10, weight=0.1, penalty=Twice())  # pyright: ignore[reportArgumentType] - it has a union's methods
    fitted = [
        sc.fit(spec, X, out=out, figures=False, measures=STANDARD[:1], **QUICK) for out in (None, tmp_path / "run")
    ]
    assert same(fitted[0].model, fitted[1].model)
    assert fitted[0].scores == fitted[1].scores
    assert fitted[0].scores is not None
    assert [*fitted[0].scores.measures] == ["scores"]


def test_a_memory_map_is_read_by_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsecode.data.in_memory.HELD", 10)
    splits = splits_from(mapped(tmp_path))
    assert (splits.train.n, splits.valid.n, splits.training.n) == (10, 10, 270)
    inside = splits_from(X)
    ours, theirs = (samples.reader(3)(1, 20, 60) for samples in (splits.training, inside.training))
    assert torch.equal(ours.x, theirs.x)
    assert (splits.low, splits.high) == (inside.low, inside.high)
    others = np.array(X)
    others[7] += 1
    np.save(tmp_path / "y.npy", others)
    assert splits_from(np.load(tmp_path / "y.npy", mmap_mode="r")).fingerprint() != splits.fingerprint()


def test_with_a_folder_it_is_a_run_that_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"

    def stop(event: Event) -> str | None:
        return "enough" if event.kind == "evaluate" and event.step == 16 else None

    halted = sc.fit(SPEC, X, out=out, observers=[stop], figures=False, **QUICK)
    assert (halted.state.stopped_by, halted.state.step, halted.scores) == ("enough", 16, None)
    fitted = sc.fit(SPEC, X, out=out, figures=False, **QUICK)
    assert same(fitted.model, sc.fit(SPEC, X, **QUICK).model)
    assert fitted.folder is not None
    assert isinstance(fitted.folder.config().data, InMemory)
    assert fitted.scores == fitted.folder.evaluation() == sc.fit(SPEC, X, out=out, **QUICK).scores
    with pytest.raises(RunConflictError, match=r"data\.fingerprint: \w+ -> \w+"):
        sc.fit(SPEC, X[::-1], out=out, **QUICK)
    assert main(["eval", str(out)]) == 1
    assert "given to sparsecode.fit and are not on disk; pass them again" in capsys.readouterr().err


def test_defaults_are_those_of_the_family() -> None:
    configs = {family: sc.fit(spec, X, **quick(epochs=0.05)).config for family, spec in SPECS.items()}
    assert [list(config.optim.groups) for config in configs.values()] == [["*"], ["encoder", "decoder"], ["*"]]
    assert [config.train.select for config in configs.values()] == ["last", "encode/objective", "last"]
    assert {config.train.batch_size for config in configs.values()} == {16}


NAN = np.where(np.arange(12) == 3, np.nan, X)


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        ([1.0], {}, TypeError, "x is a list; expected a NumPy array or a torch tensor"),
        (X.astype(int), {}, TypeError, "x has dtype int64; expected a floating-point type"),
        (X[:, 0], {}, ValueError, "x has shape (300,); expected [n_samples, ...features]"),
        (NAN, {}, ValueError, "x: 300 samples with NaN, infinity or values beyond float32, first in row 0"),
        (X * 0, {}, ValueError, "x: all training values are 0; expected data that vary"),
        (X, {"valid": 1.5}, ValueError, "valid is 1.5; expected a share of x between 0 and 1, or samples"),
        (X, {"valid": None}, ValueError, "valid is None; expected a share of x"),
        (X, {"valid": X[:, :3]}, ValueError, "valid has samples of shape (3,), and x of shape (12,)"),
        (X[:5], {}, ValueError, "x has 5 samples, of which valid=0.1 and test=0 leave 5, 0 and 0"),
        (X, {"labels": X[:, 0]}, ValueError, "labels have shape (300,) and type float32; expected (300,) whole numbers"),
        (X, {"labels": np.arange(300), "valid": X}, ValueError, "valid has no label, and x has one; expected the same"),
        (X, {"target": X[:7]}, ValueError, "target has 7 rows, and x has 300; expected one for each sample"),
        (X, {"device": "tpu"}, ValueError, "device is 'tpu'; choose from auto, cpu, cuda"),
        (X, {"batch_size": 1000}, ValueError, "train.batch_size is 1000, and there are 270 training samples"),
        (Digits(), {"test": 0.2}, ValueError, "test is given, and x is Digits, which has its own; leave test out"),
        (X, {"select": "beauty"}, ValueError, "train.select is 'beauty'; expected last or one of encode/"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_named(x: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        sc.fit(SPEC, x, **quick(**options))


def test_what_contradicts_itself_or_is_no_model_is_named() -> None:
    train = Train(epochs=1, batch_size=9, select="last")
    with pytest.raises(ValueError, match="train and batch_size are both given; expected one of the two"):
        sc.fit(SPEC, X, train=train, batch_size=10, progress=False)
    with pytest.raises(TypeError, match="spec"):
        sc.fit(ReLU(), X)  # pyright: ignore[reportArgumentType]
    fitted = sc.fit(SPEC, X, train=train, optim=Optim({"*": Adam(lr=1e-2)}), progress=False)
    assert (fitted.config.train, fitted.state.total_steps) == (train, 30)


def test_splits_are_taken_as_they_are() -> None:
    splits = splits_from(X, test=0.2)
    assert isinstance(splits, Splits)
    fitted = sc.fit(SPEC, splits, **QUICK)
    assert isinstance(fitted.config.data, InMemory)
    assert fitted.config.data.n == (210, 30, 60)
    assert fitted.config.data.fingerprint == splits.fingerprint()
