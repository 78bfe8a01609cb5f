"""Convolutional sparse coding: the dictionary as a matrix, its codes by the usual solvers, and learning planted atoms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sparsecode as sc
from sparsecode.nn import ConvolutionalDictionary, ConvolutionalLISTA, UnitNorm
from sparsecode.ops.rng import generator
from sparsecode.penalties import L1, ElasticNet
from sparsecode.solvers import FISTA, DecoderEnergy, QuadraticEnergy, solve

CASES = [((9, 8), "inside", 3), ((9, 8), "circular", 2), ((2, 8, 9), "inside", 2), ((2, 7, 8), "circular", 2)]


def built(shape: tuple[int, ...], boundary: str, n_atoms: int) -> tuple[torch.nn.Module, torch.Tensor]:
    """A dictionary of 4x4 atoms in float64, and the matrix that it stands for."""
    side = np.array(shape[-2:]) - (3 if boundary == "inside" else 0)
    n_code = n_atoms * int(side.prod())
    spec = ConvolutionalDictionary(size=4, boundary=boundary)  # pyright: ignore[reportArgumentType]
    module = spec.build(n_code, shape, generator(0, "decoder")).double()
    return module, module.mean(torch.eye(n_code, dtype=torch.float64)).detach()


@pytest.mark.parametrize(("shape", "boundary", "n_atoms"), CASES)
def test_it_is_a_dictionary_of_shifted_atoms(shape: tuple[int, ...], boundary: str, n_atoms: int) -> None:
    module, D = built(shape, boundary, n_atoms)
    torch.testing.assert_close(D.norm(dim=1), torch.ones(len(D), dtype=torch.float64))
    maps = D.reshape(n_atoms, -1, *((1, *shape) if len(shape) == 2 else shape))
    atom = module.filters[1].detach()  # pyright: ignore
    torch.testing.assert_close(maps[1, 0, :, :4, :4], atom)  # the first place is the upper left corner
    if boundary == "circular":  # the last one passes both edges
        torch.testing.assert_close(maps[1, -1, :, :3, :3], atom[:, 1:, 1:])
    x = torch.randn(3, D.shape[1], dtype=torch.float64)
    out, back = module.pullback(torch.ones(3, len(D), dtype=torch.float64))  # pyright: ignore
    torch.testing.assert_close(out[0], D.sum(dim=0))
    torch.testing.assert_close(back(x), x @ D.T)
    largest, bound = float(torch.linalg.eigvalsh(D @ D.T)[-1]), module.curvature_bound()  # pyright: ignore
    assert largest <= bound
    if boundary == "circular":
        assert bound <= largest * 1.00001


@pytest.mark.parametrize("penalty", [L1(), L1(positive=True), ElasticNet(ratio=0.3)], ids=str)
@pytest.mark.parametrize(("shape", "boundary", "n_atoms"), CASES[:2])
def test_codes_and_their_gap_are_those_of_the_matrix(
    shape: tuple[int, ...], boundary: str, n_atoms: int, penalty: L1
) -> None:
    module, D = built(shape, boundary, n_atoms)
    x = torch.randn(4, D.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = torch.zeros(4, len(D), dtype=torch.float64)
    mine = DecoderEnergy(x, module, penalty, 0.4)  # pyright: ignore[reportArgumentType]
    dense = QuadraticEnergy(x, D, penalty, 0.4)
    result = solve(mine, None, start, max_steps=5000, tol=1e-6)
    assert bool(result.converged.all())
    torch.testing.assert_close(result.gap, dense.gap(result.z), rtol=1e-6, atol=1e-12)
    best = solve(dense, FISTA(restart=True), start, max_steps=20_000, tol=1e-11)
    excess = (result.objective - best.objective) / dense.scale
    assert float(excess.max()) <= 1e-6
    # pulled to a target, as in training with an encoder
    target = torch.rand(4, len(D), dtype=torch.float64)
    pulled = [e.pulled_to(target, 0.7) for e in (mine, dense)]
    torch.testing.assert_close(pulled[0].gap(result.z), pulled[1].gap(result.z), rtol=1e-6, atol=1e-12)


def test_a_float32_gap_is_the_true_one() -> None:
    module, D = built(*CASES[0])
    x = torch.randn(4, D.shape[1], generator=torch.Generator().manual_seed(1))
    narrow = module.float()
    D = narrow.mean(torch.eye(len(D))).detach().double()  # pyright: ignore
    result = solve(DecoderEnergy(x, narrow, L1(), 0.05), None, torch.zeros(4, len(D)), max_steps=5000, tol=1e-5)  # pyright: ignore
    truth = QuadraticEnergy(x.double(), D, L1(), 0.05).gap(result.z.double())
    torch.testing.assert_close(result.gap.double(), truth, rtol=1e-4, atol=0)
    assert bool((truth <= 1.0001e-5).all())


def test_sizes_that_do_not_fit_are_refused() -> None:
    for leaf in (ConvolutionalDictionary(size=5), ConvolutionalLISTA(size=5)):
        with pytest.raises(ValueError, match=r"n_code is 100; expected atoms times their 4 by 4 places: 96, say"):
            leaf.build(100, (8, 8), generator(0, "x"))
        with pytest.raises(ValueError, match=r"atoms have 5 by 5 pixels, and samples the shape \(64,\)"):
            leaf.build(64, (64,), generator(0, "x"))
        with pytest.raises(ValueError, match=r"samples the shape \(8, 4\)"):
            leaf.build(64, (8, 4), generator(0, "x"))


@pytest.mark.parametrize("positive", [True, False])
def test_the_encoder_unrolls_ista(positive: bool) -> None:
    """With w = v * step and thresholds step * weight it takes the steps of ISTA."""
    module, D = built(*CASES[0])
    step, weight = 1 / module.curvature_bound(), 0.3  # pyright: ignore
    encoder = ConvolutionalLISTA(size=4, n_iter=4, positive=positive).build(len(D), (9, 8), generator(0, "x")).double()
    with torch.no_grad():
        encoder.back.copy_(module.filters)  # pyright: ignore
        encoder.weight.copy_(step * module.filters)  # pyright: ignore
        encoder.bias.fill_(-step * weight)
    x = torch.randn(3, 72, dtype=torch.float64)
    z = torch.zeros(3, len(D), dtype=torch.float64)
    for _ in range(5):
        z = L1(positive=positive).prox(z + step * (x - z @ D) @ D.T, step * weight)
    torch.testing.assert_close(encoder(x), z)


@pytest.mark.slow
def test_planted_atoms_are_learned() -> None:
    """Images of three atoms anywhere; learned ones match up to sign and a shift within the window."""
    rng = np.random.RandomState(0)
    atoms = np.zeros((3, 5, 5))
    atoms[0, 2], atoms[1, :, 2], atoms[2] = 1, 1, np.eye(5)
    atoms /= np.sqrt((atoms**2).sum(axis=(1, 2), keepdims=True))
    x = np.zeros((80, 10, 10), np.float32)
    for image in x:
        for _ in range(3):
            i, j = rng.randint(0, 6, size=2)
            image[i : i + 5, j : j + 5] += rng.uniform(0.5, 1.5) * atoms[rng.randint(3)]
    spec = ConvolutionalDictionary(size=5, constraint=UnitNorm())
    decoder = spec.build(4 * 36, (10, 10), generator(3, "decoder"))
    optimiser = torch.optim.Adam(decoder.parameters(), lr=0.05)
    rows = torch.from_numpy(x).flatten(1)
    for step in range(75):
        batch = rows[step % 2 * 40 :][:40]
        energy = DecoderEnergy(batch, decoder, L1(positive=True), 0.2)
        z = solve(energy, None, torch.zeros(40, 144), max_steps=50, tol=0.05).z
        optimiser.zero_grad()
        (decoder.mean(z) - batch).square().sum(dim=1).mean().backward()
        optimiser.step()
        decoder.constrain_()
    learned = decoder.filters.detach().numpy()[:, 0]
    for atom in atoms:
        wide = np.pad(atom, 4)
        likeness = [
            np.abs((wide[i : i + 5, j : j + 5] * own).sum()) for own in learned for i in range(9) for j in range(9)
        ]
        assert max(likeness) > 0.95


def test_the_recipe_trains_and_its_model_loads(tmp_path: object) -> None:
    run = sc.RECIPES["photos-csc"]()
    assert run.model.n_code == 16 * 14 * 14
    model = run.model.build((20, 20), 0)
    x = np.random.RandomState(0).randn(2, 20, 20).astype(np.float32)
    z = model.encode(x)
    assert z.shape == (2, 3136)
    assert model.reconstruct(x).shape == (2, 20, 20)
