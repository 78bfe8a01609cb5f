"""Configs check themselves, from Python and from files, and survive the way to JSON and back."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from sparsecode.migrations import MIGRATIONS
from sparsecode.models.iterative import Inference, Iterative
from sparsecode.nn.encoders import LISTA
from sparsecode.nn.normalisers import Standardise
from sparsecode.penalties import L1
from sparsecode.recipes import RECIPES
from sparsecode.runs import Run
from sparsecode.schedules import Constant, Exponential, Linear, Piecewise, Schedule
from sparsecode.specs import (
    FORMAT,
    Count,
    NonNegative,
    Positive,
    Spec,
    differences,
    from_json,
    pack,
    to_json,
    unpack,
)
from sparsecode.train.optim import SGD, Adam, Clip, Optim

Fraction = Annotated[float, Meta(ge=0, le=1)]


class Inner(Spec, tag="inner"):
    rate: Positive = 1.0
    shares: tuple[Fraction, ...] = ()


class Other(Spec, tag="other"):
    offset: float = 0.0


class Outer(Spec, tag="outer"):
    size: Count
    part: Inner | Other = Inner()
    floor: NonNegative = 0.0
    named: dict[str, Inner] = {}  # noqa: RUF012 - msgspec copies an empty default
    note: str | None = None


def as_file(**fields: Any) -> bytes:
    return msgspec.json.encode({"format": FORMAT, "spec": {"type": "outer", "size": 3} | fields})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Outer(size=0), r"^Outer\.size: got 0; Expected `int` >= 1"),
        (lambda: Outer(size=3, floor=-0.1), r"^Outer\.floor: got -0\.1; Expected `float` >= 0\.0"),
        (lambda: Inner(rate=0), r"^Inner\.rate: got 0; Expected `float` > 0\.0"),
        (lambda: Inner(shares=(0.5, 1.5)), r"^Inner\.shares: got \(0\.5, 1\.5\); Expected `float` <= 1\.0"),
        (lambda: Iterative(n_code=8, weight=-1.0), r"^Iterative\.weight: got -1\.0"),
        (lambda: Adam(beta1=1.0), r"^Adam\.beta1: got 1\.0"),
    ],
)
def test_values_out_of_range_are_refused_from_python(build: Callable[[], Spec], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, r"Expected `int` >= 1 - at `\$\.size`"),
        ({"part": {"type": "inner", "rate": 0}}, r"Expected `float` > 0\.0 - at `\$\.part\.rate`"),
        ({"part": {"type": "inner", "shares": [0.5, 1.5]}}, r"Expected `float` <= 1\.0 - at `\$\.part\.shares\[1\]`"),
        ({"named": {"a": {"rate": -1, "type": "inner"}}}, r"Expected `float` > 0\.0 - at `\$\.named\[\.\.\.\]\.rate`"),
        ({"size": "3"}, r"Expected `int`, got `str` - at `\$\.size`"),
        ({"size": 3.5}, r"Expected `int`, got `float` - at `\$\.size`"),
        ({"part": {"type": "unheard"}}, r"part\.type is 'unheard'; expected inner"),
        ({"colour": 1}, r"unknown field `colour`"),
        ({"part": {"type": "other", "rate": 1}}, r"unknown field `rate` - at `\$\.part`"),
    ],
)
def test_bad_values_are_refused_from_a_file_with_file_and_path(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^runs/a/config\.json: .*" + message):
        from_json(as_file(**fields), Outer, "runs/a/config.json")


def test_the_same_range_holds_from_a_file_and_from_python() -> None:
    """`lr` is a number in range or a schedule; the file names the path, Python the field."""
    with pytest.raises(ValueError, match=r"^Adam\.lr: got -1\.0"):
        Adam(lr=-1.0)
    text = msgspec.json.encode(
        {"format": FORMAT, "spec": {"type": "optim", "groups": {"all": {"type": "adam", "lr": -1}}}}
    )
    with pytest.raises(ValueError, match=r"at `\$\.groups\[\.\.\.\]\.lr`"):
        from_json(text, Optim)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda bad: Other(offset=bad), r"Other\.offset"),
        (lambda bad: Constant(value=bad), r"Constant\.value"),
        (lambda bad: Piecewise(values=(1.0, bad), boundaries=(1.0,)), r"Piecewise\.values"),
        (lambda bad: Standardise(mean=bad, std=1.0), r"Standardise\.mean"),
    ],
)
def test_non_finite_numbers_are_refused(build: Callable[[float], Spec], field: str, bad: float) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: got .*; expected a finite number"):
        build(bad)


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(value=-1.0),
        Linear(start=1.0, stop=-1.0, length=3.0),
        Piecewise(values=(1.0, -1.0, 2.0), boundaries=(1.0, 2.0)),
        Exponential(start=-1.0, factor=2.0, every=1.0),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_schedules_keep_to_the_range_of_their_field(schedule: Schedule) -> None:
    message = r"the schedule reaches -1; Expected `float` >= 0\.0"
    with pytest.raises(ValueError, match=rf"^Adam\.lr: {message}"):
        Adam(lr=schedule)
    body = {"type": "sgd", "lr": msgspec.to_builtins(schedule)}
    with pytest.raises(ValueError, match=rf"^config: SGD\.lr: {message}"):
        from_json(msgspec.json.encode({"format": FORMAT, "spec": body}), SGD)


def test_non_finite_numbers_in_range_are_refused_too() -> None:
    with pytest.raises(ValueError, match=r"^Inner\.rate: got inf; expected a finite number"):
        Inner(rate=float("inf"))


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
def test_non_finite_numbers_in_a_file_are_refused(number: bytes) -> None:
    text = as_file(floor=12345).replace(b"12345", number)
    with pytest.raises(ValueError, match=r"^config: not valid JSON"):
        from_json(text, Outer)


def test_whole_numbers_become_floats_where_floats_are_declared() -> None:
    built, read = Outer(size=3, floor=2), from_json(as_file(floor=2), Outer)
    assert built == read
    for spec in (built, read):
        assert isinstance(spec.floor, float)
    assert Inner(shares=(0, 1)).shares == (0.0, 1.0)
    assert isinstance(Inner(shares=(0, 1)).shares[0], float)


@pytest.mark.parametrize("wrong", ["1", True, None])
def test_numbers_are_not_guessed_from_other_types(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^Other\.offset: got "):
        Other(offset=wrong)


def test_a_part_of_the_wrong_kind_is_refused() -> None:
    wrong: Any = L1()
    with pytest.raises(ValueError, match=r"^Outer\.part is L1\(.*\); expected inner, other$"):
        Outer(size=1, part=wrong)


def test_unknown_fields_are_refused_from_python() -> None:
    unknown: dict[str, Any] = {"colour": 1}
    with pytest.raises(TypeError, match="colour"):
        Outer(size=1, **unknown)


def test_replacing_a_field_checks_it() -> None:
    with pytest.raises(ValueError, match=r"^Outer\.size: got 0"):
        msgspec.structs.replace(Outer(size=1), size=0)


def test_specs_do_not_change() -> None:
    spec: Any = Outer(size=1)
    with pytest.raises(AttributeError):
        spec.size = 2


def test_fields_that_contradict_each_other_are_refused_from_python_and_from_a_file() -> None:
    message = r"Iterative: encoder\.positive is False and penalty\.positive is True"
    with pytest.raises(ValueError, match=rf"^{message}"):
        Iterative(n_code=8, weight=0.1, encoder=LISTA(positive=False))
    body = {"type": "iterative", "n_code": 8, "weight": 0.1, "encoder": {"type": "lista", "positive": False}}
    with pytest.raises(ValueError, match=rf"^config: {message}"):
        from_json(msgspec.json.encode({"format": FORMAT, "spec": body}), Iterative)


@pytest.mark.parametrize(
    "spec",
    [
        Outer(size=2, part=Other(offset=-1.5), named={"a": Inner(rate=1e-300, shares=(0, 1))}, note="µ"),
        Iterative(n_code=4, weight=Linear(start=0.1, stop=0.2, length=3), inference=Inference(start="zero")),
        Optim(groups={"*.bias": SGD(momentum=0.9), "decoder": Adam(decoupled=True)}, clip=Clip(norm=0.5)),
        *(recipe() for recipe in RECIPES.values()),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_json_round_trip_loses_nothing(spec: Spec) -> None:
    text = to_json(spec)
    again = from_json(text, type(spec))
    assert again == spec
    assert to_json(again) == text


def test_a_file_carries_its_format() -> None:
    assert len(MIGRATIONS) + 1 == FORMAT
    assert pack(Other(offset=2)) == {"format": FORMAT, "spec": {"type": "other", "offset": 2.0}}
    assert msgspec.json.decode(to_json(Other(offset=2))) == pack(Other(offset=2))


def test_a_newer_format_is_refused_with_advice() -> None:
    raw = {"format": FORMAT + 1, "spec": {"type": "other"}}
    message = rf"^a\.json: written in format {FORMAT + 1} by a newer sparsecode; .* up to format {FORMAT}\. Upgrade"
    with pytest.raises(ValueError, match=message):
        unpack(raw, Other, "a.json")


@pytest.mark.parametrize(
    "raw",
    [None, [], "spec", {}, {"format": FORMAT}, {"spec": {}}, {"format": 0, "spec": {}}, {"format": "1", "spec": {}}],
)
def test_what_is_no_config_is_refused(raw: Any) -> None:
    with pytest.raises(ValueError, match=r"^a\.json: not a sparsecode config: expected"):
        unpack(raw, Other, "a.json")


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a\.json: not valid JSON"):
        from_json(to_json(Other())[:-4], Other, "a.json")


def shift_to_offset(body: dict[str, Any]) -> dict[str, Any]:
    """Format 1 called the field `shift`."""
    return {("offset" if key == "shift" else key): value for key, value in body.items()}


def milli(body: dict[str, Any]) -> dict[str, Any]:
    """Format 2 counted in thousandths."""
    return body | {"offset": body["offset"] / 1000}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"format": 1, "spec": {"type": "other", "shift": 500}}, 0.5),
        ({"format": 2, "spec": {"type": "other", "offset": 500}}, 0.5),
        ({"format": 3, "spec": {"type": "other", "offset": 500}}, 500.0),
    ],
)
def test_older_formats_are_migrated_in_order(raw: dict[str, Any], expected: float) -> None:
    assert unpack(raw, Other, "a.json", (shift_to_offset, milli)).offset == expected


def test_migrations_raise_the_newest_format() -> None:
    with pytest.raises(ValueError, match=r"format 4 by a newer sparsecode; this version reads up to format 3"):
        unpack({"format": 4, "spec": {"type": "other"}}, Other, "a.json", (shift_to_offset, milli))


def test_what_a_migration_left_wrong_is_still_refused() -> None:
    with pytest.raises(ValueError, match=r"^a\.json: .*unknown field `shift`"):
        unpack(
            {"format": 2, "spec": {"type": "other", "shift": 1, "offset": 1}}, Other, "a.json", (shift_to_offset, milli)
        )


def test_equal_configs_have_no_differences() -> None:
    assert all(differences(recipe(), recipe()) == [] for recipe in RECIPES.values())


def test_differences_name_every_leaf_by_its_path() -> None:
    old = Outer(size=3, part=Inner(rate=0.5, shares=(0.1,)), named={"a": Inner()})
    new = Outer(size=4, part=Inner(rate=0.5, shares=(0.1, 0.2)), named={"b": Inner()}, note="x")
    assert differences(old, new) == [
        "size: 3 -> 4",
        "part.shares: (0.1,) -> (0.1, 0.2)",
        "named.a.type: inner -> (absent)",
        "named.a.rate: 1.0 -> (absent)",
        "named.a.shares: () -> (absent)",
        "note: None -> x",
        "named.b.type: (absent) -> inner",
        "named.b.rate: (absent) -> 1.0",
        "named.b.shares: (absent) -> ()",
    ]


def test_differences_show_another_variant() -> None:
    result = differences(Outer(size=3, part=Inner()), Outer(size=3, part=Other()))
    assert result[0] == "part.type: inner -> other"
    assert "part.rate: 1.0 -> (absent)" in result
    assert "part.offset: (absent) -> 0.0" in result


def test_every_recipe_is_a_run() -> None:
    assert all(isinstance(recipe(), Run) for recipe in RECIPES.values())
