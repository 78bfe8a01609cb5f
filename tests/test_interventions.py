"""Codes read, edited and attributed within the network whose activations they explain, on a small transformer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

import sparsecode as sc
from sparsecode.losses import Predict
from sparsecode.models import Amortised
from sparsecode.models.base import AbstractSparseModel
from sparsecode.nn import Affine, BiasedDictionary, ReLU, Standardise, TopK

IDS = torch.arange(20).reshape(2, 10) % 32
SITE = "transformer.h.0"


@pytest.fixture(scope="module")
def host() -> nn.Module:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=32, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(config).eval()


def sae(**options: Any) -> AbstractSparseModel:
    return (
        Amortised(n_code=48, activation=TopK(k=6), normaliser=Standardise(mean=0.1, std=2.0), **options)
        .build((16,), seed=1)
        .eval()
    )


def crosscoder() -> AbstractSparseModel:
    return Amortised(n_code=48, activation=ReLU(), decoder=BiasedDictionary(sites=True)).build((2, 16), seed=1).eval()


def transcoder() -> AbstractSparseModel:
    return (
        Amortised(
            n_code=48, activation=TopK(k=6), task=Predict(skip=True), encoder=Affine(centred=False, start="uniform")
        )
        .build((16,), seed=1, target=(16,))
        .eval()
    )


MODELS = {
    "autoencoder": (sae, SITE),
    "transcoder": (transcoder, ("transformer.h.0.ln_2", "transformer.h.0.mlp")),
    "crosscoder": (crosscoder, ("transformer.h.0", "transformer.h.1")),
}


@torch.no_grad()
def logits(host: nn.Module) -> Tensor:
    return host(input_ids=IDS).logits


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_without_edits_nothing_changes_and_an_edit_changes_what_follows(kind: str, host: nn.Module) -> None:
    make, hook_points = MODELS[kind]
    model, clean = make(), logits(host)
    with sc.spliced(host, model, hook_points) as splice:
        assert torch.equal(logits(host), clean)
    assert splice.codes.shape == (2, 10, 48)
    active = int(splice.codes[0, 3].argmax())
    keep = torch.zeros(2, 10, dtype=torch.bool)
    keep[0, 3] = True
    with sc.spliced(host, model, hook_points, [sc.Clamp(active, 5.0)], keep=keep) as splice:
        changed = logits(host)
    assert bool((splice.edited[..., active] == 5).all())
    differs = (changed != clean).any(dim=2)
    assert not differs[1].any()
    assert differs[0].tolist() == [False] * 3 + [True] * 7
    assert torch.equal(logits(host), clean)


@torch.no_grad()
def test_values_at_the_site_are_the_decoded_change(host: nn.Module) -> None:
    model, seen = sae(), {}
    (before,) = sc.data.extract(host, SITE, [{"input_ids": IDS}])

    def watch(_module: nn.Module, _args: Any, output: Any) -> None:
        seen["x"] = output[0] if isinstance(output, tuple) else output

    edits = [sc.Add(3, 2.0), sc.Ablate(7), lambda z: z * 2]
    with sc.spliced(host, model, SITE, edits):
        handle = host.get_submodule(SITE).register_forward_hook(watch)
        logits(host)
        handle.remove()
    z = model.encode(before)
    new = z.clone()
    new[..., 3] += 2
    new[..., 7] = 0
    change = (model.decode(2 * new) - model.decode(z)) * 2.0  # the normaliser's scale
    torch.testing.assert_close(seen["x"], before + change, rtol=0, atol=1e-5)
    with sc.spliced(host, model, SITE, keep_error=False):
        handle = host.get_submodule(SITE).register_forward_hook(watch)
        logits(host)
        handle.remove()
    torch.testing.assert_close(seen["x"], model.reconstruct(before), rtol=0, atol=1e-5)


def test_attributions_are_exact_where_the_rest_is_linear() -> None:
    network = nn.Sequential(nn.Linear(4, 16), nn.Identity(), nn.Linear(16, 3))
    x, model = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), sae()
    values = sc.attributions(network, x, model, "1", lambda out: out[2, 1])
    assert values.shape == (5, 48)
    assert not values[[0, 1, 3, 4]].any()
    with torch.no_grad():
        clean = network(x)[2, 1]
        for code in range(48):
            with sc.spliced(network, model, "1", [sc.Ablate(code)]):
                torch.testing.assert_close(clean - network(x)[2, 1], values[2, code], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_attributions_in_a_transformer(kind: str, host: nn.Module) -> None:
    make, hook_points = MODELS[kind]
    model = make()
    values = sc.attributions(host, {"input_ids": IDS}, model, hook_points, lambda out: out.logits[1, 4, 9])
    assert values.shape == (2, 10, 48)
    assert not values[0].any()
    assert not values[1, 5:].any()
    row = values[1, 4]
    code = int(row.abs().argmax())
    keep = torch.zeros(2, 10, dtype=torch.bool)
    keep[1, 4] = True
    small = 0.01
    with torch.no_grad():
        clean = logits(host)[1, 4, 9]
        with sc.spliced(host, model, hook_points, [lambda z: z - small * z * (torch.arange(48) == code)], keep=keep):
            lost = clean - logits(host)[1, 4, 9]
    torch.testing.assert_close(lost / small, row[code], rtol=0.05, atol=1e-4)


def test_gradients_go_through_a_splice(host: nn.Module) -> None:
    model = sae()
    with sc.spliced(host, model, SITE, keep_error=False):
        host(input_ids=IDS).logits.square().mean().backward()
    assert all(bool(p.grad is not None and p.grad.any()) for p in (model.encoder.weight, model.decoder.atoms))  # pyright: ignore
    host.zero_grad()


@pytest.mark.parametrize(
    ("hook_points", "edits", "message"),
    [
        ("transformer.h.7", [], "the nearest of"),
        (("transformer.h.0", "transformer.h.1"), [], "expected 1 for this model"),
        (SITE, [sc.Ablate(48)], "Ablate.code is 48; expected 0 to 47"),
        ("lm_head", [], "expected \\[16\\] at the end"),
    ],
)
def test_what_does_not_fit_is_refused(hook_points: Any, edits: Any, message: str, host: nn.Module) -> None:
    with pytest.raises(ValueError, match=message), sc.spliced(host, sae(), hook_points, edits):
        logits(host)


def test_codes_are_there_after_a_pass(host: nn.Module) -> None:
    with sc.spliced(host, sae(), SITE) as splice, pytest.raises(ValueError, match="no codes yet"):
        _ = splice.codes
