"""Estimators: scikit-learn's checks, with and without array API dispatch, and what a user of scikit-learn expects beyond them."""

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from waiting import PATIENCE

import sparsecode as sc

SHORT: dict[str, Any] = {
    "SparseCoder": sc.SparseCoder(),
    "SparseDictionary": sc.SparseDictionary(epochs=5, random_state=0),
    "SparseAutoencoder": sc.SparseAutoencoder(epochs=5, random_state=0),
    "NoiseSparseNetwork": sc.NoiseSparseNetwork(epochs=5, random_state=0),
    "VariationalSparseCoder": sc.VariationalSparseCoder(epochs=5, random_state=0),
}
LEARNED = [name for name in SHORT if name != "SparseCoder"]
NETWORKS = LEARNED[1:]
ORDER = np.random.default_rng(0).permutation(178)
X, Y = (np.asarray(part)[ORDER] for part in load_wine(return_X_y=True))
DEVICES = ("cuda", "XPU", "MPS", "not installed")  # why a check may be skipped


def fresh(name: str) -> Any:
    """An estimator of this name that is not fitted."""
    return clone(SHORT[name])


@cache
def trained(name: str) -> Any:
    """One that is fitted to X, for all tests that leave it as it is."""
    return fresh(name).fit(X)


def checked(name: str) -> list[str]:
    """Names of the checks of an estimator that passed; none may fail, and none be skipped but for a missing device."""
    estimator = fresh(name)  # with a single epoch: no check depends on how long it was trained
    results = check_estimator(estimator.set_params(epochs=1) if name in LEARNED else estimator, on_skip=None)
    for result in results:
        reason = str(result["exception"])
        assert result["status"] == "passed" or any(
            word in reason for word in (*DEVICES, "SCIPY_ARRAY_API is not set")
        ), (result["check_name"], reason)
    return [result["check_name"] for result in results if result["status"] == "passed"]


ALL_CHECKS = """
import os, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
from test_estimators import SHORT, checked
for name in sys.argv[2:]:
    passed = checked(name)
    print(name, len(passed), passed.count("check_array_api_input"))
if "SCIPY_ARRAY_API" not in os.environ:
    sys.exit()
import numpy as np, sklearn, torch
from sklearn.base import clone
from test_estimators import X
x = torch.from_numpy(X)
with sklearn.config_context(array_api_dispatch=True):
    fitted = clone(SHORT["SparseDictionary"]).fit(x)
    z = fitted.transform(x)
    assert isinstance(z, torch.Tensor) and isinstance(fitted.components_, torch.Tensor)
    assert isinstance(fitted.inverse_transform(z), torch.Tensor)
np.testing.assert_allclose(z.numpy(), clone(SHORT["SparseDictionary"]).fit_transform(X), atol=1e-10)
"""


def counts_of_checks(*names: str, **environ: str) -> dict[str, tuple[int, int]]:
    """Passed checks, and those of them that pass arrays of other libraries, in a process that enforces no annotations."""
    env = {**{name: value for name, value in os.environ.items() if name != "SCIPY_ARRAY_API"}, **environ}
    command = [sys.executable, "-c", ALL_CHECKS, os.path.dirname(__file__), *names]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr[-3000:]
    rows = (line.split() for line in result.stdout.splitlines())
    return {name: (int(passed), int(arrays)) for name, passed, arrays in rows}


@pytest.mark.parametrize(
    "names",
    [("SparseCoder", "SparseDictionary"), pytest.param(NETWORKS, marks=pytest.mark.slow)],
    ids=["codes and dictionaries", "networks"],
)
def test_all_checks_of_scikit_learn_pass_with_arrays_of_other_libraries(names: Sequence[str]) -> None:
    counts = counts_of_checks(*names, SCIPY_ARRAY_API="1")  # which scipy reads when it is imported
    assert list(counts) == list(names)
    assert all(passed >= 53 and arrays >= 4 for passed, arrays in counts.values()), counts


@pytest.mark.slow
def test_all_checks_of_scikit_learn_pass() -> None:
    counts = counts_of_checks(*SHORT)
    assert counts.keys() == SHORT.keys()
    assert all(passed >= 46 for passed, _ in counts.values()), counts


@pytest.mark.parametrize("name", SHORT)
def test_fit_transform_is_fit_then_transform_for_copies_and_pickles(name: str) -> None:
    once = fresh(name).fit_transform(X)
    fitted = trained(name)
    np.testing.assert_array_equal(fitted.transform(X), once)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(X), once)


@pytest.mark.parametrize("name", SHORT)
def test_codes_come_as_csr_and_frames_with_names(name: str) -> None:
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(13)])
    fitted = fresh(name).fit(frame)
    assert list(fitted.feature_names_in_) == list(frame.columns)
    dense = fitted.transform(frame)
    names = [f"{name.lower()}{i}" for i in range(dense.shape[1])]
    assert list(fitted.get_feature_names_out()) == names
    pandas = fitted.set_output(transform="pandas").transform(frame)
    assert list(pandas.columns) == names
    np.testing.assert_array_equal(pandas.to_numpy(), dense)
    polars = fitted.set_output(transform="polars").transform(pl.from_pandas(frame))
    np.testing.assert_array_equal(polars.to_numpy(), dense)
    copy: Any = clone(fitted)
    sparse = copy.set_output(transform="default").set_params(sparse_output=True).fit_transform(frame)
    assert issparse(sparse)
    np.testing.assert_array_equal(sparse.toarray(), dense)
    np.testing.assert_array_equal(fitted.inverse_transform(sparse), fitted.inverse_transform(dense))


def test_a_dictionary_explains_mixed_units_and_knows_its_gap() -> None:
    units = np.geomspace(1e-3, 1e5, 13)
    fitted = sc.SparseDictionary(26, alpha=0.3, random_state=0).fit(X * units)
    plain = sc.SparseDictionary(26, alpha=0.3, random_state=0).fit(X)
    np.testing.assert_allclose(fitted.transform(X * units), plain.transform(X), atol=1e-6)
    assert fitted.score(X * units) > 0.9
    assert 0 <= fitted.gap_ <= 1e-4
    assert fitted.n_iter_ == len(fitted.history_) == 300
    assert fitted.history_[-20:].mean() < fitted.history_[:20].mean()
    scaled = (X - X.mean(0)) / X.std(0)
    certified = sc.sparse_encode(scaled, fitted.components_, 0.3, return_solution=True)
    assert fitted.objective_ == pytest.approx(certified.objective.mean(), rel=1e-6)


def test_score_is_the_explained_variance_of_scaled_features() -> None:
    fitted = trained("SparseDictionary")
    scaled = (X - fitted.inverse_transform(fitted.transform(X))) / X.std(0)
    assert fitted.score(X) == pytest.approx(1 - (scaled**2).sum() / X.size, rel=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_inverse_transform_is_the_reconstruction_in_units_of_the_data(name: str) -> None:
    fitted = trained(name)
    rows = X.astype(np.float32)
    ours = fitted.inverse_transform(fitted.transform(rows))
    np.testing.assert_allclose(ours, fitted.model_.reconstruct(rows), rtol=1e-5)
    assert fitted.score(X) > -0.5  # untrained as it is


def test_more_atoms_than_samples() -> None:
    assert sc.SparseDictionary(40, epochs=2, random_state=0).fit(X[:20]).components_.shape == (40, 13)


@pytest.mark.parametrize("name", LEARNED)
def test_batches_one_by_one(name: str) -> None:
    estimator = fresh(name)
    if name in NETWORKS:
        estimator.set_params(learning_rate=0.01)
    for _ in range(3):
        for part in np.array_split(X, 6):
            estimator.partial_fit(part)
    copy: Any = clone(estimator)
    first = copy.partial_fit(X[:30])
    assert estimator.n_iter_ == 18
    assert estimator.score(X) > first.score(X)
    again = pickle.loads(pickle.dumps(estimator)).partial_fit(X[:30])
    assert again.n_iter_ == 19
    fitted = pickle.loads(pickle.dumps(trained(name)))
    before = fitted.score(X)
    fitted.partial_fit(X[:64])  # goes on from the fitted model
    assert fitted.score(X) == pytest.approx(before, abs=0.1)


@pytest.mark.parametrize("name", LEARNED)
def test_callbacks_see_every_epoch_and_stop_it(name: str) -> None:
    class Stop:
        seen = 0

        def setup(self, estimator: Any, context: Any) -> None: ...
        def teardown(self, estimator: Any, context: Any) -> None: ...
        def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any = None) -> None: ...

        def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> bool:
            if context.task_name != "epoch":
                return False
            self.seen += 1
            assert fitted_estimator.transform(X).shape[0] == len(X)
            return self.seen == 3

    stop = Stop()
    stopped = fresh(name).set_callbacks(stop).fit(X)
    full = trained(name)
    assert stop.seen == 3
    assert stopped.n_iter_ == full.n_iter_ * 3 // 5
    monitor = ScoringMonitor(scoring=None)
    fresh(name).set_callbacks(monitor).fit(X)
    assert monitor.get_logs() is not None


@pytest.mark.parametrize("name", SHORT)
def test_saved_in_a_folder_and_read_back(name: str, tmp_path: Path) -> None:
    fitted = trained(name)
    folder = fitted.save(tmp_path / "model")
    again = type(fitted).from_folder(folder)
    np.testing.assert_allclose(again.transform(X), fitted.transform(X), atol=1e-6)
    model = sc.load_model(folder)
    np.testing.assert_allclose(model.encode(X.astype(np.float32)), fitted.transform(X), atol=2e-3)
    with pytest.raises(FileExistsError, match="not empty"):
        fitted.save(tmp_path / "model")
    other = sc.SparseAutoencoder if "Dictionary" in name or "Coder" in name else sc.SparseDictionary
    with pytest.raises(ValueError, match="expected a"):
        other.from_folder(folder)


@pytest.mark.slow
def test_in_a_pipeline_and_a_grid_search_in_processes() -> None:
    model = make_pipeline(sc.SparseDictionary(16, epochs=5, random_state=0), LogisticRegression())
    search = GridSearchCV(model, {"sparsedictionary__alpha": [0.1, 0.5]}, cv=3, n_jobs=2).fit(X, Y)
    assert search.best_score_ > 0.9


def test_in_a_grid_search_without_a_scorer() -> None:
    own = GridSearchCV(fresh("SparseDictionary"), {"alpha": [0.1, 2.0]}, cv=3).fit(X)
    assert own.best_params_ == {"alpha": 0.1}  # by explained variance, without a scorer


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (sc.SparseDictionary(0), "n_components is 0; expected a whole number >= 1"),
        (sc.SparseDictionary(alpha=-1), "alpha is -1; expected a finite number > 0"),
        (sc.SparseDictionary(scaler="feature"), "scaler is 'feature'; choose from features, centre, global, none"),
        (sc.SparseCoder(np.ones((3, 5))), "D has 5 columns and x has 13"),
        (sc.SparseAutoencoder(k=0), "k is 0; expected a whole number >= 1"),
        (sc.SparseAutoencoder(4, k=5), "k is 5; expected at most n_components = 4"),
        (sc.SparseAutoencoder(activation="top"), "activation is 'top'; choose from topk, batch_topk, jumprelu, relu"),
        (sc.NoiseSparseNetwork(sigma=-1), "sigma is -1; expected a finite number > 0"),
        (sc.VariationalSparseCoder(alpha=2.0), "alpha"),
        (sc.SparseAutoencoder(epochs=0), "epochs is 0; expected a finite number > 0"),
        (sc.NoiseSparseNetwork(device="tpu"), "device is 'tpu'; choose from"),
    ],
)
def test_wrong_parameters_are_named(estimator: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        estimator.fit(X)
    assert message in str(error.value)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_float32_cannot_hold_is_refused(name: str) -> None:
    times = X.copy()
    times[:, 3] = 1.7e9 + 60 * np.random.default_rng(0).random(len(X))
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=r"feature 3 has mean 1\.7e\+09 and standard deviation 1[78]"):
            getattr(fresh(name), method)(times)


def test_a_dictionary_takes_what_float32_cannot_hold() -> None:
    times = X.copy()
    times[:, 3] = 1.7e9 + 60 * np.random.default_rng(0).random(len(X))
    assert sc.SparseDictionary(26, alpha=0.1, epochs=100, random_state=0).fit(times).score(times) > 0.9


def test_parameters_given_to_from_folder_count(tmp_path: Path) -> None:
    sc.SparseDictionary(8, alpha=0.3, epochs=2, random_state=0).fit(X).save(tmp_path / "model")
    assert sc.SparseDictionary.from_folder(tmp_path / "model").alpha == 0.3
    assert sc.SparseDictionary.from_folder(tmp_path / "model", alpha=2.0).alpha == 2.0


def test_dictionaries_of_whole_numbers() -> None:
    np.testing.assert_array_equal(
        sc.SparseCoder(np.eye(13, dtype=int), alpha=0.5).fit_transform(X),
        sc.SparseCoder(np.eye(13).tolist(), alpha=0.5).fit_transform(X),
    )


def test_early_stopping() -> None:
    fitted = sc.SparseAutoencoder(26, k=4, epochs=200, patience=2, learning_rate=0.05, random_state=0).fit(X)
    assert fitted.n_iter_ < 200 * 10


def test_the_blocks_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).parents[1] / "docs/estimators.md"
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(block, names)
    assert "explained variance" in capsys.readouterr().out
    np.testing.assert_allclose(names["again"].transform(names["x"]).toarray(), names["fitted"].transform(names["x"]))


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (sc.SparseAutoencoder(8, k=2, patience=0), "patience is 0; expected"),
        (sc.VariationalSparseCoder(4, alpha=2), "alpha is 2; expected the share"),
        (sc.SparseDictionary(4, missing="no"), "missing is 'no'; expected 'nan'"),
    ],
)
def test_messages_name_the_parameter_of_the_estimator(estimator: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimator.fit(X)


def test_masked_arrays_are_refused_with_what_to_do() -> None:
    masked = np.ma.masked_greater(X, 3.0)
    with pytest.raises(TypeError, match="missing='nan'"):
        sc.SparseDictionary(4).fit(masked)
    with pytest.raises(TypeError, match="fill it first"):
        sc.SparseAutoencoder(8, k=2).fit(masked)


def test_a_saved_model_keeps_that_entries_may_be_missing(tmp_path: Path) -> None:
    holes = X.copy()
    holes[::7, 2] = np.nan
    fitted = sc.SparseDictionary(8, alpha=0.3, epochs=2, missing="nan", random_state=0).fit(holes)
    fitted.save(tmp_path / "model")
    again = sc.SparseDictionary.from_folder(tmp_path / "model", alpha=0.3)
    assert again.missing == "nan"
    np.testing.assert_allclose(again.transform(holes), fitted.transform(holes), atol=1e-6)
    assert sc.SparseDictionary.from_folder(tmp_path / "model", missing=None).missing is None
