"""What every energy promises: the gradient it says, rows on their own or coupled, and a solver's way down."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsecode.data import Digits
from sparsecode.losses import BatchVariance
from sparsecode.nn.constraints import Free, UnitNorm
from sparsecode.nn.decoders import LinearDictionary, OneHidden
from sparsecode.penalties import L1
from sparsecode.solvers import FISTA, ISTA, CoupledEnergy, DecoderEnergy, QuadraticEnergy, energy_of, solve
from sparsecode.solvers.energy import curvature_estimate

K, WEIGHT = 12, 0.4


class Smooth(nn.Module):
    """A decoder that knows nothing of Jacobians."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.randn(2, K, 64, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        self.first, self.second = weights[0, :, :20], weights[1].T[:20, :12] @ weights[0]

    def mean(self, z: Tensor) -> Tensor:
        return torch.tanh(z @ self.first / 4) @ self.second / 8

    def curvature_bound(self) -> float:
        return 1.0


def samples() -> Tensor:
    return Digits().load().train.x[:30].flatten(1).double()


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_hidden() -> Any:
    decoder = OneHidden(n_hidden=40, constraint=UnitNorm()).build(K, (64,), rng()).double()
    with torch.no_grad():
        decoder.bias.normal_(0, 0.1, generator=rng(1))
    return decoder


def linear() -> Any:
    return LinearDictionary().build(K, (64,), rng()).double()


def codes(seed: int = 2) -> Tensor:
    return torch.rand(30, K, generator=rng(seed), dtype=torch.float64)


def quadratic() -> QuadraticEnergy:
    return QuadraticEnergy(samples(), linear().atoms.detach(), L1(positive=True), WEIGHT)


def decoded(decoder: Any) -> DecoderEnergy:
    return DecoderEnergy(samples(), decoder, L1(positive=True), WEIGHT)


HINGE = BatchVariance(weight=3.0, floor=0.8)
ENERGIES: dict[str, Any] = {
    "quadratic": quadratic(),
    "quadratic, pulled": quadratic().pulled_to(codes(5), 0.7),
    "linear decoder": decoded(linear()),
    "one hidden": decoded(one_hidden()),
    "one hidden, pulled": decoded(one_hidden()).pulled_to(codes(5), 0.7),
    "any decoder": decoded(Smooth()),
    "coupled quadratic": CoupledEnergy(quadratic(), HINGE),
    "coupled one hidden": CoupledEnergy(decoded(one_hidden()).pulled_to(codes(5), 0.7), HINGE),
}
every_energy = pytest.mark.parametrize("energy", ENERGIES.values(), ids=ENERGIES)
uncoupled = pytest.mark.parametrize("energy", [e for e in ENERGIES.values() if not e.coupled])


@every_energy
def test_gradient_is_that_of_the_smooth_part(energy: Any) -> None:
    z, h = codes(), 1e-6
    value, grad = energy.smooth_and_grad(z)
    torch.testing.assert_close(value, energy.smooth(z))
    torch.testing.assert_close(grad, energy.grad(z))
    torch.testing.assert_close(energy.per_sample(z), value + WEIGHT * z.abs().sum(dim=1))
    for seed in range(5):
        direction = torch.randn(z.shape, generator=rng(seed), dtype=torch.float64)
        slope = (energy.smooth(z + h * direction) - energy.smooth(z - h * direction)).sum() / (2 * h)
        torch.testing.assert_close(slope, (grad * direction).sum(), rtol=1e-5, atol=1e-6)


@every_energy
@pytest.mark.parametrize("solver", [FISTA(step_size="backtracking"), None], ids=str)
def test_solvers_reach_a_stationary_point_below_the_start(energy: Any, solver: FISTA | None) -> None:
    # A decoder with kinks may have its optimum on one, where no gradient vanishes.
    kinks = isinstance(getattr(energy, "base", energy), DecoderEnergy) and energy is not ENERGIES["any decoder"]
    result = solve(energy, solver, codes(), max_steps=60 if kinks else 300, tol=1e-2)
    assert result.objective.sum() < 0.9 * energy.per_sample(codes()).sum()
    assert kinks or result.converged.all()
    assert (result.z >= 0).all()


@every_energy
def test_backtracking_makes_ista_go_down_at_every_step(energy: Any) -> None:
    solver, z = ISTA(step_size="backtracking"), codes()
    state = solver.init(energy, z)
    totals = [energy.per_sample(z).sum()]
    for _ in range(40):
        z, state = solver.step(energy, z, state)
        totals.append(energy.per_sample(z).sum())
    assert (torch.stack(totals).diff() <= 1e-9).all()


@pytest.mark.parametrize("length", [1.0, 30.0])
def test_backtracking_mends_any_first_step(length: float) -> None:
    """A step that is far too long is halved until the energy falls as it should."""
    energy = decoded(one_hidden())
    solver = FISTA(step_size="backtracking")
    state = solver.init(energy, codes())
    new, after = solver.step(energy, codes(), state._replace(eta=length + 0 * state.eta))
    assert (after.eta < length + 1e-12).all()
    assert (energy.per_sample(new) <= energy.per_sample(codes()) + 1e-9).all()


@uncoupled
def test_rows_do_not_see_each_other(energy: Any) -> None:
    whole = solve(energy, None, codes(), max_steps=20, tol=1e-3)
    some = torch.tensor([3, 17, 4])
    part = solve(energy.rows(some), None, codes()[some], max_steps=20, tol=1e-3)
    torch.testing.assert_close(part.z, whole.z[some], rtol=0, atol=1e-9)


def test_coupled_rows_stop_together_and_cannot_leave() -> None:
    energy = CoupledEnergy(quadratic(), HINGE)
    result = solve(energy, None, codes(), max_steps=500, tol=1e-4)
    assert len(set(result.steps.tolist())) == 1
    assert len(set(result.gap.tolist())) == 1
    order = torch.randperm(30, generator=rng())
    shuffled = CoupledEnergy(quadratic().rows(order), HINGE)
    again = solve(shuffled, None, codes()[order], max_steps=500, tol=1e-4)
    torch.testing.assert_close(again.z, result.z[order], rtol=0, atol=1e-9)
    with pytest.raises(TypeError, match="rows cannot leave the batch"):
        energy.rows(order)


def test_a_linear_decoder_gives_the_quadratic_energy() -> None:
    decoder = linear()
    energy = energy_of(decoder, samples(), L1(positive=True), WEIGHT)
    assert isinstance(energy, QuadraticEnergy)
    assert isinstance(energy_of(one_hidden(), samples(), L1(), WEIGHT), DecoderEnergy)
    torch.testing.assert_close(energy.grad(codes()), decoded(decoder).grad(codes()))
    exact = solve(energy, None, codes(), max_steps=5_000, tol=1e-10)
    other = solve(decoded(decoder), None, codes(), max_steps=5_000, tol=1e-6)
    torch.testing.assert_close(other.objective, exact.objective, rtol=1e-9, atol=0)


def test_power_iteration_finds_the_largest_eigenvalue_from_below() -> None:
    energy = quadratic()
    largest = float(torch.linalg.eigvalsh(energy.gram)[-1])
    estimate = curvature_estimate(energy, codes(), 60)
    assert (estimate >= 0.9 * largest).all()
    assert (estimate <= largest * (1 + 1e-6)).all()
    assert (curvature_estimate(energy, codes(), 3) <= estimate * (1 + 1e-6)).all()


def test_restart_gets_there_in_fewer_steps_where_momentum_overshoots() -> None:
    atoms = samples()[:K] + 0.05 * torch.eye(64, dtype=torch.float64)[:K]  # far from orthogonal
    energy = QuadraticEnergy(samples(), atoms / atoms.norm(dim=1, keepdim=True), L1(positive=True), 0.01)
    steps = [solve(energy, FISTA(restart=r), 0 * codes(), max_steps=20_000, tol=1e-9).steps for r in (False, True)]
    assert steps[1].double().mean() < 0.7 * steps[0].double().mean()


def test_hinge_by_hand() -> None:
    z = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 4.0]], dtype=torch.float64)
    term = BatchVariance(weight=2.0, floor=1.0)
    deviation = term.spread(z).deviation
    torch.testing.assert_close(deviation, z.std(dim=0))
    assert deviation.tolist() == [0, 0, pytest.approx(2**0.5)]
    assert term.value(z).item() == 2.0  # two codes a whole floor below it
    assert (term.value_and_grad(z)[1] == 0).all()  # of codes that do not vary, too: they cannot be revived
    with pytest.raises(ValueError, match="one sample; expected at least two"):
        term.value(z[:1])


def test_hinge_pushes_each_code_alike_whatever_the_batch_size() -> None:
    z = codes() * 0.3
    _, once = HINGE.value_and_grad(z)
    _, twice = HINGE.value_and_grad(torch.cat([z, z]))
    assert once.abs().sum() > 0
    torch.testing.assert_close(twice[:30], once, rtol=0.05, atol=0)  # n / (n - 1) of another n


def test_hinge_spreads_codes_that_a_free_dictionary_would_let_collapse() -> None:
    energy = QuadraticEnergy(
        samples(), 10 * LinearDictionary(Free()).build(K, (64,), rng()).atoms.detach().double(), L1(positive=True), 2.0
    )
    plain = solve(energy, None, codes(), max_steps=2_000, tol=1e-6)
    spread = solve(
        CoupledEnergy(energy, BatchVariance(weight=1e4, floor=0.5)), None, codes(), max_steps=5_000, tol=1e-3
    )
    assert plain.z.std(dim=0).max() < 0.4
    assert spread.z.std(dim=0).min() > 0.45


def test_a_variance_term_with_almost_constant_codes_does_not_shorten_the_first_step() -> None:
    """Where the standard deviation s of a code is small, the term's curvature is -weight (floor / s - 1) across it."""
    decoder = OneHidden(n_hidden=20, constraint=Free()).build(12, (30,), rng(0))
    x = torch.randn(40, 30, generator=rng(1))
    z = torch.rand(40, 12, generator=rng(2))
    z[:, :4] *= 1e-3
    energy = CoupledEnergy(DecoderEnergy(x, decoder, L1(positive=True), 0.1), BatchVariance(weight=30.0, floor=0.5))
    eta = FISTA(step_size="backtracking").init(energy, z).eta
    assert float(eta.min()) >= 0.9 / energy.lipschitz()


@pytest.mark.parametrize("name", ["one hidden", "one hidden, pulled", "any decoder"])
def test_squared_error_of_solved_codes_has_the_gradients_of_autograd(name: str) -> None:
    energy = ENERGIES[name]
    z, decoder = solve(energy, None, codes(), max_steps=8, tol=1e-12).z, energy.decoder
    weights = [p for p in decoder.parameters() if p.requires_grad]
    weight = torch.rand(len(z), generator=rng(4), dtype=torch.float64)
    plain = (decoder.mean(z) - energy.x).square().sum(dim=1)
    error = energy.squared_error(z)
    torch.testing.assert_close(error, plain)
    if weights:
        assert type(error.grad_fn) is not type(plain.grad_fn), "computed again"
        wanted = torch.autograd.grad((weight * plain).sum(), weights)
        for grad, other in zip(torch.autograd.grad((weight * error).sum(), weights), wanted, strict=True):
            torch.testing.assert_close(grad, other)
    anywhere = energy.squared_error(codes(9))
    torch.testing.assert_close(anywhere, (decoder.mean(codes(9)) - energy.x).square().sum(dim=1))


@pytest.mark.parametrize("name", ["one hidden", "one hidden, pulled"])
def test_curvature_along_a_direction_is_that_of_differences(name: str) -> None:
    energy, h = ENERGIES[name], 1e-7
    z, u = codes(), torch.randn(30, K, generator=rng(6), dtype=torch.float64)
    differences = (u * (energy.grad(z + h * u) - energy.grad(z))).sum(dim=1, keepdim=True) / h
    torch.testing.assert_close(energy.curvature_along(z, u), differences, rtol=1e-4, atol=1e-6)
    assert ENERGIES["any decoder"].curvature_along(z, u) is None


def test_a_solution_whose_rows_end_together_is_not_evaluated_again() -> None:
    decoder, calls = one_hidden(), list[Tensor]()
    pullback = decoder.pullback
    decoder.pullback = lambda z: (calls.append(z), pullback(z))[1]
    energy = decoded(decoder)
    result = solve(CoupledEnergy(energy, HINGE), None, codes(), max_steps=8, tol=1e-12)
    assert len(calls) == len({id(z) for z in calls})
    assert any(z is result.z for z in calls)
    torch.testing.assert_close(result.objective, CoupledEnergy(energy, HINGE).per_sample(result.z.clone()))
