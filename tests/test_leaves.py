"""Parts of runs that users bring: trained with, recorded by name, read back where their classes are given, refused elsewhere."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import torch
from jaxtyping import config as checks
from safetensors.torch import load_file
from torch import Tensor, nn

import sparsecode as sc
from sparsecode.cli import main
from sparsecode.data import Digits
from sparsecode.models.storage import build_model, save_model
from sparsecode.records import Event
from sparsecode.specs import differences, from_json, to_json

replace = msgspec.structs.replace
PAGE = Path(__file__).parents[1] / "docs/leaves.md"
SCORES = (sc.evaluate.Scores(),)


@pytest.fixture(scope="module", autouse=True)
def _as_for_users() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest does
    """Annotations unenforced: those of unions name the library's own parts alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "jaxtyping_disable", True)
        yield


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What the blocks of docs/leaves.md define, after all of them have run."""
    module = ModuleType("page_of_leaves")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        patch.chdir(tmp_path_factory.mktemp("page"))
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(block, vars(module))
        yield module


class _Sized:
    """Digits, fewer."""

    def load(self) -> sc.data.Splits:
        splits = Digits().load()
        train, valid, test = (split.take(slice(100)) for split in (splits.train, splits.valid, splits.test))
        return sc.data.Splits(train, valid, test, splits.low, splits.high)


TRAIN = sc.train.Train(epochs=1, batch_size=20, select="last", log_every=1)
EVALUATE = sc.Evaluate(sigmas=(), measures=SCORES, validation=SCORES)
AMORTISED = sc.Run(
    data=_Sized(),
    model=sc.models.Amortised(n_code=12, activation=sc.nn.TopK(k=3)),
    optim=sc.train.Optim(groups={"*": sc.train.Adam(lr=1e-2)}),
    train=TRAIN,
    evaluate=EVALUATE,
)
ITERATIVE = replace(
    AMORTISED,
    model=sc.models.Iterative(
        n_code=12, weight=0.1, penalty=sc.penalties.L1(positive=True), inference=sc.models.Inference(max_steps=30)
    ),
)


def with_model(config: sc.Run, **fields: Any) -> sc.Run:
    return replace(config, model=replace(config.model, **fields))


@dataclasses.dataclass(frozen=True)
class Ramp:
    """A schedule."""

    stop: float = 0.5

    def __call__(self, step: int) -> float:
        return min(0.1 + 0.1 * step, self.stop)

    def extremes(self) -> tuple[float, ...]:
        return (0.1, self.stop)


class Clamped:
    """A constraint."""

    def apply_(self, atoms: Tensor) -> None:
        with torch.no_grad():
            atoms.clamp_(-0.1, 0.1)


class ShiftModule(sc.nn.NormaliserModule):
    def initialise_(self, sample: Tensor) -> None:
        self.shift.fill_(sample.mean())


class Shift:
    """A normaliser."""

    def build(self, shape: tuple[int, ...]) -> ShiftModule:
        return ShiftModule(torch.Size(shape).numel())


class MapModule(sc.nn.EncoderModule):
    def __init__(self, n_code: int, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((n, n_code), 0.01))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.weight)


@dataclasses.dataclass(frozen=True)
class Map:
    """An encoder."""

    positive: bool = True

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> MapModule:
        del rng
        return MapModule(n_code, torch.Size(shape).numel())


class SinesModule(sc.nn.DecoderModule):
    def __init__(self, n_code: int, n: int, rng: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_code, n, generator=rng) / 10)

    def mean(self, z: Tensor) -> Tensor:
        return torch.sin(z @ self.weight)


class Sines:
    """A decoder."""

    def build(self, n_code: int, shape: tuple[int, ...], rng: torch.Generator) -> SinesModule:
        return SinesModule(n_code, torch.Size(shape).numel(), rng)


@dataclasses.dataclass(frozen=True)
class Momentum:
    """An optimiser."""

    lr: float = 0.01

    def build(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=self.lr, momentum=0.5)


Change = Callable[[Any], sc.Run]
CASES: dict[str, tuple[str, sc.Run, Change]] = {
    "penalty": ("ScaledL1", ITERATIVE, lambda page: with_model(ITERATIVE, penalty=page.ScaledL1(factor=3.0))),
    "activation": ("Soft", AMORTISED, lambda page: with_model(AMORTISED, activation=page.Soft(threshold=0.2))),
    "solver": (
        "Descent",
        ITERATIVE,
        lambda page: with_model(ITERATIVE, inference=sc.models.Inference(solver=page.Descent(), max_steps=5)),
    ),
    "noise": ("Signs", AMORTISED, lambda page: with_model(AMORTISED, corruption=page.Signs(sigma=0.1))),
    "term": ("SmallCodes", AMORTISED, lambda page: with_model(AMORTISED, terms=page.SmallCodes(rate=10.0))),
    "data source": ("Waves", AMORTISED, lambda page: replace(AMORTISED, data=page.Waves(n=200))),
    "measure": (
        "LargestCode",
        AMORTISED,
        lambda page: replace(
            AMORTISED,
            evaluate=replace(
                EVALUATE, measures=(*SCORES, page.LargestCode()), validation=(*SCORES, page.LargestCode())
            ),
        ),
    ),
    "schedule": ("Ramp", ITERATIVE, lambda _: with_model(ITERATIVE, weight=Ramp())),
    "constraint": (
        "Clamped",
        ITERATIVE,
        lambda _: with_model(ITERATIVE, decoder=sc.nn.LinearDictionary(constraint=Clamped())),
    ),
    "normaliser": ("Shift", AMORTISED, lambda _: with_model(AMORTISED, normaliser=Shift())),
    "encoder": ("Map", ITERATIVE, lambda _: with_model(ITERATIVE, encoder=Map())),
    "decoder": ("Sines", ITERATIVE, lambda _: with_model(ITERATIVE, decoder=Sines())),
    "optimiser": (
        "Momentum",
        AMORTISED,
        lambda _: replace(AMORTISED, optim=sc.train.Optim(groups={"*": Momentum()})),
    ),
}


def trained(config: sc.Run, folder: Path, **options: Any) -> Any:
    return sc.run(config, folder, accelerator="cpu", figures=False, **options)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "resume/state.safetensors")


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Tensor]]:
    """What training comes to with the library's parts alone."""
    folder = tmp_path_factory.mktemp("bases")
    for i, config in enumerate((AMORTISED, ITERATIVE)):
        trained(config, folder / str(i))
    return {id(config): weights(folder / str(i)) for i, config in enumerate((AMORTISED, ITERATIVE))}


@pytest.mark.parametrize("part", CASES)
def test_a_part_of_a_user_trains_and_is_read_where_its_class_is_given(
    part: str, page: Any, bases: dict[int, dict[str, Tensor]], tmp_path: Path
) -> None:
    name, base, change = CASES[part]
    kind = getattr(page, name, None) or globals()[name]
    config, out = change(page), tmp_path / "run"
    assert trained(config, out).evaluation.scores
    assert equal(weights(out), bases[id(base)]) == (part == "measure")  # it has an effect
    missing = rf"was saved with {kind.__module__}\.{name}, which is not part of sparsecode.* pass leaves=\[{name}\]$"
    with pytest.raises(ValueError, match=missing):
        sc.RunFolder(out, leaves=[_Sized]).config()
    folder = sc.RunFolder(out, leaves=[_Sized, kind])
    assert differences(folder.config(), config) == []
    assert name in out.joinpath("config.json").read_text()
    model = folder.best_model()
    x = config.data.load().test.x
    assert torch.equal(model.encode(x), sc.load_model(out / "model", leaves=[kind]).encode(x))
    if part not in ("data source", "measure", "optimiser"):
        with pytest.raises(ValueError, match=missing):
            sc.load_model(out / "model")


def test_a_measure_of_a_user_is_followed_and_stored(page: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    _, _, change = CASES["measure"]
    evaluation = trained(change(page), out).evaluation
    result = evaluation.of(page.Largest)["encode"].largest
    (record,) = [r for r in sc.RunFolder(out).metrics() if r["kind"] == "evaluate"]
    x = _Sized().load().valid.x
    model = sc.load_model(out / "model")  # which is of known parts alone
    assert record["largest_code/encode/largest"] == pytest.approx(float(model.encode(x).detach().abs().max()))
    (stored,) = from_json(to_json(evaluation), sc.evaluate.Evaluation).of(sc.evaluate.OtherResult).values()
    assert stored.means() == {"largest": result}


def test_a_run_with_parts_of_a_user_goes_on_after_an_interruption(page: Any, tmp_path: Path) -> None:
    def stop(event: Event) -> str | None:
        return "enough" if event.kind == "train" and event.step == 3 else None

    config = replace(page.config, data=page.Waves(n=200), train=TRAIN)
    out = tmp_path / "run"
    assert trained(config, out, observers=[stop]).state.stopped_by == "enough"
    assert trained(config, out).evaluation is not None
    trained(config, tmp_path / "whole")
    assert equal(weights(out), weights(tmp_path / "whole"))
    with pytest.raises(FileExistsError, match=r"data: .*'n': 200.* -> .*'n': 210"):
        trained(replace(config, data=page.Waves(n=210)), out)


def test_the_command_line_refuses_in_one_line(page: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert page.model.spec == page.config.model
    assert main(["eval", str(page.folder.path.resolve())]) != 0
    assert capsys.readouterr().err.count("\n") == 1


def test_a_model_by_itself_keeps_its_codes(page: Any, tmp_path: Path) -> None:
    model = build_model(sc.models.Iterative(n_code=10, weight=0.1, penalty=page.ScaledL1()), (8,), 0)
    save_model(model, tmp_path, {})
    x = torch.randn(5, 8)
    assert torch.equal(sc.load_model(tmp_path, leaves=[page.ScaledL1]).encode(x), model.encode(x))


def test_what_is_no_such_part_is_named(page: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^Iterative\.penalty is Soft.*; expected l1, .* or an object with value, which Soft lacks$"
    ):
        sc.models.Iterative(n_code=10, weight=0.1, penalty=page.Soft())


TOPK: Any = sc.nn.TopK
CLASSES: dict[str, tuple[Callable[[], object], str]] = {
    "field": (lambda: sc.models.Amortised(n_code=10, activation=TOPK), "Amortised.activation is the class TopK"),
    "item": (
        lambda: sc.models.Amortised(n_code=10, activation=TOPK(k=3), terms=sc.losses.AuxK),  # pyright: ignore[reportArgumentType] - refused
        "Amortised.terms is the class AuxK",
    ),
    "record": (lambda: replace(AMORTISED, evaluate=sc.Evaluate), "Run.evaluate is the class Evaluate"),
    "solver": (
        lambda: sc.sparse_encode(torch.ones(2, 3), torch.eye(3), alpha=0.1, solver=sc.solvers.FISTA),  # pyright: ignore[reportArgumentType] - refused
        "solver is the class FISTA",
    ),
}


@pytest.mark.parametrize("place", CLASSES)
def test_a_class_in_place_of_an_object_is_named(place: str) -> None:
    make, message = CLASSES[place]
    name = message.split()[-1]
    with pytest.raises(
        (ValueError, TypeError), match=rf"^{message}; expected an object of it: write {name}\(\.\.\.\)$"
    ):
        make()


def test_a_single_object_is_a_tuple_of_one(page: Any) -> None:
    many: Any = sc.models.Amortised
    for term in (sc.losses.AuxK(), page.SmallCodes()):
        assert many(n_code=10, activation=TOPK(k=3), terms=term).terms == (term,)
    with pytest.raises(ValueError, match=r"^Amortised\.terms is TopK\(.*; expected sparsity, kl, .*"):
        many(n_code=10, activation=TOPK(k=3), terms=TOPK(k=3))
    with pytest.raises(ValueError, match=r"^Amortised\.terms: got 3; Expected `array`, got `int`$"):
        many(n_code=10, activation=TOPK(k=3), terms=3)
