"""The tests' own check of signatures refuses what jaxtyping's refuses, at the same calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from checking import decorated, with_checks
from jaxtyping import Float, TypeCheckError, config
from jaxtyping._decorator import jaxtyped as by_jaxtyping
from torch import Tensor


def product(a: Float[Tensor, "n m"], b: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
    return a @ b


def transposed(a: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    return a.T


def first(a: Float[Tensor, " n"], k: int) -> Float[Tensor, "{k}"]:
    return a[:2]


def half(n: float = 1.0) -> int:
    return n / 2  # pyright: ignore[reportReturnType]


def sums(*values: int, **named: float) -> None:
    for value in (*values, *named.values()):
        assert value > 0


@dataclass
class Pair:
    x: Float[Tensor, " n"]
    y: Float[Tensor, " n"]


class Ones(Pair):
    def __init__(self, n: int) -> None:
        super().__init__(torch.ones(n), torch.ones(n))


CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], bool]] = [
    (product, (torch.ones(2, 3), torch.ones(3, 4)), {}, True),
    (product, (torch.ones(2, 3), torch.ones(2, 4)), {}, False),
    (product, (torch.ones(2, 3), torch.ones(3)), {}, False),
    (product, (), {"a": torch.ones(2, 3), "b": [1.0]}, False),
    (transposed, (torch.ones(2, 2),), {}, True),
    (transposed, (torch.ones(2, 3),), {}, False),
    (first, (torch.ones(5), 2), {}, True),
    (first, (torch.ones(5), 3), {}, False),
    (half, (), {}, False),
    (half, ("1",), {}, False),
    (half, (4,), {}, False),
    (sums, (1, 2), {"a": 1}, True),
    (sums, (1, "2"), {}, False),
    (sums, (1,), {"a": "1"}, False),
    (Pair, (torch.ones(2), torch.ones(2)), {}, True),
    (Pair, (torch.ones(2), torch.ones(3)), {}, False),
    (Ones, (2,), {}, True),
]


def outcome(wrapped: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> type | None:
    try:
        wrapped(*arguments, **options)
    except Exception as error:
        return type(error)
    return None


@pytest.mark.parametrize(("function", "arguments", "options", "fine"), CALLS)
@pytest.mark.parametrize("check", [with_checks, by_jaxtyping])
def test_both_refuse_the_same(
    check: Any, function: Any, arguments: tuple[Any, ...], options: dict[str, Any], fine: bool
) -> None:
    made = type(function.__name__, (function,), {}) if isinstance(function, type) else function  # classes are changed
    wrapped = check(made, typechecker=decorated)
    for _ in range(2):
        assert outcome(wrapped, arguments, options) is (None if fine else TypeCheckError)


def test_the_argument_at_fault_is_named_and_missing_ones_are_python_s() -> None:
    wrapped = with_checks(product, typechecker=decorated)
    with pytest.raises(TypeCheckError, match="parameter 'b'"):
        wrapped(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(TypeError, match="missing a required argument: 'b'"):
        wrapped(torch.ones(2, 3))


def test_an_error_of_the_function_passes_and_it_is_called_once() -> None:
    calls: list[int] = []

    def failing(n: int) -> int:
        calls.append(n)
        raise KeyError(n)

    failing.__qualname__ = "failing"  # not as an inner function
    with pytest.raises(KeyError):
        with_checks(failing, typechecker=decorated)(3)
    assert calls == [3]


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = with_checks(half, typechecker=decorated)
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    assert wrapped(1) == 0.5
