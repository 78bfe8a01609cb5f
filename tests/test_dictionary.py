"""Online dictionary learning: what it finds, what it promises, and what it says to bad input."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from sklearn.decomposition import MiniBatchDictionaryLearning
from torch import Tensor

from sparsecode import learn_dictionary, sparse_encode
from sparsecode.data import Digits
from sparsecode.nn.constraints import Bounded, Free, UnitBall, UnitNorm
from sparsecode.nn.online import (
    OnlineDictionary,
    Statistics,
    descend_,
    gather_,
    sweep_,
    update_atom_by_atom_,
)
from sparsecode.penalties import L1, ElasticNet, GroupL2, Proximal
from sparsecode.schedules import Linear
from sparsecode.solvers.dictionary import DictionaryFit

ALPHA = 0.2
BOUNDED: list[Bounded] = [kind(positive=positive) for kind in (UnitNorm, UnitBall) for positive in (False, True)]

every_bound = pytest.mark.parametrize("constraint", BOUNDED, ids=repr)


@pytest.fixture(scope="module")
def digits() -> NDArray[np.float32]:
    return Digits().load().train.x.flatten(1).numpy()


@pytest.fixture
def fitted(digits: NDArray[np.float32], rng: torch.Generator) -> Statistics:
    """Statistics of digits and their positive codes under random atoms: A is far from diagonal."""
    atoms = torch.rand(70, 64, generator=rng, dtype=torch.float64)
    atoms /= torch.linalg.vector_norm(atoms, dim=1, keepdim=True)
    state = Statistics.of(atoms)
    x = torch.from_numpy(digits[:400]).double()
    gather_(state, x, sparse_encode(x, atoms, ALPHA, positive=True), 1.0)
    return state


def copy(state: Statistics) -> Statistics:
    return Statistics(*(part.clone() for part in state))


def objective(state: Statistics) -> float:
    """1/2 tr(D^T A D) - tr(D^T B)."""
    return float((state.atoms * (state.codes @ state.atoms / 2 - state.cross)).sum())


def energy(x: NDArray[Any], atoms: NDArray[Any], *, positive: bool = False) -> float:
    """The mean lasso objective at solved codes."""
    solution = sparse_encode(x.astype(np.float64), atoms, ALPHA, tol=1e-7, positive=positive, return_solution=True)
    return float(solution.objective.mean())


@every_bound
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_give_the_atoms_of_the_reference(fitted: Statistics, constraint: Bounded, dtype: torch.dtype) -> None:
    reference = Statistics(*(part.to(dtype) if part.is_floating_point() else part for part in fitted))
    constraint.apply_(reference.atoms)
    blocks = copy(reference)
    for _ in range(2):
        update_atom_by_atom_(reference, constraint)
        sweep_(blocks, constraint)
    # in float32 rounding is amplified by 1 / a_jj
    torch.testing.assert_close(blocks.atoms, reference.atoms, rtol=0, atol=1e-10 if dtype == torch.float64 else 2e-3)


@every_bound
def test_every_update_lowers_the_objective_and_keeps_within_the_constraint(
    fitted: Statistics, constraint: Bounded
) -> None:
    constraint.apply_(fitted.atoms)
    swept, stepped, before = copy(fitted), copy(fitted), objective(fitted)
    for _ in range(5):
        sweep_(swept, constraint)
        assert objective(swept) < before
        before = objective(swept)
    descend_(stepped, constraint)
    assert objective(stepped) < objective(fitted)
    for atoms in (swept.atoms, stepped.atoms):
        norms = torch.linalg.vector_norm(atoms, dim=1)
        least, greatest = constraint.norms()
        assert ((norms >= least - 1e-9) & (norms <= greatest + 1e-9) | (norms == 0)).all()
        assert not constraint.positive or (atoms >= 0).all()


@pytest.mark.parametrize("constraint", [UnitBall(), UnitBall(positive=True)], ids=repr)
def test_gradient_steps_and_sweeps_reach_the_same_optimum(fitted: Statistics, constraint: Bounded) -> None:
    constraint.apply_(fitted.atoms)
    swept, stepped = copy(fitted), copy(fitted)
    for _ in range(300):
        sweep_(swept, constraint)
    descend_(stepped, constraint, steps=2000)
    scale = objective(fitted) - objective(swept)
    assert scale > 0
    assert objective(stepped) - objective(swept) < 1e-3 * scale
    still = copy(swept)
    descend_(still, constraint)
    torch.testing.assert_close(still.atoms, swept.atoms, rtol=0, atol=1e-3)


def test_a_known_dictionary_is_found() -> None:
    rng = np.random.RandomState(0)
    truth = rng.standard_normal((30, 20))
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    codes = np.zeros((3000, 30))
    for row in codes:
        row[rng.choice(30, 3, replace=False)] = rng.standard_normal(3) + np.sign(rng.standard_normal(3))
    x = codes @ truth + 0.01 * rng.standard_normal((3000, 20))
    fit = learn_dictionary(x, 30, 0.2, batch_size=100, epochs=15)
    match = np.abs(fit.atoms @ truth.T)
    rows, columns = linear_sum_assignment(-match)
    assert match[rows, columns].mean() > 0.95
    assert fit.atoms.dtype == np.float64
    assert fit.objective.shape == (fit.steps,) == (450,)
    assert fit.objective[-30:].mean() < 0.8 * fit.objective[:10].mean()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # the peer's, about its own codes
@pytest.mark.parametrize("positive", [False, True])
def test_digits_are_coded_as_well_as_by_scikit_learn(digits: NDArray[np.float32], positive: bool) -> None:
    x = digits[:500]
    fit = learn_dictionary(
        x, 20, ALPHA, positive=positive, constraint=UnitNorm(positive=positive), epochs=10, batch_size=50
    )
    settings: dict[str, Any] = {"alpha": ALPHA, "max_no_improvement": None, "tol": 0, "transform_max_iter": 50}
    settings |= {"positive_code": positive, "positive_dict": positive, "random_state": 0}
    peer = MiniBatchDictionaryLearning(20, max_iter=10, batch_size=50, fit_algorithm="cd", **settings).fit(x)
    ours, theirs = (energy(x, atoms, positive=positive) for atoms in (fit.atoms, peer.components_))
    assert ours < theirs
    assert not positive or (fit.atoms >= 0).all()


def test_other_penalties_and_schedules(digits: NDArray[np.float32]) -> None:
    fit = learn_dictionary(
        digits[:300], 20, ALPHA, penalty=ElasticNet(0.5), forgetting=Linear(0.5, 0.99, length=20), epochs=3,
        batch_size=50, constraint=UnitBall(),
    )  # fmt: skip
    assert fit.objective[-5:].mean() < fit.objective[0]


def test_a_stream_gives_what_the_array_gives(digits: NDArray[np.float32]) -> None:
    start = digits[:20]
    whole = learn_dictionary(digits[:400], 20, ALPHA, init=start, batch_size=400, max_steps=1)
    stream = learn_dictionary(iter([digits[:400]]), 20, ALPHA, init=start)
    np.testing.assert_allclose(whole.atoms, stream.atoms, atol=1e-6)
    twice = learn_dictionary([digits[:400]], 20, ALPHA, seed=3)
    assert np.array_equal(twice.atoms, learn_dictionary(iter([digits[:400]]), 20, ALPHA, seed=3).atoms)


def test_a_stream_is_read_once_and_only_as_far_as_asked(digits: NDArray[np.float32]) -> None:
    taken = 0

    def stream() -> Iterator[NDArray[np.float32]]:
        nonlocal taken
        for _ in itertools.count():
            taken += 1
            yield digits[taken * 8 : taken * 8 + 8]

    fit = learn_dictionary(stream(), 20, ALPHA, max_steps=12)
    assert (fit.steps, taken) == (12, 12)


@pytest.mark.parametrize("kind", ["array", "stream"])
def test_resuming_gives_the_bits_of_an_uninterrupted_run(digits: NDArray[np.float32], kind: str) -> None:
    def data(start: int) -> Any:
        return digits if kind == "array" else [digits[i * 60 : i * 60 + 60] for i in range(start, 20)]

    settings: dict[str, Any] = {"batch_size": 400, "patience": 3, "forgetting": Linear(0.5, 1.0, length=10)}
    whole = learn_dictionary(data(0), 30, ALPHA, max_steps=10, **settings)
    part = learn_dictionary(data(0), 30, ALPHA, max_steps=4, **settings)
    kept = part.atoms.copy()
    rest = learn_dictionary(data(4), 30, ALPHA, max_steps=6, resume=part, **settings)
    assert np.array_equal(part.atoms, kept)
    assert np.array_equal(rest.atoms, whole.atoms)
    assert np.array_equal(rest.objective, whole.objective)
    assert (rest.steps, rest.replaced) == (whole.steps, whole.replaced)


def test_an_interrupt_leaves_the_last_whole_step(digits: NDArray[np.float32]) -> None:
    settings: dict[str, Any] = {"batch_size": 100}

    def interrupt(fit: DictionaryFit[Any]) -> None:
        if fit.steps == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted after 3 steps"):
        part = learn_dictionary(digits, 20, ALPHA, callback=interrupt, **settings)
    assert not part.finished
    rest = learn_dictionary(digits, 20, ALPHA, resume=part, max_steps=2, **settings)
    assert np.array_equal(rest.atoms, learn_dictionary(digits, 20, ALPHA, max_steps=5, **settings).atoms)


def test_an_interrupt_within_an_update_leaves_the_last_whole_step(
    digits: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparsecode.solvers import dictionary

    calls = itertools.count()

    def interrupted(state: Statistics, constraint: Bounded) -> None:
        if next(calls) == 3:
            state.atoms[:5] = 0
            raise KeyboardInterrupt
        sweep_(state, constraint)

    monkeypatch.setattr(dictionary, "update_", interrupted)
    with pytest.warns(UserWarning, match="interrupted after 3 steps"):
        part = learn_dictionary(digits, 20, ALPHA, batch_size=100)
    assert len(part.objective) == 3
    assert np.array_equal(part.atoms, learn_dictionary(digits, 20, ALPHA, max_steps=3, batch_size=100).atoms)


def test_memory_maps_tensors_and_arrays_agree(digits: NDArray[np.float32], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", digits)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    runs = [learn_dictionary(x, 20, ALPHA, max_steps=5) for x in (digits, mapped, torch.from_numpy(digits))]
    assert isinstance(runs[2].atoms, Tensor)
    assert np.array_equal(runs[0].atoms, runs[1].atoms)
    assert np.array_equal(runs[0].atoms, runs[2].atoms.numpy())


def test_unused_atoms_give_way_to_samples_that_are_explained_worst(digits: NDArray[np.float32]) -> None:
    useless = np.zeros((20, 64), np.float32)
    useless[:, 0] = 1  # a corner that no digit reaches
    useless[:5] = digits[:5]
    first = learn_dictionary(digits, 20, ALPHA, init=useless, patience=4, max_steps=3, batch_size=200)
    assert first.replaced == 0
    assert (first.atoms[5:, 0] == 1).all()
    fit = learn_dictionary(digits, 20, ALPHA, patience=4, max_steps=30, batch_size=200, resume=first)
    assert fit.replaced >= 15
    assert (fit.atoms[:, 0] < 0.5).all()
    assert energy(digits, fit.atoms) < 0.75 * energy(digits, first.atoms)


@pytest.mark.usefixtures("global_rng_untouched")
def test_the_result_is_a_function_of_the_seed(digits: NDArray[np.float32]) -> None:
    one, same, other = (learn_dictionary(digits, 20, ALPHA, max_steps=3, seed=seed).atoms for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_callback_sees_each_step_and_may_stop(digits: NDArray[np.float32]) -> None:
    seen: list[int] = []

    def stop_at_three(fit: DictionaryFit[Any]) -> bool:
        seen.append(fit.steps)
        return fit.steps == 3

    assert learn_dictionary(digits, 20, ALPHA, callback=stop_at_three).steps == 3
    assert seen == [1, 2, 3]


X = np.random.RandomState(0).standard_normal((30, 4)).astype(np.float32)
HOLES = np.where(np.arange(120).reshape(30, 4) == 41, np.nan, X)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("x", "settings", "message"),
    [
        ([], {}, "empty stream"),
        (X[:1], {}, "1 rows"),
        (np.ones((30, 4)), {}, "all equal"),
        (np.zeros((30, 4)), {}, "not all 0"),
        (HOLES, {}, "row 10;"),
        ([X, HOLES], {"n_code": 3}, "row 10 of batch 1"),
        ([X, X[:, :3]], {"n_code": 3}, "3 features; expected 4"),
        ([X, X[:0]], {}, "batch 1 of x has no rows"),
        ([X[0]], {}, "batch 0 of x has shape"),
        (X, {"n_code": 31}, "30 rows"),
        ([X], {"n_code": 31}, "30 rows"),
        (X, {"init": X[:3]}, "init has shape"),
        (X, {"init": np.full((5, 4), np.nan)}, "init contains NaN"),
        (X, {"init": "random"}, "'random'; expected 'samples'"),
        (X, {"init": np.eye(5, 4)}, "^init: row 4 is all 0; expected atoms with a direction"),
        (X, {"init": X[:5] * 1e-30}, "^init: row 0 has a norm whose square leaves the range"),
        (
            X,
            {"n_code": 10**6, "init": np.ones((1, 4))},
            r"^the Gram matrix of 1000000 atoms needs 4e\+03 GB of memory, and this machine has",
        ),
        (
            X * 1e-25,
            {"alpha": 1e-26, "init": X[:5]},
            "^x is too small for float32: .*, first in row .*; rescale x and alpha",
        ),
        ([X, X * 1e30], {}, "^x is too large for float32: squares of its values overflow, first in row 0 of batch 1"),
        (X[0], {}, "x has shape"),
        (X, {"alpha": -1.0}, "alpha"),
        (X, {"forgetting": 1.5}, "forgetting"),
        (X, {"forgetting": Linear(0.5, 2.0, length=5)}, "forgetting"),
        (X, {"epochs": 1, "max_steps": 3}, "both"),
        ([X], {"epochs": 1}, "read once"),
        (X, {"positive": True, "penalty": ElasticNet()}, "both"),
        (X, {"resume": learn_dictionary(X, 4, 0.1, max_steps=1)}, "resume"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_named(x: Any, settings: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"n_code": 5, "alpha": 0.1, **settings}
    with pytest.raises(ValueError, match=message):
        learn_dictionary(x, **arguments)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("x", [3, [[1.0, 2.0]], np.ones((5, 4), int)], ids=["number", "list", "integers"])
def test_wrong_kinds_are_type_errors(x: Any) -> None:
    with pytest.raises(TypeError, match="x"):
        learn_dictionary(x, 2, 0.1)


@every_bound
def test_the_decoder_learns_as_the_function_does(digits: NDArray[np.float32], constraint: Bounded) -> None:
    x = torch.from_numpy(digits)
    spec = OnlineDictionary(forgetting=Linear(0.5, 1.0, length=4), constraint=constraint, patience=2)
    decoder = spec.build(20, (64,), torch.Generator().manual_seed(0))
    start = decoder.atoms.clone()
    stream = x[:1000].split(200)
    for batch in stream:
        decoder.observe_(
            batch, sparse_encode(batch, decoder.atoms, ALPHA, tol=1e-5)
        )  # codes that depend little on roundings
        decoder.constrain_()
    fit = learn_dictionary(
        stream, 20, ALPHA, init=start, patience=2, constraint=constraint, forgetting=spec.forgetting, tol=1e-5
    )
    torch.testing.assert_close(decoder.atoms, fit.atoms, rtol=0, atol=1e-4)
    assert (int(decoder.updates), int(decoder.replaced)) == (5, fit.replaced)
    moved = decoder.atoms.clone()
    decoder.constrain_()  # nothing observed since
    torch.testing.assert_close(decoder.atoms, moved)


def test_all_state_of_the_decoder_is_in_its_buffers(digits: NDArray[np.float32]) -> None:
    x = torch.from_numpy(digits).double()
    one, other = (
        OnlineDictionary(patience=2).build(20, (64,), torch.Generator().manual_seed(i)).double() for i in (0, 1)
    )
    for i, batch in enumerate(x[:800].split(200)):
        if i == 2:
            other.load_state_dict(one.state_dict())
        for decoder in (one, other) if i >= 2 else (one,):
            decoder.observe_(batch, sparse_encode(batch, decoder.atoms, ALPHA))
            decoder.constrain_()
    assert not any(p.requires_grad for p in one.parameters())
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": 3}, r"^solver is 3; expected CoordinateDescent\(\)"),
        ({"penalty": "l1"}, r"^penalty is 'l1'; expected one of sparsecode\.penalties"),
        ({"constraint": "unit"}, r"^constraint is 'unit'; expected UnitNorm\(\) or UnitBall\(\)"),
        ({"constraint": Free()}, r"^constraint is Free\(\); expected"),
        ({"resume": 3}, "^resume has type int; expected the DictionaryFit of an earlier call"),
        ({"forgetting": "slowly"}, "^forgetting is 'slowly'; expected a number in"),
        ({"init": [[1.0]]}, "^init is a list; expected a NumPy array or a torch tensor"),
        ({"seed": "one"}, "^seed is 'one'; expected a whole number"),
        ({"callback": 3}, "^callback is 3; expected a function"),
        ({"x": csr_array(X)}, r"^x is a sparse csr_array; expected a dense array: pass x\.toarray\(\)"),
        ({"x": torch.tensor(X).to_sparse()}, "^x has layout sparse_coo"),
        ({"x": [csr_array(X)]}, "^batch 0 of x is a sparse csr_array"),
        ({"x": np.ma.masked_greater(X, 1)}, "^x is a masked array"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_arguments_of_a_wrong_type_are_named(settings: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"x": X, "n_code": 5, "alpha": 0.1} | settings
    with pytest.raises(TypeError, match=message):
        learn_dictionary(**arguments)


class Frame:
    """What a data frame is: an array to NumPy, and an iterable of names."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return X.astype(dtype or X.dtype)

    def __iter__(self) -> Any:
        return iter("abcd")


@pytest.mark.usefixtures("unchecked")
def test_a_data_frame_is_an_array() -> None:
    frame: Any = Frame()
    np.testing.assert_array_equal(
        learn_dictionary(frame, 5, 0.1, max_steps=3).atoms, learn_dictionary(X, 5, 0.1, max_steps=3).atoms
    )


@pytest.mark.parametrize("penalty", [L1(), L1(positive=True), ElasticNet(), GroupL2(2)], ids=repr)
@pytest.mark.parametrize("alpha", [50.0, 1e300])
def test_a_weight_that_leaves_no_code_is_told_with_one_that_leaves_some(alpha: float, penalty: Proximal) -> None:
    with pytest.warns(
        UserWarning, match=rf"^alpha is {re.escape(f'{alpha:g}')}, and every code is 0: .*; expected less than "
    ) as told:
        fit = learn_dictionary(X, 4, alpha, penalty=penalty, max_steps=3, init=X[:4])
    np.testing.assert_allclose(fit.atoms, X[:4] / np.linalg.norm(X[:4], axis=1, keepdims=True), rtol=1e-6)
    most = float(str(told[0].message).split("expected less than ")[1].split(",")[0])
    assert (sparse_encode(X, fit.atoms, 1.01 * most, penalty=penalty) == 0).all()
    assert (sparse_encode(X, fit.atoms, 0.95 * most, penalty=penalty, tol=1e-6) != 0).any()
