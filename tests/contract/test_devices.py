"""Every kind of training step on a GPU gives the losses and gradients of the CPU; the CPU's own test is that of bfloat16 against float32.

`make gpu-check` runs these on a machine with a GPU.
"""

from __future__ import annotations

import msgspec
import pytest
import torch

import sparsecode as sc
from sparsecode.data import Digits
from sparsecode.losses import AuxK, Matryoshka, NestedK, Sparsity
from sparsecode.models import Amortised, Variational
from sparsecode.models.amortised import AmortisedModel
from sparsecode.nn import Affine, BatchTopK, Gated, JumpReLU, ReLU, TopK
from sparsecode.ops.rng import Stream
from sparsecode.penalties import L0, L1
from sparsecode.records import Batch

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])
SPECS: dict[str, Amortised] = {
    "topk": Amortised(n_code=128, activation=TopK(k=8), terms=(AuxK(dead_after=10),)),
    "nested_k": Amortised(n_code=128, activation=TopK(k=8), terms=(NestedK(k=(2, 4)),)),
    "batch_topk": Amortised(n_code=128, activation=BatchTopK(k=8)),
    "relu": Amortised(n_code=128, activation=ReLU(), terms=(Sparsity(L1(), weight=0.1),)),
    "jumprelu": Amortised(
        n_code=128, activation=JumpReLU(threshold=0.1, bandwidth=0.2), terms=(Sparsity(L0(), weight=0.05),)
    ),
    "gated": Amortised(n_code=128, activation=Gated(), terms=(Sparsity(L1(), weight=0.1),), encoder=Affine(bias=False)),
    "matryoshka": Amortised(n_code=128, activation=TopK(k=8), terms=(Matryoshka(sizes=(32, 64)),)),
}
RTOL = {torch.float32: 1e-3, torch.bfloat16: 3e-2}  # of the norm of a gradient


def x_of(n: int) -> torch.Tensor:
    return Digits().load().train.x[:n]


def step_of(spec: Amortised, device: str, low: bool) -> tuple[float, dict[str, torch.Tensor], torch.Tensor]:
    """Loss and gradients of the second of two steps, and codes, on the CPU."""
    torch.backends.cuda.matmul.allow_tf32 = False
    model: AmortisedModel = spec.build((8, 8), seed=0).train()
    model.in_bf16 = low
    model.initialise_(x_of(200))
    model.to(device)
    x = x_of(64).to(device)
    model.loss(Batch(x), 0, Stream(0, 0))
    loss = model.loss(Batch(x), 1, Stream(0, 1))
    loss.total.backward()
    gradients = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    return float(loss.total.detach()), gradients, model.eval().encode(x).cpu()


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_steps_of_autoencoders(name: str, device: str) -> None:
    loss, gradients, codes = step_of(SPECS[name], "cpu", low=False)
    for low in (False, True) if device == "cuda" else (True,):
        other, others, there = step_of(SPECS[name], device, low)
        tolerance = RTOL[torch.bfloat16 if low else torch.float32]
        assert other == pytest.approx(loss, rel=tolerance)
        assert others.keys() == gradients.keys()
        for parameter, gradient in gradients.items():
            assert others[parameter].dtype == torch.float32
            # a step or a top-k that rounding moves changes single entries: the gradient as a whole is compared
            difference = torch.linalg.vector_norm(others[parameter] - gradient)
            assert float(difference) <= 10 * tolerance * float(torch.linalg.vector_norm(gradient)) + 1e-5, parameter
        if not low:
            assert float((there != 0).ne(codes != 0).double().mean()) < 1e-3


@pytest.mark.parametrize("device", [CUDA])
def test_solved_codes_of_a_gpu_are_those_of_the_cpu(device: str) -> None:
    x, atoms = x_of(50).flatten(1), torch.nn.functional.normalize(torch.randn(100, 64), dim=1)
    ours = sc.sparse_encode(x, atoms, 0.1, tol=1e-6)
    there = sc.sparse_encode(x.to(device), atoms.to(device), 0.1, tol=1e-6)
    torch.testing.assert_close(torch.as_tensor(there).cpu(), torch.as_tensor(ours), rtol=0, atol=1e-3)


@pytest.mark.parametrize("device", [CUDA])
def test_a_variational_step_of_a_gpu_is_that_of_the_cpu(device: str) -> None:
    base = sc.RECIPES["digits-vsc"]()
    assert isinstance(base.model, Variational)
    losses: list[float] = []
    for place in ("cpu", device):
        model = base.model.build((8, 8), seed=0).train()
        model.initialise_(x_of(200))
        model.to(place)
        losses.append(float(model.loss(Batch(x_of(64).to(place)), 0, Stream(0, 0)).total.detach()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("device", [CUDA])
def test_a_run_on_a_gpu_is_scored_as_on_the_cpu(device: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = sc.RECIPES["digits-topk"]()
    scores: list[float | None] = []
    for place, precision in (("cpu", "float32"), (device, "float32"), (device, "bf16")):
        train = msgspec.structs.replace(base.train, epochs=10.0, precision=precision)
        result = sc.run(
            msgspec.structs.replace(base, train=train), tmp_path_factory.mktemp("runs") / "a", accelerator=place, figures=False
        )  # fmt: skip
        assert result.evaluation is not None
        scores.append(result.evaluation.scores["encode"].explained_variance)
    assert scores[1] == pytest.approx(scores[0], abs=0.01)
    assert scores[2] == pytest.approx(scores[0], abs=0.01)
