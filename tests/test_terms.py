"""Terms of a training objective: their needs, names, paths and state; what earlier versions called them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sparsecode.cli.main import _plain_warnings
from sparsecode.losses import KL, AuxK, Forward, Matryoshka, Resample, Sparsity, TargetL0, TermModule, TrainingTerm
from sparsecode.losses.term import Terms
from sparsecode.models import Amortised, AmortisedModel, ModelSpec, load_model, save_model
from sparsecode.models.needs import NEEDS, problems
from sparsecode.models.sparse_start import ENTRIES
from sparsecode.nn import BatchTopK, JumpReLU, ReLU, Sigmoid, TopK
from sparsecode.ops.rng import Stream
from sparsecode.overrides import OverrideError, assign, value_at
from sparsecode.penalties import L0, L1, Hoyer, TanhPenalty
from sparsecode.recipes import RECIPES
from sparsecode.records import Batch
from sparsecode.runs import Run, RunFolder
from sparsecode.specs import differences, unpack
from sparsecode.sweeps import Axis, jobs_of
from sparsecode.sweeps.earlier import current

X = torch.rand(40, 8, 8, generator=torch.Generator().manual_seed(0))


class Smooth(TrainingTerm, tag="smooth"):
    """weight * sum_j (z_j - z_j+1)^2."""

    weight: float = 0.1

    def value(self, forward: Forward) -> Tensor:
        return self.weight * forward.z.diff(dim=1).square().sum(dim=1)


class Plain:
    """No config at all."""

    needs = ("gate",)

    def value(self, forward: Forward) -> Tensor:
        return forward.gate.sum(dim=1)


def loss_of(model: AmortisedModel, step: int = 0) -> dict[str, Tensor]:
    model.train()
    loss = model.loss(Batch(X), step, Stream(0, step))
    torch.testing.assert_close(loss.total, torch.stack(list(loss.parts.values())).sum())
    return loss.parts | loss.stats


def test_a_term_of_a_value_alone_adds_it_to_the_loss() -> None:
    model = Amortised(n_code=12, activation=ReLU()).build((8, 8), 0)
    model.terms = Terms((Smooth(weight=0.5), Plain()), (), 12)
    model.terms.pop("plain")
    z = model.activation.infer(model.pre_activations(X))
    torch.testing.assert_close(loss_of(model)["smooth"], 0.5 * z.diff(dim=1).square().sum(dim=1).mean())


class Scale(TermModule):
    """A term with a weight of its own, which sees pre-activations."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

    def value(self, forward: Forward) -> Tensor:
        return self.scale * forward.pre_activations.square().mean()


def test_weights_of_terms_are_trained_as_groups_of_their_own() -> None:
    model = Amortised(n_code=12, activation=ReLU(), terms=(AuxK(),)).build((8, 8), 0)
    model.terms["scale"] = Scale()
    (weight,) = model.param_groups()["terms.scale"]
    (grad,) = torch.autograd.grad(model.train().loss(Batch(X), 0, Stream(0, 0)).total, weight)
    torch.testing.assert_close(grad, model.pre_activations(X).square().mean())
    assert not [name for name in model.param_groups() if name.startswith("terms.") and name != "terms.scale"]


def test_a_need_that_is_not_met_is_told_whoever_has_it() -> None:
    spec = Amortised(n_code=12, activation=ReLU())
    msgspec.structs.force_setattr(spec, "terms", (Plain(), Smooth()))
    (line,) = problems(spec)
    assert line == (
        "terms.plain needs a gate apart from the codes, and activation is 'relu'; choose activation 'gated', or leave "
        "terms.plain out"
    )
    Plain.needs = ("magic",)  # pyright: ignore[reportAttributeAccessIssue] - a word that nobody knows
    (line,) = problems(spec)
    assert line == f"terms.plain needs 'magic', which no part gives; choose from {', '.join(NEEDS)}"


def test_two_penalties_of_different_names_add_up() -> None:
    terms = (Sparsity(L1(), weight=0.3), Sparsity(Hoyer(), weight=2.0))
    model = Amortised(n_code=12, activation=ReLU(), terms=terms).build((8, 8), 0)
    z = model.activation.infer(model.pre_activations(X))
    parts = loss_of(model)
    torch.testing.assert_close(parts["penalty"], 0.3 * L1().value(z).mean())
    torch.testing.assert_close(parts["hoyer"], 2.0 * Hoyer().value(z).mean())
    energy = model.energy(X, z) - Amortised(n_code=12, activation=ReLU()).build((8, 8), 0).energy(X, z)
    torch.testing.assert_close(energy, 0.3 * L1().value(z) + 2.0 * Hoyer().value(z))


@pytest.mark.parametrize("terms", [(Sparsity(Hoyer()),), (Matryoshka((6,)),), (AuxK(), Sparsity(Hoyer()))])
def test_a_term_that_reads_all_codes_says_once_that_steps_are_dense(terms: Any) -> None:
    model = Amortised(n_code=1100, activation=ReLU(), terms=terms, arithmetic="exact").build((8, 8), 0)
    with pytest.warns(UserWarning, match="reads all codes, zeros too: steps of this model are dense"):
        loss_of(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_of(model, 1)
        for other in ({"arithmetic": "dense"}, {"activation": Sigmoid()}, {"n_code": 500}, {"terms": (AuxK(),)}):
            loss_of(msgspec.structs.replace(model.spec, **other).build((8, 8), 0))


def test_the_command_line_shows_warnings_as_lines() -> None:
    before = warnings.formatwarning
    with _plain_warnings():
        assert warnings.formatwarning("steps are dense", UserWarning, "amortised.py", 1) == "warning: steps are dense\n"
    assert warnings.formatwarning is before


def test_paths_go_by_the_names_of_terms() -> None:
    config = RECIPES["acts-l1"]()
    assert value_at(config, "model.terms.l1.weight") == value_at(config, "model.terms.sparsity.weight") == 1.0
    changed = assign(config, ("model.terms.l1.penalty=tanh", "model.terms.tanh.weight=0.5", "model.terms.auxk=null"))
    assert isinstance(changed.model, Amortised)
    target = TargetL0(l0=32)
    assert changed.model.terms == (Sparsity(TanhPenalty(), weight=0.5, target_l0=target),)
    added = assign(changed, ('model.terms.resample={"type":"resample","every":7}', "model.terms.resample.scale=0.5"))
    assert isinstance(added.model, Amortised)
    assert added.model.terms[1:] == (Resample(every=7, scale=0.5),)
    with pytest.raises(OverrideError, match="no such place in the config; choose from tanh, resample"):
        assign(added, ("model.terms.l1.weight=1",))
    with pytest.raises(OverrideError, match=r"did you mean model\.terms\.l1\.weight, model\.terms\.auxk\.weight\?"):
        assign(config, ("model.weight=1",))
    one = assign(config, ("model.terms=auxk",))
    assert isinstance(one.model, Amortised)
    assert one.model.terms == (AuxK(),)
    whole = assign(config, ('model.terms=[{"type":"auxk"}]', "model.terms.auxk.k=3"))
    assert isinstance(whole.model, Amortised)
    assert whole.model.terms == (AuxK(k=3),)


def test_sweeps_take_out_terms_and_change_their_names(tmp_path: Path) -> None:
    (job,) = jobs_of(["digits-topk"], [Axis.parse("seed=0")], ("model.terms.auxk=null",), tmp_path)
    assert job.fixed == {"model.terms.auxk": None}
    assert not value_at(job.config, "model.terms")
    (job,) = jobs_of(["digits-lista"], [Axis.parse("seed=0")], ("model.terms.l1.penalty=hoyer",), tmp_path)
    assert job.fixed == {"model.terms.l1.penalty": "hoyer"}
    jobs = jobs_of(["digits-lista"], [Axis.parse("model.terms.sparsity=l1,hoyer,tanh")], (), tmp_path)
    assert [value_at(job.config, "model.terms.sparsity.penalty.type") for job in jobs] == ["l1", "hoyer", "tanh"]


def test_differences_name_terms() -> None:
    config = RECIPES["acts-l1"]()
    changed = assign(config, ("model.terms.l1.weight=0.5", "model.terms.auxk.k=3"))
    assert differences(config, changed) == ["model.terms.l1.weight: 1.0 -> 0.5", "model.terms.auxk.k: None -> 3"]


def test_a_weight_that_changes_is_named_when_objectives_cannot_be_compared() -> None:
    config = RECIPES["acts-l1"]()
    with pytest.raises(OverrideError, match=r"while model\.terms\.l1\.target_l0 moves"):
        assign(config, ("train.select=encode/objective",))


OLD: dict[str, Any] = {"type": "amortised", "n_code": 24, "matryoshka": None, "revival": None, "target_l0": None}
TARGET = {"type": "target_l0", "l0": 5.0, "theta": 0.1}
MIGRATED: list[tuple[dict[str, Any], Amortised]] = [
    ({"activation": {"type": "relu"}, "weight": 3.0}, Amortised(n_code=24, activation=ReLU())),
    (
        {"activation": {"type": "relu"}, "penalty": {"type": "l1"}, "weight": 3.0, "norm_weighted": True},
        Amortised(n_code=24, activation=ReLU(), terms=(Sparsity(L1(), weight=3.0, norm_weighted=True),)),
    ),
    (
        {
            "activation": {"type": "jumprelu"},
            "penalty": {"type": "l0"},
            "target_l0": TARGET,
            "revival": {"type": "auxk"},
            "calibrate": False,
        },
        Amortised(
            n_code=24,
            activation=JumpReLU(),
            terms=(Sparsity(L0(), target_l0=TargetL0(l0=5, theta=0.1), calibrate=False), AuxK()),
        ),
    ),
    (
        {
            "activation": {"type": "sigmoid"},
            "penalty": {"type": "kl", "window": 80},
            "weight": 0.5,
            "target_l0": TARGET,
        },
        Amortised(
            n_code=24,
            activation=Sigmoid(),
            terms=(KL(window=80, weight=0.5, target_l0=TargetL0(l0=5, theta=0.1)),),
        ),
    ),
    (
        {
            "activation": {"type": "batch_topk", "k": 4.0},
            "revival": {"type": "resample"},
            "matryoshka": {"type": "matryoshka", "sizes": [3, 9]},
            "calibrate": False,
        },
        Amortised(n_code=24, activation=BatchTopK(k=4, calibrate=False), terms=(Matryoshka((3, 9)), Resample())),
    ),
]


@pytest.mark.parametrize(("old", "spec"), MIGRATED)
def test_models_of_format_1_have_terms_and_their_state(old: dict[str, Any], spec: Amortised, tmp_path: Path) -> None:
    assert unpack({"format": 1, "spec": OLD | old}, ModelSpec, "config") == spec
    model = spec.build((8, 8), 0)
    for step in range(3):
        loss_of(model, step)
    save_model(model.eval(), tmp_path, {})
    file = tmp_path / "sae_weights.safetensors"
    expected, known = load_file(file), {"penalty": ("mean", "total", "count", "seen"), "revival": ("silent",)}
    state = {"weight": torch.tensor(1.0, dtype=torch.float64)}
    for name, value in expected.items():
        own = name.split(".", 2)[2] if name.startswith("terms.") else name
        state[next((f"{part}.{own}" for part, names in known.items() if own in names), own)] = value
    save_file(state, file)  # as format 1 named them
    loaded = load_model(tmp_path).state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_overrides_of_earlier_sweeps_have_the_paths_of_today(tmp_path: Path) -> None:
    def stored(config: Run, **overrides: Any) -> dict[str, Any]:
        RunFolder(tmp_path).write_config(config)
        return current({path.replace("__", "."): value for path, value in overrides.items()}, tmp_path)

    acts, kl = RECIPES["acts-jumprelu"](), RECIPES["mnist-kl-16"]()
    assert stored(acts, model__weight=2.0, seed=1) == {"model.terms.sparsity.weight": 2.0, "seed": 1}
    assert stored(acts, model__target_l0__l0=8.0) == {"model.terms.sparsity.target_l0.l0": 8.0}
    assert stored(acts, model__revival__k=8) == {"model.terms.auxk.k": 8}
    assert stored(kl, model__weight=2.0, model__penalty__rho=0.1) == {
        "model.terms.kl.weight": 2.0,
        "model.terms.kl.rho": 0.1,
    }
    assert stored(RECIPES["digits-sdl"](), model__weight=2.0) == {"model.weight": 2.0}
    assert value_at(acts, next(iter(stored(acts, model__weight=2.0)))) == 0.5
    assert current({"model.weight": 1.0}, tmp_path / "gone") == {"model.weight": 1.0}


def test_thresholds_are_moved_only_where_that_is_wanted() -> None:
    for calibrate in (True, False):
        terms = (Sparsity(L0(), target_l0=TargetL0(l0=3), calibrate=calibrate),)
        models = [
            Amortised(n_code=24, activation=JumpReLU(), terms=terms).build((8, 8), 0),
            Amortised(n_code=24, activation=BatchTopK(k=3, calibrate=calibrate)).build((8, 8), 0),
            Amortised(n_code=24, activation=TopK(k=3)).build((8, 8), 0),
        ]
        wanted = [model.calibrate_(X) for model in models]
        assert wanted == ([3, 3, None] if calibrate else [None] * 3)


class Largest(TorchDispatchMode):
    """The size in numbers of the largest tensor that was computed."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(x.numel() for x in tree_leaves(result) if isinstance(x, Tensor))])
        return result


@pytest.mark.parametrize(
    ("activation", "terms"),
    [(BatchTopK(k=4), ()), (JumpReLU(), (Sparsity(L0(), target_l0=TargetL0(l0=4)),))],
    ids=["batch_topk", "jumprelu"],
)
def test_wide_models_are_calibrated_in_little_memory(activation: Any, terms: Any) -> None:
    model = Amortised(n_code=24_576, activation=activation, terms=terms).build((4,), 0)
    x = torch.rand(1000, 4, generator=torch.Generator().manual_seed(1))
    with Largest() as largest:
        model.calibrate_(x)
    assert largest.numbers <= ENTRIES + 4 * len(x) + 1
    assert int((model.encode(x) != 0).sum()) == 4 * len(x)
