"""Twenty training steps of SDL as the paper's code states it, against ours with converted constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from toys import big_digits, replace

from sparsecode.data import Arrays
from sparsecode.data.batches import batches
from sparsecode.models.iterative import Inference
from sparsecode.ops.streams import Stream
from sparsecode.recipes import RECIPES
from sparsecode.train.optim import build, set_rates

LAMBDA, GAMMA, LR_DECODER, LR_ENCODER = 0.005, 1.0, 1e-3, 3e-4


def reference_codes(y: torch.Tensor, w: torch.Tensor, z_e: torch.Tensor) -> torch.Tensor:
    """argmin_z (1/P) |y - W z|^2 + gamma / K |z - z_e|^2 + lambda |z|_1, z >= 0: plain ISTA, to the end."""
    p, k = w.shape
    step = 1 / (2 * torch.linalg.matrix_norm(w, 2) ** 2 / p + 2 * GAMMA / k)
    z = z_e.clone()
    for _ in range(400):
        gradient = 2 / p * (z @ w.T - y) @ w + 2 * GAMMA / k * (z - z_e)
        z = torch.relu(z - step * gradient - step * LAMBDA)
    return z


def reference_training(x: list[torch.Tensor], w: torch.Tensor, enc: list[torch.Tensor]) -> list[torch.Tensor]:
    """Separate steps for decoder and encoder on mean squared errors, columns of W projected after each."""
    w = w.clone().requires_grad_()
    weight, lateral, bias = (t.clone().requires_grad_() for t in enc)
    decoder = torch.optim.Adam([w], lr=LR_DECODER)
    encoder = torch.optim.Adam([weight, lateral, bias], lr=LR_ENCODER)
    for pixels in x:
        y = (pixels.flatten(1) - 0.1307) / 0.3081
        drive = y @ weight.T + bias
        z_e = torch.relu(drive)
        for _ in range(3):
            z_e = torch.relu(drive + z_e @ lateral.T)
        z = reference_codes(y, w.detach(), z_e.detach())
        decoder.zero_grad()
        (y - z @ w.T).square().mean().backward()
        decoder.step()
        with torch.no_grad():
            w /= w.norm(dim=0)
        encoder.zero_grad()
        (z_e - z).square().mean().backward()
        encoder.step()
    return [w.detach().T, weight.detach(), lateral.detach(), bias.detach()]


def test_mnist_sdl_takes_the_papers_steps(tmp_path: Path) -> None:
    config = RECIPES["mnist-sdl"]()
    splits = Arrays(path=str(big_digits(tmp_path))).load()
    spec = replace(config.model, inference=Inference(tol=1e-12, max_steps=5000))
    model = spec.build(splits.shape, seed=0).double()
    groups = build(config.optim, model)
    w = model.decoder.atoms.detach().T.clone()
    enc = [t.detach().clone() for t in (model.encoder.weight, model.encoder.lateral, model.encoder.bias)]

    x: list[torch.Tensor] = []
    for step, batch in batches(splits.train, 50, seed=0, start=0, stop=20):
        x.append(batch.x.double())
        loss = model.loss(batch._replace(x=x[-1]), step, Stream(0, step))
        set_rates(groups, step)
        for group in groups:
            group.optimiser.zero_grad()
        loss.total.backward()
        for group in groups:
            group.optimiser.step()
        model.constrain_()
    ours = [model.decoder.atoms, model.encoder.weight, model.encoder.lateral, model.encoder.bias]
    for mine, theirs, start in zip(ours, reference_training(x, w, enc), [w.T, *enc], strict=True):
        moved = float((theirs - start).norm())
        assert moved > 1e-3
        assert float((mine.detach() - theirs).norm()) < 1e-5 * moved


def test_the_papers_split_is_a_fixed_permutation() -> None:
    order = np.random.RandomState(31).permutation(60000)
    assert order[:3].tolist() == [20948, 56127, 40804]
    assert order[55000:55003].tolist() == [10658, 20558, 59484]
