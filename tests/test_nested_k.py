"""One model good at many k: the multi-budget term, dense and sparse, and models at another k."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

import sparsecode as sc
from sparsecode.data import Digits
from sparsecode.losses import NestedK
from sparsecode.losses.nested_k import parts_of
from sparsecode.models import Amortised, with_k
from sparsecode.models.amortised import AmortisedModel
from sparsecode.nn import BatchTopK, ReLU, TopK
from sparsecode.nn.activations import top_k
from sparsecode.ops.rng import Stream
from sparsecode.ops.sparse_layout import dense, from_dense
from sparsecode.records import Batch


def made(k: int, budgets: tuple[int, ...], n_code: int = 1100, *, arithmetic: str = "dense") -> AmortisedModel:
    spec = Amortised(n_code=n_code, activation=TopK(k=k), terms=(NestedK(k=budgets),), arithmetic=arithmetic)  # pyright: ignore[reportArgumentType]
    model = spec.build((16,), seed=0).train()
    with torch.no_grad():
        model.decoder.bias.add_(0.1)  # pyright: ignore[reportOperatorIssue, reportCallIssue] - a dictionary
    return model


def loss_and_gradients(model: AmortisedModel, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    loss = model.loss(Batch(x), 0, Stream(0, 0))
    loss.total.backward()
    return loss.parts["fidelity"].detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def test_the_fidelity_is_the_mean_error_of_the_k_largest_at_every_k() -> None:
    model, x = made(8, (1, 3)), torch.randn(20, 16)
    fidelity, _ = loss_and_gradients(model, x)
    with torch.no_grad():
        z = model.encode(x)
        errors = [(x - model.decode(top_k(z, k))).square().sum(dim=1).mean() for k in (1, 3, 8)]
        torch.testing.assert_close(fidelity, torch.stack(errors).mean())
        for k, error in zip((1, 3), errors, strict=False):
            torch.testing.assert_close((x - with_k(model, k).reconstruct(x)).square().sum(dim=1).mean(), error)


def test_sparse_steps_have_the_loss_and_gradients_of_dense_ones() -> None:
    x = torch.randn(30, 16)
    fidelity, gradients = loss_and_gradients(made(8, (1, 3)), x)
    model = made(8, (1, 3), arithmetic="exact")
    step = model._forward(Batch(x), 0, Stream(0, 0))
    assert type(step.code).__name__ == "SparseCode"  # or nothing is compared
    other, others = loss_and_gradients(model, x)
    torch.testing.assert_close(other, fidelity)
    assert others.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-6)


def test_parts_of_a_code_are_its_largest_ones() -> None:
    z = torch.relu(torch.randn(9, 12))
    z[0] = 0.0  # a sample without codes, and one with fewer than a part
    z[1, 2:] = 0.0
    split = dense(parts_of(from_dense(z, z > 0), (2, 5))).view(9, 3, 12)
    torch.testing.assert_close(split.sum(dim=1), z)
    torch.testing.assert_close(split[:, 0], top_k(z, 2))
    torch.testing.assert_close(split[:, :2].sum(dim=1), top_k(z, 5))


def test_a_batch_topk_model_trains_with_it() -> None:
    spec = Amortised(n_code=1100, activation=BatchTopK(k=6), terms=(NestedK(k=(2,)),), arithmetic="exact")
    model, x = spec.build((16,), seed=0).train(), torch.randn(40, 16)
    first = float(model.loss(Batch(x), 0, Stream(0, 0)).total.detach())  # a dense step sets the threshold
    second = float(model.loss(Batch(x), 1, Stream(0, 0)).total.detach())
    assert first == pytest.approx(second, rel=1e-5)


@pytest.mark.slow
def test_one_model_is_better_at_other_k_than_one_trained_at_a_single_k() -> None:
    """On digits: trained at 16 with budgets, against 16 alone, at k of 2, 4, 8; at 16 itself it loses little."""
    splits = Digits().load()
    x = splits.test.x
    errors: dict[bool, dict[int, float]] = {}
    for nested in (False, True):
        spec = Amortised(n_code=128, activation=TopK(k=16), terms=(NestedK(k=(2, 4, 8)),) if nested else ())
        model = sc.fit(spec, splits, epochs=10, batch_size=64, select="last", progress=False, figures=False).model
        with torch.no_grad():
            errors[nested] = {k: float((x - with_k(model, k).reconstruct(x)).square().mean()) for k in (2, 4, 8, 16)}
    ratios = {k: errors[True][k] / errors[False][k] for k in (2, 4, 8, 16)}
    assert ratios[2] < 0.75, ratios
    assert ratios[4] < 0.75, ratios
    assert ratios[8] < 0.85, ratios
    assert ratios[16] < 1.15, ratios


def test_bad_budgets_and_models_are_refused_by_name() -> None:
    for wrong in ((), (0,), (3, 3), (4, 2)):
        with pytest.raises(ValueError, match=r"NestedK\.k|at `NestedK|length"):
            NestedK(k=wrong)
    with pytest.raises(ValueError, match=r"terms\.nested_k\.k ends at 16; expected below n_code, 16"):
        Amortised(n_code=16, activation=TopK(k=4), terms=(NestedK(k=(2, 16)),))
    with pytest.raises(ValueError, match=r"model: ReLU; expected an Amortised model with activation topk"):
        with_k(Amortised(n_code=16, activation=ReLU()).build((4,), seed=0), 2)
    with pytest.raises(ValueError, match="k is 17; expected 1 to 16"):
        with_k(Amortised(n_code=16, activation=TopK(k=4)).build((4,), seed=0), 17)
    spec = Amortised(n_code=16, activation=TopK(k=4), terms=(NestedK(k=(2,)),))
    assert msgspec.json.decode(msgspec.json.encode(spec), type=Amortised) == spec
    model = spec.build((4,), seed=0)
    x = np.ones((3, 4), np.float32)
    assert (np.asarray(with_k(model, 1).encode(x)) != 0).sum(axis=1).max() == 1
    assert (np.asarray(model.encode(x)) != 0).sum(axis=1).max() > 1  # the first is as it was
