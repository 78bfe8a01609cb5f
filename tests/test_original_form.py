"""Twelve training steps as the paper's code states them, against ours with converted constants and its stopping rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import big_digits, replace

from sparsecode.data import Arrays
from sparsecode.data.batches import batches
from sparsecode.models.iterative import Inference, Iterative, IterativeModel
from sparsecode.nn.decoders import OneHidden
from sparsecode.nn.normalisers import Standardise
from sparsecode.ops.rng import Stream
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch
from sparsecode.schedules import Clock, resolve
from sparsecode.solvers import CoupledEnergy, DecoderEnergy, QuadraticEnergy, energy_of, solve
from sparsecode.train.optim import build, set_rates

Tensors = dict[str, torch.Tensor]

# lambda, gamma, beta, eta, learning rate of decoder and encoder, weight decay of the decoder's and the encoder's bias
CONSTANTS = {
    "mnist-sdl": (0.005, 1.0, 0.0, 1.0, 1e-3, 3e-4, 0.0, 0.0),
    "mnist-sdl-nl": (0.01, 1.0, 0.0, 1.0, 1e-3, 1e-4, 1e-3, 0.0),
    "mnist-vdl": (0.02, 5.0, 10.0, 0.5, 3e-4, 1e-4, 0.0, 0.0),
    "mnist-vdl-nl": (0.01, 100.0, 10.0, 0.5, 3e-4, 1e-4, 1e-3, 0.0),
    "patches-sdl": (0.005, 1.0, 0.0, 0.5, 1e-3, 1e-4, 0.0, 1e-2),
    "patches-sdl-nl": (0.01, 1.0, 0.0, 0.5, 1e-3, 1e-4, 1e-2, 1e-2),
    "patches-vdl": (0.01, 5.0, 10.0, 0.5, 3e-4, 1e-4, 0.0, 1e-2),
    "patches-vdl-nl": (0.01, 40.0, 10.0, 0.5, 5e-5, 1e-4, 1e-1, 1e-2),
}
BATCH, STEPS = 40, 6
MOST = 60  # inference steps, instead of 200: enough for rows to stop and go on


def reference_codes(
    name: str, y: torch.Tensor, decode: Callable[[torch.Tensor], torch.Tensor], z_e: torch.Tensor, tau: float
) -> torch.Tensor:
    """FISTA by autograd on (1/P) |y - decode(z)|^2 + gamma / K |z - z_e|^2 + beta hinge(z), shrunk by eta lambda."""
    lam, gamma, beta, eta, *_ = CONSTANTS[name]
    beta = beta * BATCH / 250  # it belongs to batches of 250
    z = x = z_e
    t, going = 1.0, torch.ones(len(y), 1, dtype=y.dtype)
    for _ in range(MOST):
        at = x.clone().requires_grad_()
        smooth = (y - decode(at)).square().mean(dim=1).sum() + gamma * (at - z_e).square().mean(dim=1).sum()
        smooth = smooth + beta * torch.relu(0.5 - at.std(dim=0)).square().sum()
        gradient = torch.autograd.grad(smooth, at)[0]
        new = torch.relu(x - going * eta * gradient - going * eta * lam)
        following = (1 + (1 + 4 * t**2) ** 0.5) / 2
        x = new + (t - 1) / following * (new - z)
        going = (~((new - z).norm(dim=1) / z.norm(dim=1) < tau)).to(y.dtype)[:, None]
        z, t = new, following
        if not going.any():
            break
    return z.detach()


def decoder_of(weights: Tensors) -> Callable[[torch.Tensor], torch.Tensor]:
    if "atoms" in weights:
        return lambda z: z @ weights["atoms"]
    return lambda z: torch.relu(z @ weights["hidden"] + weights["bias"]) @ weights["out"]


def reference_training(name: str, x: list[torch.Tensor], start: dict[str, Tensors]) -> dict[str, Tensors]:
    """Separate steps for decoder and encoder on mean squared errors; columns (here rows) projected after each."""
    *_, beta, _, lr_d, lr_e, decay_d, decay_e = CONSTANTS[name]
    parts = {part: {k: w.clone().requires_grad_() for k, w in ws.items()} for part, ws in start.items()}
    d, e = parts["decoder"], parts["encoder"]
    steps = [
        torch.optim.Adam(
            [
                {"params": [w for k, w in ws.items() if k != "bias"]},
                {"params": [w for k, w in ws.items() if k == "bias"], "weight_decay": decay},
            ],
            lr=lr,
        )
        for ws, lr, decay in ((d, lr_d, decay_d), (e, lr_e, decay_e))
    ]
    decode = decoder_of(d)
    for y in x:
        drive = y @ e["weight"].T + e["bias"]
        z_e = torch.relu(drive)
        for _ in range(3):
            z_e = torch.relu(drive + z_e @ e["lateral"].T)
        frozen = decoder_of({k: w.detach() for k, w in d.items()})
        z = reference_codes(name, y, frozen, z_e.detach(), tau=1e-3)
        for step, loss in zip(steps, ((y - decode(z)).square().mean(), (z_e - z).square().mean()), strict=True):
            step.zero_grad()
            loss.backward()
            step.step()
        if not beta:
            with torch.no_grad():
                for weight in (w for k, w in d.items() if k != "bias"):
                    weight /= weight.norm(dim=1, keepdim=True)
    return parts


def prepared(name: str, folder: Path) -> tuple[IterativeModel, list[torch.Tensor], dict[str, Tensors]]:
    """The recipe's model in float64 on its stopping rule, batches of its input, and its weights by their names."""
    config = RECIPES[name]()
    splits = Arrays(path=str(big_digits(folder))).load()
    assert isinstance(config.model, Iterative)
    spec = replace(config.model, normaliser=Standardise(0.1307, 0.3081))
    spec = replace(spec, inference=replace(spec.inference, compat=True, max_steps=MOST))
    if isinstance(spec.decoder, OneHidden):
        spec = replace(spec, decoder=replace(spec.decoder, n_hidden=60))
    model = resolve(spec, Clock(220, 44_000)).build(splits.shape, seed=0).double()
    x = [b.x.double() for _, b in batches(splits.train, BATCH, seed=0, start=0, stop=STEPS)]
    named = {part: dict(getattr(model, part).named_parameters()) for part in ("decoder", "encoder")}
    return model, x, {part: {k: w.detach().clone() for k, w in ws.items()} for part, ws in named.items()}


@pytest.mark.parametrize(
    "name", [n if n.startswith("mnist") else pytest.param(n, marks=pytest.mark.slow) for n in CONSTANTS]
)
def test_presets_take_the_papers_steps(name: str, tmp_path: Path) -> None:
    model, x, start = prepared(name, tmp_path)
    groups = build(resolve(RECIPES[name]().optim, Clock(220, 44_000)), model)
    for step, pixels in enumerate(x):
        loss = model.loss(Batch(pixels), step, Stream(0, step))
        set_rates(groups, step)
        for group in groups:
            group.optimiser.zero_grad()
        loss.total.backward()
        for group in groups:
            group.optimiser.step()
        model.constrain_()
    theirs = reference_training(name, [model.normalise(p) for p in x], start)
    for part, weights in theirs.items():
        for key, weight in weights.items():
            mine = getattr(model, part).get_parameter(key).detach()
            moved = float((weight.detach() - start[part][key]).norm())
            assert moved > 1e-4, key
            assert float((mine - weight.detach()).norm()) < 1e-5 * moved, key


def training_energy(
    model: IterativeModel, y: torch.Tensor, z_e: torch.Tensor
) -> QuadraticEnergy | DecoderEnergy | CoupledEnergy:
    spec = model.spec
    energy = energy_of(model.decoder, y, spec.proximal, float(model.weight)).pulled_to(z_e, spec.proximity)
    return energy if spec.variance is None else CoupledEnergy(energy, spec.variance)


@pytest.mark.parametrize(("name", "tau"), [("mnist-sdl", 0.05), ("mnist-vdl", 0.02), ("mnist-vdl-nl", 0.002)])
def test_stopped_codes_coast_on_their_momentum_as_in_the_original(name: str, tau: float, tmp_path: Path) -> None:
    """Codes after stops, coasting and restarts of single rows, far from a fixed point."""
    model, x, start = prepared(name, tmp_path)
    y = model.normalise(x[0])
    z_e = torch.rand(BATCH, model.spec.n_code, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = reference_codes(name, y, decoder_of(start["decoder"]), z_e, tau)
    how = model.spec.inference
    assert how.original is not None
    energy = training_energy(model, y, z_e)
    result = solve(energy, replace(how.original, tau=tau), z_e, max_steps=MOST, tol=1e-3)
    unstopped = reference_codes(name, y, decoder_of(start["decoder"]), z_e, tau=0.0)
    assert float((theirs - unstopped).abs().max()) > 1e-5
    torch.testing.assert_close(result.z, theirs, rtol=0, atol=1e-9)


def test_the_original_rule_without_its_stop_reaches_the_same_optimum(tmp_path: Path) -> None:
    model, x, _ = prepared("mnist-sdl", tmp_path)
    y = model.normalise(x[0])
    with torch.no_grad():
        z_e = model.encoder(y) if model.encoder is not None else y
    energy = training_energy(model, y, z_e)
    original = model.spec.inference.original
    assert original is not None
    to_the_end = solve(energy, replace(original, tau=0.0), z_e, max_steps=5_000, tol=1e-9)
    stopped = solve(energy, original, z_e, max_steps=200, tol=1e-9)
    corrected = solve(energy, None, z_e, max_steps=5_000, tol=1e-9)
    torch.testing.assert_close(to_the_end.objective, corrected.objective, rtol=1e-9, atol=0)
    assert (stopped.objective >= corrected.objective * (1 - 1e-9)).all()
    assert stopped.gap.mean() > 10 * corrected.gap.mean()  # small changes are no sign of an optimum


def test_compat_needs_the_original_rule() -> None:
    with pytest.raises(ValueError, match="compat is set and `original` is missing"):
        Inference(compat=True)
    assert Iterative(n_code=3, weight=1.0).inference.original is None


def test_the_papers_split_is_a_fixed_permutation() -> None:
    order = np.random.RandomState(31).permutation(60000)
    assert order[:3].tolist() == [20948, 56127, 40804]
    assert order[55000:55003].tolist() == [10658, 20558, 59484]
