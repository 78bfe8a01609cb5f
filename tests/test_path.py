"""Choosing alpha: the least alpha of codes of zeros, many alphas at the cost of few, and the alpha of a number of active codes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from sparsecode import alpha_for_l0, alpha_max, cross_validate_alpha, sparse_encode, sparse_path
from sparsecode.cli.main import main
from sparsecode.cli.path import AlphaPath
from sparsecode.data import Digits
from sparsecode.penalties import ElasticNet, GroupL2, LogSum
from sparsecode.plots import alpha_path
from sparsecode.specs import from_json

EDGE = pytest.mark.filterwarnings("ignore:the best alpha")

Array = NDArray[Any]
ROWS = Digits().load().train.x.flatten(1).double().numpy()
X, D = ROWS[:60], ROWS[100:180] / np.linalg.norm(ROWS[100:180], axis=1, keepdims=True)
for fixed in (X, D):
    fixed.flags.writeable = False


@pytest.mark.parametrize("penalty", [None, "positive", ElasticNet(ratio=0.5), GroupL2(size=4)])
def test_codes_are_zero_from_alpha_max_on_and_not_below(penalty: Any) -> None:
    x = X - X.mean(axis=0)
    options: dict[str, Any] = {"positive": True} if penalty == "positive" else {"penalty": penalty}
    least = alpha_max(x, D, **options)
    assert least.shape == (60,)
    for i in (0, 7, 59):
        at, below = (sparse_encode(x[i : i + 1], D, share * least[i], tol=1e-9, **options) for share in (1, 0.999))
        assert not at.any()
        assert below.any()


def test_alpha_max_in_other_units_and_kinds() -> None:
    least = alpha_max(X, D)
    np.testing.assert_array_equal(alpha_max(X * 2.0**500, D * 2.0**-400), least * 2.0**100)
    np.testing.assert_allclose(alpha_max(X.astype(np.float32) * 1e30, D), least * 1e30, rtol=1e-5)
    assert isinstance(alpha_max(torch.tensor(X), D), torch.Tensor)
    assert alpha_max(X[:0], D).shape == (0,)
    assert not alpha_max(-X, D, positive=True).any()  # no atom lowers the error
    with pytest.raises(TypeError, match=r"^penalty is LogSum.*not convex: no least alpha is known"):
        alpha_max(X, D, penalty=LogSum())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("positive", [False, True])
def test_a_path_has_the_objectives_of_separate_calls(dtype: Any, positive: bool) -> None:
    x, tol = X.astype(dtype), 1e-5
    path = sparse_path(x, D, n_alphas=12, ratio=0.01, positive=positive, tol=tol, return_codes=True, chunk=25)
    assert path.alphas[0] == pytest.approx(alpha_max(x, D, positive=positive).max())
    assert path.alphas[-1] == pytest.approx(0.01 * path.alphas[0])
    assert path.l0[0] == 0
    assert path.error[0] == pytest.approx(1)
    assert path.codes.dtype == dtype
    scale = np.square(X).sum(axis=1) / 2
    for i, alpha in enumerate(path.alphas):
        one = sparse_encode(x, D, alpha, positive=positive, tol=tol, return_solution=True)
        z = path.codes[i].astype(np.float64)
        left = np.square(X - z @ D).sum(axis=1)
        objective = left / 2 + alpha * np.abs(z).sum(axis=1)
        assert (np.abs(objective - one.objective) <= 1.1 * tol * scale).all()
        assert path.objective[i] == pytest.approx(objective.mean(), rel=1e-6)
        assert path.l0[i] == (z != 0).sum(axis=1).mean()
        assert path.error[i] == pytest.approx(left.sum() / (2 * scale.sum()), rel=1e-4, abs=1e-6)
        assert path.gap[i] <= tol


def test_a_path_at_given_alphas_penalties_and_units() -> None:
    path = sparse_path(X, D, [0.5, 2.0, 1.0], penalty=LogSum(), tol=1e-3)
    np.testing.assert_array_equal(path.alphas, [2.0, 1.0, 0.5])
    assert (np.diff(path.l0) > 0).all()
    alphas = [8.0, 2.0, 0.5]
    path = sparse_path(X, D, alphas, return_codes=True)
    other = sparse_path(
        torch.tensor(X * 2.0**300), torch.tensor(D * 2.0**20), [a * 2.0**320 for a in alphas], return_codes=True
    )
    np.testing.assert_array_equal(other.codes.numpy(), path.codes * 2.0**280)
    np.testing.assert_array_equal(other.l0, path.l0)
    with pytest.warns(ConvergenceWarning, match="of 120 codes stopped at max_steps=3"):
        sparse_path(X, D, [0.2, 0.02], tol=1e-9, max_steps=3)


@pytest.mark.parametrize("l0", [0.5, 3, 12.3])
def test_the_alpha_of_a_number_of_active_codes(l0: float) -> None:
    alpha = alpha_for_l0(X, D, l0)
    result = (sparse_encode(X, D, alpha, tol=1e-5) != 0).sum(axis=1).mean()
    assert result == pytest.approx(l0, rel=0.05)
    assert alpha_for_l0(X * 1024, D, l0) == pytest.approx(1024 * alpha, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l0": 65}, "^l0 is 65; expected at most 64: D has 80 atoms of 64 features"),
        ({"l0": 0}, "^l0 is 0; expected a finite number > 0"),
        (
            {"l0": 30, "D": np.eye(64)[:40], "x": np.eye(64)[:8]},
            "^l0 is 30; expected at most 1, the mean number .* alpha",
        ),
        ({"x": X[:0]}, "^x has no rows"),
        ({"x": 0 * X}, "^x has no row that correlates with an atom of D"),
    ],
)
def test_an_l0_that_cannot_be_reached_is_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"x": X, "D": D, "l0": 3} | change
    with pytest.raises(ValueError, match=message):
        alpha_for_l0(**arguments)


@pytest.mark.parametrize(
    ("l0", "rows", "reached"), [(2.2, 1, 2), (2.9, 1, 3), (0.2, 1, 1), (2.1, 3, 2), (2.25, 3, 7 / 3)]
)
def test_few_rows_give_the_nearest_l0_and_say_so(l0: float, rows: int, reached: float) -> None:
    words = rf"^l0 is {l0}; the mean number of active codes of {rows} rows? jumps .*: the result is the alpha of {reached:g}; more rows"
    with pytest.warns(UserWarning, match=words):
        alpha = alpha_for_l0(X[:rows], D, l0)
    for tol in (1e-3, 1e-8):  # not at the edge, where the number depends on the tolerance
        assert (sparse_encode(X[:rows], D, alpha, tol=tol) != 0).sum(axis=1).mean() == pytest.approx(reached)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alphas": 0.1}, r"^alphas has shape \(\) and dtype float64; expected a list of numbers > 0"),
        ({"alphas": []}, r"^alphas has shape \(0,\)"),
        ({"alphas": [0.1, 0.0]}, r"^one of alphas is 0\.0; expected a finite number > 0"),
        ({"n_alphas": 0}, "^n_alphas is 0; expected a whole number >= 1"),
        ({"ratio": 1.0}, "^ratio is 1; expected a number between 0 and 1"),
        ({"penalty": ElasticNet(), "positive": True}, "^positive=True was given beside penalty"),
    ],
)
def test_errors_of_a_path_name_the_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sparse_path(X, D, **options)


def test_the_figure_marks_the_chosen_alpha() -> None:
    path = sparse_path(X, D, n_alphas=8, ratio=0.05)
    figure = alpha_path(path.alphas, path.l0, path.error, "digits", chosen=1.0)
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear", "log"]
    assert any("alpha 1" in text.get_text() for text in figure.axes[1].texts)


def test_hidden_entries_choose_an_alpha_near_the_best_one() -> None:
    rng = np.random.default_rng(1)
    atoms = rng.normal(size=(60, 100)) / 10
    clean = ((rng.random((80, 60)) < 0.05) * rng.normal(size=(80, 60)) * 3) @ atoms
    x = clean + 0.1 * rng.normal(size=clean.shape)
    held_out = cross_validate_alpha(x, atoms, n_alphas=12, ratio=0.01, n_folds=4)
    truth = [np.square(sparse_encode(x, atoms, a) @ atoms - clean).sum() for a in held_out.alphas]
    best = int(np.argmin(truth))
    assert 0 < best < 11
    assert abs(int(held_out.error.argmin()) - best) <= 1
    assert held_out.alpha == held_out.alphas[held_out.error.argmin()]
    assert held_out.alpha <= held_out.sparsest < held_out.alphas[0]
    for chunk in (256, 30):  # which is about memory alone
        again = cross_validate_alpha(x, atoms, held_out.alphas, n_folds=4, chunk=chunk)
        np.testing.assert_allclose(again.error, held_out.error, rtol=1e-6)
        np.testing.assert_allclose(again.standard_error, held_out.standard_error, rtol=1e-5)


def test_the_prediction_of_hidden_entries_is_that_of_a_code_of_the_others() -> None:
    x, alpha = X[:3], 1.0
    held_out = cross_validate_alpha(x, D, [alpha], n_folds=64, tol=1e-8)  # each entry by itself
    wrong = 0.0
    for hidden in range(64):
        seen = np.arange(64) != hidden
        z = sparse_encode(np.ascontiguousarray(x[:, seen]), np.ascontiguousarray(D[:, seen]), alpha, tol=1e-8)
        wrong += np.square(x[:, hidden] - z @ D[:, hidden]).sum()
    assert held_out.error[0] == pytest.approx(wrong / np.square(x).sum(), rel=1e-3)


@pytest.mark.parametrize("folds", [1, 65])
def test_folds_out_of_range_are_named(folds: int) -> None:
    with pytest.raises(ValueError, match=f"^n_folds is {folds}; expected a whole number from 2 to n_features = 64"):
        cross_validate_alpha(X, D, n_folds=folds)


@EDGE
def test_the_command_writes_numbers_and_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", X[:20].reshape(20, 8, 8))
    np.save(tmp_path / "D.npy", D)
    out = tmp_path / "out"
    words = ["path", str(tmp_path / "x.npy"), "--dictionary", str(tmp_path / "D.npy"), "--out", str(out)]
    few = ["--n-alphas", "6", "--ratio", "0.1"]
    assert main([*words, *few, "--l0", "3"]) == 0
    printed = capsys.readouterr().out
    assert "20 samples, 80 atoms" in printed
    numbers = from_json((out / "path.json").read_bytes(), AlphaPath)
    path = sparse_path(X[:20].astype(np.float32), D.astype(np.float32), n_alphas=6, ratio=0.1)
    np.testing.assert_allclose(numbers.l0, path.l0)
    assert f"{numbers.chosen:.6g} (for L0 3)" in printed
    assert (out / "path.png").stat().st_size > 2500  # empty axes have 2014
    assert main([*words, *few]) == 3  # files are there
    assert main([*words, *few, "--cross-validate", "--folds", "2", "--force"]) == 0
    assert "least error of hidden entries" in capsys.readouterr().out
    numbers = from_json((out / "path.json").read_bytes(), AlphaPath)
    assert len(numbers.hidden_error or ()) == 6


def test_the_command_says_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, array in (("x", X), ("D", D), ("T", D.T)):
        np.save(tmp_path / f"{name}.npy", array)

    def refused(samples: str, dictionary: str, *more: str) -> str:
        files = [str(tmp_path / f"{name}.npy") for name in (samples, dictionary)]
        assert main(["path", files[0], "--dictionary", files[1], "--out", str(tmp_path / "out"), *more]) == 2
        return capsys.readouterr().err

    assert "T.npy has atoms of 80 features and" in refused("x", "T")
    assert "l0 is 65; expected at most 64" in refused("x", "D", "--l0", "65", "--alphas", "1")
    assert "one of alphas is -1.0; expected a finite number > 0" in refused("x", "D", "--alphas", "-1")
    assert "both choose an alpha" in refused("x", "D", "--l0", "3", "--cross-validate")
    assert not (tmp_path / "out").exists()


@EDGE
@pytest.mark.parametrize(
    ("kind", "x_unit", "atom_unit"),
    [("f8", 2.0**-664, 2.0**-332), ("f8", 2.0**520, 1.0), ("f4", 2.0**-83, 1.0), ("f4", 2.0**64, 1.0)],
)
def test_errors_do_not_depend_on_units(kind: str, x_unit: float, atom_unit: float) -> None:
    rng = np.random.default_rng(0)
    atoms, x = rng.normal(size=(30, 15)).astype(kind), rng.normal(size=(20, 15)).astype(kind)
    plain = sparse_path(x, atoms, n_alphas=4)
    with np.errstate(over="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaled = sparse_path(x * kind_of(kind, x_unit), atoms * kind_of(kind, atom_unit), n_alphas=4)
        chosen = cross_validate_alpha(x * kind_of(kind, x_unit), atoms * kind_of(kind, atom_unit), n_alphas=4)
    np.testing.assert_allclose(scaled.error, plain.error, rtol=2e-3)
    np.testing.assert_allclose(scaled.l0, plain.l0, rtol=0.01)
    unit = x_unit * atom_unit
    assert chosen.alpha / unit == pytest.approx(cross_validate_alpha(x, atoms, n_alphas=4).alpha, rel=1e-5)


def kind_of(kind: str, value: float) -> Any:
    return np.dtype(kind).type(value)


def test_a_best_alpha_at_the_edge_of_the_grid_is_said() -> None:
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(30, 20))
    x = (rng.random((100, 30)) < 0.1) * rng.laplace(size=(100, 30)) @ atoms + rng.normal(size=(100, 20))
    with pytest.warns(
        UserWarning, match=r"is the smallest of the 3 that were tried: one beyond may be better; lower `ratio`"
    ):
        cross_validate_alpha(x, atoms, [30.0, 25.0, 20.0])
    with pytest.warns(UserWarning, match=r"is the largest of the 2 that were tried"):
        cross_validate_alpha(x, atoms, [0.01, 0.005])
