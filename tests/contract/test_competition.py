"""Inhibition by the largest, learned and switched: the variants' counts, states and derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sparsecode.nn.activations import GABASwitch, Inhibition, LearnedK, ReLU, SampledK, SubtractTopK, TopK
from sparsecode.ops.rng import Stream
from sparsecode.schedules import Exponential, Linear, Schedule

N, K = 200, 10
RNG = torch.Generator().manual_seed(0)
PRE = torch.randn(50, N, dtype=torch.float64, generator=RNG).abs()  # all of them active before any competition


def active(z: Tensor) -> set[int]:
    return set((z > 0).sum(dim=1).tolist())


@pytest.mark.parametrize("kind", [TopK, SubtractTopK])
@pytest.mark.parametrize(
    ("k", "start"),
    [
        (float(K), K),
        (Linear(start=N, stop=K, length=20), N),
        (Exponential(start=N, factor=K / N, every=20, stop=K), N),
    ],
)
def test_k_falls_to_its_least_and_stays(kind: type[TopK | SubtractTopK], k: float | Schedule, start: int) -> None:
    module = kind(k).build(N).double()
    counts = [active(module.train_code(PRE, step, training=True).z) for step in range(40)]
    assert counts[0] == {start}
    assert counts[20:] == [{K}] * 20
    assert active(module.infer(PRE)) == {K}
    if isinstance(k, Schedule):
        assert counts[10] == {round(k(10))}


def test_subtraction_leaves_the_differences_to_the_next() -> None:
    pre = torch.tensor([[5.0, 3.0, -1.0, 2.0]])
    assert SubtractTopK(2).build(4).infer(pre).tolist() == [[3, 1, 0, 0]]
    assert SubtractTopK(4).build(4).infer(pre).tolist() == [[5, 3, 0, 2]]  # there is no fifth to subtract


@pytest.mark.parametrize("by", ["active", "amount", "gradient"])
def test_inhibition_switches_from_excitation_as_events_are_counted(by: str) -> None:
    module = GABASwitch(k=K, until=3.0, by=by).build(N).double()  # pyright: ignore[reportArgumentType]
    pre = PRE.clone().requires_grad_()
    first = module.train_code(pre, 0, training=True)
    least = PRE.sort(dim=1, descending=True).values[:, K : K + 1]
    torch.testing.assert_close(first.z, PRE + least)  # every unit is lifted
    first.z.square().sum().backward()
    counts = module.get_buffer("counts").clone()
    assert bool((counts > 0).all())
    expected = {"active": 50.0, "gradient": 50.0, "amount": float(first.z[:, 0].detach().sum())}[by]
    assert math.isclose(float(counts[0]), expected)
    module.train_code(PRE, 1, training=False)
    module.infer(PRE)
    assert torch.equal(module.get_buffer("counts"), counts)  # evaluation counts nothing
    module.get_buffer("counts").fill_(3.0 * 50)
    assert active(module.infer(PRE)) == {K}
    module.get_buffer("counts").fill_(1.5 * 50)
    torch.testing.assert_close(module.infer(PRE), PRE)  # half way there is no inhibition


def test_a_learned_rank_cuts_softly_and_has_the_derivative_of_finite_differences() -> None:
    module = LearnedK(start=20.3, window=0.1).build(N).double()
    (k,) = module.parameters()
    with torch.no_grad():
        z = module.infer(PRE)
    ordered = PRE.sort(dim=1, descending=True).values
    kept = z.sort(dim=1, descending=True).values
    torch.testing.assert_close(kept[:, :10], ordered[:, :10])  # 10 ranks above k - window / 2
    assert active(z) <= {30, 31}
    assert abs(float((z / PRE).sum(dim=1).mean()) - 20.3) < 0.1
    (grad,) = torch.autograd.grad(module.train_code(PRE, 0, training=True).z.sum(), k)
    values = []
    for change in (1e-5, -1e-5):
        with torch.no_grad():
            k += change
            values.append(float(module.infer(PRE).sum()))
            k -= change
    assert math.isclose((values[0] - values[1]) / 2e-5, float(grad), rel_tol=1e-5)


@pytest.mark.parametrize(("sign", "grows"), [(1.0, False), (-1.0, True)])
def test_a_sampled_k_falls_if_the_loss_grows_with_it(sign: float, grows: bool) -> None:
    module = SampledK(start=40.0, deviation=0.5).build(N).double()
    optimiser = torch.optim.SGD(module.parameters(), lr=1e-3)
    start = float(module.get_parameter("mean").detach())
    for step in range(100):
        code = module.train_code(PRE, step, training=True, rng=Stream(0, step))
        assert code.logp is not None
        cost = sign * (code.z > 0).sum(dim=1).double()
        advantage = cost - (cost.sum() - cost) / (len(cost) - 1)
        optimiser.zero_grad()
        (advantage * code.logp).mean().backward()
        optimiser.step()
        module.constrain_()
    assert (float(module.get_parameter("mean").detach()) > start) == grows
    assert abs(float(module.get_parameter("mean").detach()) - start) > 0.1
    assert active(module.infer(PRE)) == {round(math.exp(float(module.get_parameter("mean").detach())))}


def test_without_a_current_inhibition_is_a_rectifier_and_one_step_subtracts_it() -> None:
    pre = PRE - 0.7
    relu = ReLU().build(N).infer(pre)
    assert torch.equal(Inhibition(steps=0).build(N).infer(pre), relu)
    module = Inhibition().build(N).double()
    assert torch.equal(module.infer(pre), relu)  # its matrix starts at 0
    lateral = module.get_parameter("lateral")
    torch.nn.init.normal_(lateral, std=0.1, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(module.infer(pre), torch.relu(pre - relu @ lateral.T))
    only = Inhibition(only_inhibitory=True).build(N).double()
    only.load_state_dict(module.state_dict())
    torch.testing.assert_close(only.infer(pre), torch.relu(pre - torch.relu(relu @ lateral.T)))


def test_an_interneuron_starts_by_taking_the_mean_away() -> None:
    pre = PRE - 0.7
    z = torch.relu(pre)
    torch.testing.assert_close(
        Inhibition(circuit="interneuron").build(N).double().infer(pre), torch.relu(pre - z.mean(dim=1, keepdim=True))
    )


def test_schedules_that_never_reach_their_stop_are_refused() -> None:
    with pytest.raises(ValueError, match="never reaches it"):
        Exponential(start=10.0, factor=2.0, every=5, stop=1.0)
