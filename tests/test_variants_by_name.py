"""Variants of a config chosen by their name, on every way in; and what is said where a name is not enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecode.cli import main
from sparsecode.cli.options import named_variants
from sparsecode.overrides import OverrideError, assign, value_at
from sparsecode.recipes import RECIPES
from sparsecode.runs import Run, RunFolder
from sparsecode.sweeps import Axis, jobs_of
from sparsecode.train.optim import Adam, build

Capture = pytest.CaptureFixture[str]


def test_set_takes_a_name_and_later_paths_lie_inside_it() -> None:
    config = assign(RECIPES["noise-digits"](), ("model.terms.l1=l1", "model.terms.l1.penalty.positive=true"))
    assert value_at(config, "model.terms.l1.penalty") == {"type": "l1", "positive": True}


def test_over_takes_names(tmp_path: Path) -> None:
    jobs = jobs_of(["noise-digits"], [Axis.parse("model.terms.sparsity=l1,hoyer")], (), tmp_path)
    assert [value_at(job.config, "model.terms.sparsity.penalty.type") for job in jobs] == ["l1", "hoyer"]
    assert [job.folder.name.rpartition("_")[0] for job in jobs] == [
        "noise-digits_sparsity=l1",
        "noise-digits_sparsity=hoyer",
    ]


@pytest.mark.parametrize(
    ("recipe", "option", "assignment"),
    [
        ("noise-digits", ["--model.terms.l1", "l1"], "model.terms.l1=l1"),  # where there is none
        ("digits-topk", ["--model.terms.auxk", "None"], "model.terms.auxk=null"),
        ("digits-sdl", ["--model.penalty", "elastic_net"], "model.penalty=elastic_net"),  # in place of another one
        ("digits-sdl", ["--optim.groups.decoder=sgd"], "optim.groups.decoder=sgd"),
        ("digits-sdl", ["--data", "photos"], "data=photos"),
        ("digits-sdl", ["--model.penalty", '{"type":"l1"}'], 'model.penalty={"type":"l1"}'),
        ("noise-digits", ["--model.corruption", "None"], "model.corruption=null"),
    ],
)
def test_an_option_takes_a_name(recipe: str, option: list[str], assignment: str) -> None:
    rest, chosen = named_variants(RECIPES[recipe](), ["--seed", "3", *option, "--train.epochs", "2"])
    assert (rest, chosen) == (["--seed", "3", "--train.epochs", "2"], [assignment])


def test_numbers_stay_numbers_where_a_schedule_could_stand() -> None:
    argv = ["--optim.groups.decoder.lr", "0.01", "--model.weight=0.5"]
    assert named_variants(RECIPES["digits-sdl"](), argv) == (argv, [])


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("model.penalty=l7", "--set model.penalty: is 'l7'; expected l1, "),
        ("model.weight=fast", "--set model.weight: is 'fast'; expected "),
        (
            "model.activation=topk",
            """'topk' needs k; give it as JSON: --set model.activation='{"type":"topk","k":...}'""",
        ),
        ("optim.groups.encodr.lr=0.1", "no such place in the config; choose from encoder, decoder"),
    ],
)
def test_what_a_name_cannot_say_is_said(assignment: str, words: str) -> None:
    recipe = "noise-digits" if "activation" in assignment else "digits-sdl"
    with pytest.raises(OverrideError) as caught:
        assign(RECIPES[recipe](), (assignment,))
    assert words in str(caught.value)


def test_the_command_line_says_so_too(capsys: Capture, tmp_path: Path) -> None:
    assert main(["train", "digits-sdl", "--model.penalty", "l7", "--out", str(tmp_path / "run")]) == 2
    assert "model.penalty: is 'l7'; expected l1, " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def remedied(config: Run, words: str) -> Run:
    """`config` with what the error about its optimisers says to set."""
    model = config.model.build((8, 8), 0)
    with pytest.raises(ValueError, match="groups") as caught:
        build(config.optim, model)
    assert words in str(caught.value)
    config = assign(config, (str(caught.value).partition("--set ")[2].replace("'", ""),))
    assert build(config.optim, model)
    return config


def test_a_group_without_an_optimiser_is_told_how_to_get_one() -> None:
    config = assign(RECIPES["noise-digits"](), ("model.activation=learned_k",))
    words = "no pattern of encoder, decoder matches the model's group 'activation.k'"
    assert set(remedied(config, words).optim.groups) == {"encoder", "decoder", "activation"}


def test_a_pattern_that_matches_nothing_is_told_how_to_leave() -> None:
    config = assign(RECIPES["noise-digits"](), ("optim.groups.encoderr=sgd",))
    words = "pattern 'encoderr' matches none of the model's groups"
    assert remedied(config, words).optim.groups == RECIPES["noise-digits"]().optim.groups


def test_the_command_of_the_documentation_works(tmp_path: Path) -> None:
    """docs/noise.md."""
    command = "train noise-digits --model.activation learned_k --set optim.groups.activation=adam"
    assert f"sparsecode {command}" in (Path(__file__).parents[1] / "docs" / "noise.md").read_text()
    assert main([*command.split(), "--train.epochs", "0.1", "--out", str(tmp_path / "run")]) == 0
    assert RunFolder(tmp_path / "run").config().optim.groups["activation"] == Adam()
