"""Models and their dense training steps through torch.compile: the numbers of the steps that it traces."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import sparsecode as sc
from sparsecode.data import Digits
from sparsecode.losses import AuxK, Matryoshka, NestedK, Predict, Sparsity
from sparsecode.models import Amortised
from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.compiled_step import CompiledSteps
from sparsecode.models.dense_step import dense_step
from sparsecode.nn import (
    Affine,
    BatchTopK,
    BiasedDictionary,
    Gated,
    JumpReLU,
    LearnedK,
    ReLU,
    SampledK,
    Standardise,
    TopK,
)
from sparsecode.ops.rng import Stream
from sparsecode.penalties import L0, L1
from sparsecode.records import Batch, Event
from sparsecode.schedules import Linear
from sparsecode.train import Adam, Optim, Train

pytestmark = [
    pytest.mark.usefixtures("unchecked"),  # torch.compile does not trace the checks of annotations
    pytest.mark.filterwarnings("default"),  # its own, of what it traces
]
L1_TERM = (Sparsity(L1(), weight=0.1),)
ANY: dict[str, Amortised] = {
    "relu": Amortised(n_code=48, activation=ReLU(), terms=L1_TERM),
    "topk": Amortised(n_code=48, activation=TopK(k=8), terms=(AuxK(dead_after=100),), normaliser=Standardise()),
    "batch_topk": Amortised(n_code=48, activation=BatchTopK(k=8)),
    "jumprelu": Amortised(
        n_code=48, activation=JumpReLU(threshold=0.1, bandwidth=0.2), terms=(Sparsity(L0(), weight=0.05),)
    ),
    "gated": Amortised(n_code=48, activation=Gated(), terms=L1_TERM, encoder=Affine(bias=False)),
    "matryoshka": Amortised(n_code=48, activation=BatchTopK(k=8), terms=(Matryoshka(sizes=(12, 24)),)),
    "nested_k": Amortised(n_code=48, activation=TopK(k=8), terms=(NestedK(k=(2, 4)),)),
    "transcoder": Amortised(
        n_code=48,
        activation=TopK(k=8),
        encoder=Affine(centred=False, start="uniform"),
        task=Predict(skip=True, normaliser=Standardise()),
    ),
    "crosscoder": Amortised(
        n_code=48,
        activation=ReLU(),
        decoder=BiasedDictionary(sites=True),
        terms=(Sparsity(L1(), weight=0.1, norm_weighted=True),),
    ),
}
SPECS = {name: msgspec.structs.replace(spec, arithmetic="dense") for name, spec in ANY.items()}
COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
FAST = ("topk", "jumprelu")
BACKENDS = [
    pytest.param(name, backend, marks=[] if backend == "eager" and name in FAST else [pytest.mark.slow, *([COMPILER] if backend == "inductor" else [])])
    for backend in ("eager", "aot_eager", "inductor")
    for name in SPECS
    if backend != "aot_eager" or name not in FAST
]  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_compiled() -> None:  # pyright: ignore[reportUnusedFunction] - pytest does
    torch.compiler.reset()  # torch has a limit of what it compiles of one function


def data(n: int = 64) -> Batch:
    x = Digits().load().train.x[:n]
    return Batch(x, target=x.flip(1))


def built(name: str) -> AmortisedModel:
    batch = data(200)
    model = SPECS[name].build((8, 8), seed=0, target=(8, 8))
    model.initialise_(batch.x, batch.target)
    with torch.no_grad():
        for param in model.parameters():  # biases, skip connections and thresholds away from their first values
            param += 0.05 * torch.randn(param.shape, generator=torch.Generator().manual_seed(1))
    return model


def gradients(model: Any, run: Any) -> dict[str, Tensor]:
    model.zero_grad()
    run().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(values: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        size = float(value.abs().max())
        torch.testing.assert_close(values[name], value, rtol=1e-4, atol=1e-5 * max(size, 1e-3))


@pytest.mark.parametrize(("name", "backend"), BACKENDS)
def test_a_compiled_model_gives_the_same_outputs_and_gradients(name: str, backend: str) -> None:
    model = built(name).eval()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    x = data().x.clone().requires_grad_()
    out = model(x)
    torch.testing.assert_close(compiled(x), out, rtol=1e-5, atol=1e-5)
    expected = gradients(model, lambda: model(x).square().sum())
    by_x, x.grad = x.grad, None
    assert by_x is not None
    assert bool(out.std() > 0)
    assert_close(gradients(model, lambda: compiled(x).square().sum()), expected)
    assert_close({"x": x.grad if x.grad is not None else torch.zeros(())}, {"x": by_x})
    torch.testing.assert_close(compiled(x.reshape(4, 16, 8, 8)), out.reshape(4, 16, 8, 8), rtol=1e-5, atol=1e-5)


def loss_of(model: AmortisedModel, step: int) -> Tensor:
    return model.loss(data(), step, Stream(0, step)).total


@pytest.mark.parametrize(("name", "backend"), BACKENDS)
def test_compiled_steps_give_the_same_losses_gradients_and_state(name: str, backend: str) -> None:
    eager, compiled = built(name).train(), built(name).train()
    compiled.compiled = CompiledSteps(dense_step, backend)
    for step in range(3):  # dead codes, thresholds and weights of terms change in between
        expected = gradients(eager, lambda: loss_of(eager, step))  # noqa: B023 - called at once
        assert_close(gradients(compiled, lambda: loss_of(compiled, step)), expected)  # noqa: B023
        with torch.no_grad():
            for model in (eager, compiled):
                for param in model.parameters():
                    param -= 1e-3 * (0 if param.grad is None else param.grad)
        torch.testing.assert_close(loss_of(compiled.eval(), step), loss_of(eager.eval(), step), rtol=1e-5, atol=1e-5)
        for model in (eager, compiled):
            model.train()
    assert_close(
        {name: buffer.double() for name, buffer in compiled.named_buffers()},
        {name: buffer.double() for name, buffer in eager.named_buffers()},
    )


@pytest.mark.slow
def test_many_models_are_compiled_in_one_process_and_copies_anew() -> None:
    graphs: list[int] = []

    def counted(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    models = [
        Amortised(n_code=width, activation=TopK(k=4), arithmetic="dense").build((8, 8), seed=0)
        for width in range(20, 30)
    ]
    for model in models:  # more than the limit of what torch compiles of one function
        model.train().compiled = CompiledSteps(dense_step, counted)  # pyright: ignore[reportArgumentType] - a backend of torch.compile
        first = float(loss_of(model, 0).detach())
        assert [float(loss_of(model, step).detach()) for step in (1, 2, 3)] == [first] * 3
    assert len(graphs) == len(models)  # no step compiles again
    model = models[0]
    expected = float(loss_of(model, 0).detach())
    model.compiled = CompiledSteps(dense_step, "eager")
    assert float(loss_of(model, 5).detach()) == expected
    again = pickle.loads(pickle.dumps(model))
    assert float(loss_of(again, 6).detach()) == float(loss_of(copy.deepcopy(model), 6).detach()) == expected


def config(spec: Any, **changes: Any) -> sc.Run:
    base = sc.RECIPES["digits-topk"]()
    train = Train(epochs=1, batch_size=64, select="last", log_every=1, **changes)
    optim = Optim(groups={"*": Adam(lr=1e-3)})
    return msgspec.structs.replace(base, model=spec, train=train, optim=optim, evaluate=sc.Evaluate(sigmas=()))


@pytest.mark.slow
@COMPILER
@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
def test_a_training_has_the_losses_of_an_eager_one_and_resumes_to_the_same_bits(precision: str, tmp_path: Path) -> None:
    spec = SPECS["topk"]
    folders = [
        sc.run(
            config(spec, compile=on, precision=precision), tmp_path / str(on), accelerator="cpu", figures=False
        ).folder
        for on in (False, True)
    ]
    eager, compiled = (
        torch.tensor([record["loss"] for record in folder.metrics() if record["kind"] == "train"]) for folder in folders
    )
    assert len(eager) > 20
    torch.testing.assert_close(compiled, eager, rtol=0.01 if precision == "bf16" else 1e-4, atol=0.0)

    def stop(event: Event) -> str | None:
        return "enough" if event.step == 9 else None

    out = tmp_path / "parts"
    asked = config(spec, compile=True, precision=precision)
    assert sc.run(asked, out, accelerator="cpu", figures=False, observers=[stop]).state.step == 9
    torch.compiler.reset()  # as in another process
    sc.run(asked, out, accelerator="cpu", figures=False)
    ours, theirs = (load_file(f / "resume/state.safetensors") for f in (out, folders[1].path))
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arithmetic": "bf16"}, "model.arithmetic is 'bf16', and only dense steps are compiled; expected 'dense'"),
        ({"activation": TopK(k=Linear(start=20, stop=4, length=1))}, "model.activation.k is 'linear', another number at every step"),
        ({"activation": SampledK(start=8)}, "model.activation is 'sampled_k', which draws random numbers"),
        ({"activation": LearnedK(start=8)}, "model.activation is 'learned_k', which cuts codes at a rank that is learned"),
    ],
)  # fmt: skip
def test_steps_that_have_no_one_graph_are_refused(changes: dict[str, Any], words: str) -> None:
    spec = msgspec.structs.replace(SPECS["topk"], **{"terms": (), **changes})
    with pytest.raises(ValueError, match=f"Run: train.compile is set, and {words}"):
        config(spec, compile=True)


def test_other_models_are_refused() -> None:
    base = sc.RECIPES["digits-sdl"]()
    with pytest.raises(
        ValueError, match=r"train.compile is set, and model is 'iterative'; expected an amortised model"
    ):
        msgspec.structs.replace(base, train=msgspec.structs.replace(base.train, compile=True))


class Halved(sc.nn.ActivationModule):
    """An activation that asks for a number of its input, which no graph has."""

    def shape(self, pre: Tensor) -> Tensor:
        return torch.relu(pre) / (2 if float(pre.sum()) > 0 else 1)


class HalvedSpec:
    def build(self, n_code: int) -> Halved:
        return Halved()


def test_what_torch_compile_cannot_trace_is_an_error_with_its_reason() -> None:
    spec = Amortised(n_code=20, activation=HalvedSpec(), arithmetic="dense")
    model = spec.build((8, 8), seed=0).train()
    model.compiled = CompiledSteps(dense_step, "eager")
    with pytest.raises(ValueError, match=r"train.compile is set, and torch.compile fails \(.*\); leave it out"):
        loss_of(model, 0)
