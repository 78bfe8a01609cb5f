"""Variational sparse coding trained by the library is a loop written out from the paper's equations, step for step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsecode.data import Digits, Splits
from sparsecode.data.batches import batches
from sparsecode.models.variational import Variational, VariationalModel
from sparsecode.nn.gates import SigmoidGate
from sparsecode.nn.perceptron import Perceptron, PerceptronModule
from sparsecode.nn.posteriors import SpikeSlab
from sparsecode.nn.priors import SpikeSlabPrior
from sparsecode.ops.rng import Stream
from sparsecode.train.fit import fit, launch
from sparsecode.train.optim import Adam, Optim
from sparsecode.train.plan import Train

ALPHA, SLOPE, N_CODE, SEED, STEPS, BATCH = 0.01, 50.0, 12, 3, 60, 25
SPEC = Variational(
    N_CODE,
    SpikeSlab(spike="negrelu", gate=SigmoidGate(slope=SLOPE)),
    SpikeSlabPrior(alpha=ALPHA),
    net=Perceptron(hidden=(30,)),
)


@pytest.fixture(scope="module")
def splits() -> Splits:
    result = Digits().load()
    return result._replace(train=result.train.take(slice(500)))


def layers(model: VariationalModel) -> list[Tensor]:
    """Weights and biases of encoder and decoder in turn."""
    assert isinstance(model.encoder, PerceptronModule)
    assert isinstance(model.decoder, PerceptronModule)
    return [value.detach().clone() for net in (model.encoder, model.decoder) for value in net.layers()]


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], len(weight))
    layer.weight.data, layer.bias.data = weight, bias
    return layer


def negative_elbo(encoder: nn.Module, decoder: nn.Module, x: Tensor, normal: Tensor, uniform: Tensor) -> Tensor:
    """Nats per sample, one draw of z: Tonolini, Jensen & Murray-Smith, UAI 2019, as replicated."""
    mu, logvar, spike = encoder(x).chunk(3, dim=1)
    gamma = torch.exp(-torch.relu(-spike))
    gate = torch.sigmoid(SLOPE * (gamma + uniform - 1))
    z = gate * (mu + torch.exp(logvar / 2) * normal)
    nll = functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="none").sum(dim=1)
    kept = gamma.clamp(1e-6, 1 - 1e-6)
    slab = kept * (mu**2 + logvar.exp() - logvar - 1) / 2
    spikes = kept * torch.log(kept / ALPHA) + (1 - kept) * torch.log((1 - kept) / (1 - ALPHA))
    return (nll + slab.sum(dim=1) + spikes.sum(dim=1)).mean()


def draws() -> Iterator[tuple[Tensor, Tensor]]:
    """The library's noise of each step: normal, then uniform numbers of one generator."""
    for step in range(STEPS):
        rng = Stream(SEED, step)("posterior")
        yield torch.randn(BATCH, N_CODE, generator=rng), torch.rand(BATCH, N_CODE, generator=rng)


@pytest.mark.parametrize("fused", [True, False])
def test_weights_are_those_of_a_loop_written_out(splits: Splits, fused: bool) -> None:
    model = SPEC.build(splits.shape, seed=SEED)
    w = layers(model)
    start = torch.cat([value.flatten() for value in w])
    encoder = nn.Sequential(linear(w[0], w[1]), nn.ReLU(), linear(w[2], w[3]))
    decoder = nn.Sequential(linear(w[4], w[5]), nn.ReLU(), linear(w[6], w[7]))
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    plain: list[float] = []
    for (_, batch), (normal, uniform) in zip(batches(splits.train, BATCH, SEED, 0, STEPS), draws(), strict=True):
        loss = negative_elbo(encoder, decoder, batch.x.flatten(1), normal, uniform)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plain.append(float(loss.detach()))

    model.fused = fused
    losses: list[float] = []
    train = Train(epochs=STEPS * BATCH / 500, batch_size=BATCH, select="last", log_every=1)
    fit(
        model, splits, Optim({"*": Adam(lr=1e-3)}), train, SEED, fabric=launch("32-true", "cpu"),
        observers=[lambda event: losses.append(event.values["loss"]) if event.kind == "train" else None],
    )  # fmt: skip
    assert losses == pytest.approx(plain, rel=1e-4)
    assert losses[-1] < 0.8 * losses[0]
    end = torch.cat([p.detach().flatten() for p in (*encoder.parameters(), *decoder.parameters())])
    ours = torch.cat([value.flatten() for value in layers(model)])
    assert float((ours - end).norm() / (end - start).norm()) < 1e-3
