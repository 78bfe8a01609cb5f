"""A training step with sparse codes gives the losses, counts and gradients of one with dense codes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sparsecode.data import Photos
from sparsecode.losses import AuxK, Sparsity
from sparsecode.losses.term import CodeSums
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.models.sparse_step import Arithmetic, Step, sparse_step
from sparsecode.nn.activations import BatchTopK, JumpReLU, ReLU, TopK
from sparsecode.nn.affine import BiasedDictionary
from sparsecode.nn.constraints import Free
from sparsecode.ops import score_blocks
from sparsecode.ops.rng import Stream
from sparsecode.ops.score_blocks import Products, int8_is_exact
from sparsecode.penalties import L0, L1, TanhPenalty
from sparsecode.records import Batch, Code, SparseCode

KINDS: dict[str, dict[str, Any]] = {
    "topk": {"activation": TopK(k=9), "terms": (AuxK(dead_after=300),)},
    "batch_topk": {"activation": BatchTopK(k=9)},
    "relu": {"activation": ReLU(), "terms": (Sparsity(L1(positive=True), weight=0.1),)},
    "weighted": {
        "activation": ReLU(),
        "terms": (Sparsity(TanhPenalty(), norm_weighted=True),),
        "decoder": BiasedDictionary(constraint=Free()),
    },
    "jumprelu": {"activation": JumpReLU(threshold=0.5, bandwidth=0.2), "terms": (Sparsity(L0(), weight=0.01),)},
}
LEVELS = {"relu": -0.8, "weighted": -0.8}


def patches(n: int = 200) -> Tensor:
    return Photos(n_train=n, size=8).load().train.x


def model(kind: str, arithmetic: Arithmetic) -> AmortisedModel:
    built = Amortised(n_code=1100, arithmetic=arithmetic, **KINDS[kind]).build((1, 8, 8), seed=0).train()
    built.initialise_(patches())
    with torch.no_grad():
        built.encoder.bias.fill_(LEVELS.get(kind, 0.0))  # pyright: ignore - a tensor
    return built


def trained(kind: str, arithmetic: Arithmetic) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Loss terms and counts of the third step, and the gradients, after two steps that move state."""
    built, result = model(kind, arithmetic), {}
    for step in range(3):
        built.zero_grad()
        loss = built.loss(Batch(patches()), step, Stream(0, step))
        loss.total.backward()
        result = {"total": loss.total.detach(), **loss.parts, **loss.stats}
    gradients = {name: p.grad for name, p in built.named_parameters() if p.grad is not None}
    assert len(gradients) == len(list(built.parameters()))
    return result, gradients | dict(built.named_buffers())


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "products",
    [
        "exact",
        pytest.param(
            "int8", marks=pytest.mark.skipif(not int8_is_exact(), reason="8-bit products overflow without VNNI")
        ),
        "int16",
        "bf16",
    ],
)
def test_step_is_that_of_dense_codes(kind: str, products: Products, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsecode.models.sparse_step.fastest_products", lambda: products)
    monkeypatch.setattr("sparsecode.models.sparse_step.bf16_is_fast", lambda: products == "bf16")
    arithmetic: Arithmetic = "exact" if products == "exact" else "bf16"
    (sparse, tensors), (dense, expected) = trained(kind, arithmetic), trained(kind, "dense")
    assert list(sparse) == list(dense)
    for name, value in dense.items():
        torch.testing.assert_close(sparse[name], value, rtol=1e-4, atol=1e-5)
    for name, tensor in expected.items():
        size = float(tensor.abs().max())
        torch.testing.assert_close(
            tensors[name], tensor, rtol=1e-3, atol=1e-3 * size if products == "bf16" else 1e-4 * size
        )


@pytest.mark.parametrize(
    ("width", "units", "expected"),
    [
        ("AVX2", {}, "int16"),
        ("AVX512", {}, "exact"),
        ("DEFAULT", {}, "exact"),
        ("AVX512", {"avx512_bf16": True, "cpu_name": "Intel"}, "exact"),
        ("AVX512", {"avx512_bf16": True, "cpu_name": "AMD"}, "bf16"),
        ("AVX512", {"avx512_vnni": True}, "int8"),
        ("AVX2", {"avx512_vnni": True, "amx_bf16": True}, "int16"),
    ],
)
def test_products_that_find_codes_are_chosen_by_what_the_processor_has(
    width: str, units: dict[str, object], expected: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: width)
    monkeypatch.setattr(score_blocks, "_capabilities", lambda: units)
    monkeypatch.setattr(score_blocks, "int8_is_exact", lambda: True)
    for function in (score_blocks.bf16_is_fast, score_blocks.int8_is_fast):
        function.cache_clear()
    assert score_blocks.fastest_products() == expected
    monkeypatch.undo()
    for function in (score_blocks.bf16_is_fast, score_blocks.int8_is_fast):
        function.cache_clear()


@pytest.mark.parametrize("activation", [TopK(k=9), BatchTopK(k=9)], ids=["topk", "batch_topk"])
def test_narrow_models_with_few_active_codes_train_by_sparse_ones(activation: TopK | BatchTopK) -> None:
    x = patches(600)
    results: dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
    for arithmetic in ("bf16", "dense"):
        built = Amortised(n_code=256, activation=activation, arithmetic=arithmetic, terms=(AuxK(dead_after=900),))
        narrow = built.build((1, 8, 8), seed=0).train()
        narrow.initialise_(x)
        for step in range(2):  # after which thresholds are known
            narrow.loss(Batch(x), step, Stream(0, step))
        loss = narrow.loss(Batch(x), 2, Stream(0, 2))
        loss.total.backward()
        code = narrow.eval()._forward(Batch(x), 2, Stream(0, 2)).code
        assert isinstance(code, SparseCode if arithmetic == "bf16" else Code)
        grads = {name: p.grad for name, p in narrow.named_parameters() if p.grad is not None}
        results[arithmetic] = {"total": loss.total.detach(), **loss.parts, **loss.stats}, grads | dict(narrow.named_buffers())  # fmt: skip
    for ours, dense in zip(*results.values(), strict=True):
        for name, value in dense.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-5 * float(value.detach().abs().max()))


@pytest.mark.parametrize(
    ("activation", "n_code", "n"),
    [(TopK(k=100), 256, 600), (TopK(k=9), 200, 600), (TopK(k=9), 256, 200), (ReLU(), 256, 600)],
    ids=["many", "few codes", "small batch", "any number"],
)
def test_other_narrow_models_train_by_dense_codes(activation: TopK | ReLU, n_code: int, n: int) -> None:
    narrow = Amortised(n_code=n_code, activation=activation).build((1, 8, 8), seed=0).train()
    x = patches(n)
    narrow.initialise_(x)
    assert isinstance(narrow._forward(Batch(x), 0, Stream(0, 0)).code, Code)


@pytest.fixture(params=["relu", "jumprelu"])
def crowded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kind whose codes are hundreds of 1100."""
    monkeypatch.setitem(LEVELS, request.param, {"relu": 0.05, "jumprelu": 0.7}[request.param])
    return request.param


def test_crowded_codes_go_through_bfloat16_products(crowded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsecode.models.sparse_step.bf16_is_fast", lambda: True)  # torch emulates what is missing
    (rough, tensors), (dense, expected) = trained(crowded, "bf16"), trained(crowded, "dense")
    assert dense["l0"] > 200
    assert rough["total"] != dense["total"]
    for name, value in dense.items():
        torch.testing.assert_close(rough[name], value, rtol=0.01, atol=1e-5)
    for name, tensor in expected.items():
        distance = torch.linalg.vector_norm((tensors[name] - tensor).double())
        assert distance <= 0.05 * torch.linalg.vector_norm(tensor.double()), name


@pytest.mark.parametrize("arithmetic", ["exact", "bf16"])
def test_crowded_codes_go_through_float32_products_where_bfloat16_is_slow(
    crowded: str, arithmetic: Arithmetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsecode.models.sparse_step.bf16_is_fast", lambda: False)
    (ours, tensors), (dense, expected) = trained(crowded, arithmetic), trained(crowded, "dense")
    for result, other in ((ours, dense), (tensors, expected)):
        for name, value in other.items():
            size = float(value.detach().abs().max())
            torch.testing.assert_close(result[name], value, rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("kind", list(KINDS))
def test_sparse_codes_are_in_fact_used_and_not_where_they_would_be_many(kind: str) -> None:
    built = model(kind, "exact")
    if kind == "batch_topk":
        built.loss(Batch(patches()), 0, Stream(0, 0))  # its threshold is known from then on

    decoder = built.dictionary
    assert decoder is not None

    def step(x: Tensor, arithmetic: Arithmetic = "exact") -> object:
        return sparse_step(
            built.encoder, built.activation, decoder, built.terms, x, x, 0,
            training=False, arithmetic=arithmetic,
        )  # fmt: skip

    x = built.normalise(patches())
    assert step(x) is not None
    assert step(x, "dense") is None
    if kind != "topk":
        with torch.no_grad():
            built.encoder.bias.fill_(100.0)  # pyright: ignore - a tensor
        result = step(x)
        if kind in ("relu", "jumprelu"):
            assert isinstance(result, Step)
            assert isinstance(result.code, CodeSums)
        else:
            assert result is None
