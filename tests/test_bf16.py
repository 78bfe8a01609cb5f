"""Training with products in bfloat16: it agrees with float32, resumes to the same bits, and keeps its state in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file

import sparsecode as sc
from sparsecode.data import Digits
from sparsecode.losses import AuxK, EndToEnd, Matryoshka, NestedK, Sparsity
from sparsecode.models import Amortised
from sparsecode.models.amortised import AmortisedModel
from sparsecode.nn import BatchTopK, Gated, JumpReLU, ReLU, Standardise, TopK
from sparsecode.ops.rng import Stream
from sparsecode.penalties import L0, L1
from sparsecode.records import Batch, Event
from sparsecode.train import Adam, Optim, Train

SHIFTED = Standardise()
SPECS: dict[str, Amortised] = {
    "topk": Amortised(n_code=64, activation=TopK(k=8), terms=(AuxK(dead_after=200),), normaliser=SHIFTED),
    "batch_topk": Amortised(n_code=64, activation=BatchTopK(k=8), normaliser=SHIFTED),
    "relu": Amortised(n_code=64, activation=ReLU(), terms=(Sparsity(L1(), weight=0.1),), normaliser=SHIFTED),
    "jumprelu": Amortised(
        n_code=64,
        activation=JumpReLU(threshold=0.1, bandwidth=0.2),
        terms=(Sparsity(L0(), weight=0.05),),
        normaliser=SHIFTED,
    ),
    "gated": Amortised(n_code=64, activation=Gated(), terms=(Sparsity(L1(), weight=0.1),), encoder=sc.nn.Affine(bias=False), normaliser=SHIFTED),
    "matryoshka": Amortised(n_code=64, activation=TopK(k=8), terms=(Matryoshka(sizes=(16, 32)),), normaliser=SHIFTED),
    "nested_k": Amortised(n_code=64, activation=TopK(k=8), terms=(NestedK(k=(2, 4)),), normaliser=SHIFTED),
}  # fmt: skip
LOSSES = 0.02  # relative: what the losses of a training may differ by from those in float32


def config(spec: Amortised, precision: str, **changes: Any) -> sc.Run:
    base = sc.RECIPES["digits-topk"]()
    train = Train(epochs=2, batch_size=64, select="last", log_every=1, precision=precision, **changes)  # pyright: ignore[reportArgumentType]
    optim = Optim(groups={"*": Adam(lr=1e-3)})
    return msgspec.structs.replace(base, model=spec, train=train, optim=optim, evaluate=sc.Evaluate(sigmas=()))


def trained(spec: Amortised, precision: str, folder: Path) -> sc.RunFolder:
    return sc.run(config(spec, precision), folder, accelerator="cpu", figures=False).folder


def losses(folder: sc.RunFolder) -> torch.Tensor:
    return torch.tensor([record["loss"] for record in folder.metrics() if record["kind"] == "train"])


@pytest.mark.parametrize("name", SPECS)
def test_losses_of_a_training_are_those_of_float32(name: str, tmp_path: Path) -> None:
    runs = {precision: trained(SPECS[name], precision, tmp_path / precision) for precision in ("float32", "bf16")}
    single, low = (losses(run) for run in runs.values())
    assert len(single) == len(low) > 40
    assert not torch.equal(single, low)  # or products were not in bfloat16
    assert float(((low - single) / single).abs().max()) < LOSSES
    scores = [run.evaluation().scores["encode"] for run in runs.values()]  # pyright: ignore[reportOptionalMemberAccess]
    assert scores[1].explained_variance == pytest.approx(scores[0].explained_variance, abs=0.01)
    assert scores[1].l0 == pytest.approx(scores[0].l0, rel=0.02)
    state = load_file(runs["bf16"].resume / "state.safetensors")
    assert {value.dtype for value in state.values() if value.is_floating_point()} <= {torch.float32, torch.float64}
    assert runs["bf16"].config().train.precision == "bf16-mixed"


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    spec = SPECS["topk"]
    whole = trained(spec, "bf16", tmp_path / "whole")

    def stop(event: Event) -> str | None:
        return "enough" if event.step == 17 else None

    out = tmp_path / "parts"
    assert sc.run(config(spec, "bf16"), out, accelerator="cpu", figures=False, observers=[stop]).state.step == 17
    sc.run(config(spec, "bf16"), out, accelerator="cpu", figures=False)
    ours, theirs = (load_file(f / "resume/state.safetensors") for f in (out, whole.path))
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


def test_thresholds_and_the_sums_of_gradients_are_in_float32() -> None:
    model = SPECS["jumprelu"].build((8, 8), seed=0).train()
    model.in_bf16 = True
    x = Digits().load().train.x[:50]
    model.initialise_(x)
    seen: list[torch.dtype] = []
    model.activation.register_forward_hook(lambda *_: None)
    train_code = model.activation.train_code

    def watched(pre: torch.Tensor, *args: Any) -> Any:
        seen.append(pre.dtype)
        return train_code(pre, *args)

    model.activation.train_code = watched  # pyright: ignore[reportAttributeAccessIssue]
    loss = model.loss(Batch(x), 0, Stream(0, 0))
    loss.total.backward()
    assert seen == [torch.float32]
    assert loss.total.dtype == torch.float32
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
    z = model.encode(x)
    assert z.dtype == torch.float32
    model.in_bf16 = False
    assert torch.equal(model.encode(x), z)  # codes and scores are computed in float32 always


@pytest.mark.parametrize("term", [Matryoshka(sizes=(16, 32)), NestedK(k=(2, 4)), EndToEnd(reconstruction=0.5)])
def test_reconstructions_that_terms_compute_are_in_float32(term: Any) -> None:
    model = Amortised(n_code=64, activation=TopK(k=8), terms=(term,)).build((16,), seed=0).train()
    model.in_bf16 = True
    forward = model._forward(Batch(torch.randn(20, 16)), 0, Stream(0, 0))
    assert forward.out.dtype == forward.fidelity.dtype == torch.float32


def test_wide_sparse_steps_on_cpus_stay_what_they_are() -> None:
    spec = Amortised(n_code=1100, activation=TopK(k=4), terms=(AuxK(),), arithmetic="exact")
    x = torch.randn(20, 16)
    losses = []
    for low in (False, True):
        model: AmortisedModel = spec.build((16,), seed=0).train()
        model.in_bf16 = low
        losses.append(model.loss(Batch(x), 0, Stream(0, 0)).total.detach())
    assert torch.equal(*losses)


def test_precisions_have_two_names_and_other_models_refuse_bfloat16() -> None:
    for name, recorded in (
        ("float32", "32-true"),
        ("float64", "64-true"),
        ("bf16", "bf16-mixed"),
        ("32-true", "32-true"),
    ):
        assert Train(epochs=1, batch_size=8, select="last", precision=name).precision == recorded  # pyright: ignore[reportArgumentType]
    base = sc.RECIPES["digits-sdl"]()
    with pytest.raises(ValueError, match=r"train.precision is 'bf16-mixed' for a model of type 'iterative'"):
        msgspec.structs.replace(base, train=msgspec.structs.replace(base.train, precision="bf16"))
