"""Types and shapes in signatures enforced as by `jaxtyping.jaxtyped` over beartype, with less work for each function and call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Self, get_args, get_origin

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError, config, install_import_hook
from jaxtyping._decorator import _destring_annotation, _make_fn_with_signature, jaxtyped  # pyright: ignore[reportPrivateUsage]
from jaxtyping._storage import pop_shape_memo, push_shape_memo

Function = Callable[..., Any]


def unknown_to_beartype(hint: Any) -> bool:
    """`Self` on a method by itself, protocols that are not `runtime_checkable`, and generic named tuples."""
    kind = get_origin(hint) or hint
    protocol = getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False)
    generic_tuple = hasattr(kind, "_fields") and kind is not hint
    return kind is Self or protocol or generic_tuple or any(unknown_to_beartype(part) for part in get_args(hint))


def decorated(function: Function) -> Function:
    """`function` under beartype, without the hints that make it raise on decoration."""
    for name, hint in function.__annotations__.items():
        if unknown_to_beartype(hint):
            function.__annotations__[name] = Any
    return beartype(conf=BeartypeConf(is_pep484_tower=True))(function)  # an int may stand where a float is declared


def checks(function: Function) -> tuple[Function, Function]:
    """What takes the arguments of `function` and raises unless they are of its hints, and what does so with its output."""
    signature = inspect.signature(function)
    hints = [_destring_annotation(each.annotation, function.__globals__) for each in signature.parameters.values()]
    parameters = [
        each.replace(annotation=hint) for each, hint in zip(signature.parameters.values(), hints, strict=True)
    ]
    named: Any = partial(_make_fn_with_signature, function.__name__, function.__qualname__, function.__module__)
    output = _destring_annotation(signature.return_annotation, function.__globals__)
    made, name = named(inspect.Signature(return_annotation=output), output=True)
    checked = decorated(made)
    arguments = named(inspect.Signature(parameters, return_annotation=Any), output=False)
    return decorated(arguments), lambda out: checked(**{name: out})


def with_checks(function: Any, *, typechecker: Any) -> Any:
    """`function`, or what is in the class method or property, which checks what goes in, then what comes out.

    The checks are made on its first call, because a process of tests calls a part of the thousands of functions that
    it imports. Its arguments are looked at once, while `jaxtyped` does so again with the output.
    """
    explained = partial(jaxtyped, function, typechecker=typechecker)
    if inspect.isclass(function) and getattr(function.__init__, "__globals__", None) is globals():
        return function  # a dataclass, or what inherits from one, whose `__init__` checks already
    # names in hints of inner functions are looked up in the frames around; `{k}` in a shape is the value of an argument
    if not inspect.isfunction(function) or "<locals>" in function.__qualname__:
        return explained()
    if any("{" in str(hint) for hint in function.__annotations__.values()):
        return explained()
    made: tuple[Function, Function] | None = None

    @wraps(function)
    def checked(*arguments: Any, **options: Any) -> Any:
        nonlocal made
        if config.jaxtyping_disable:
            return function(*arguments, **options)
        if made is None:
            made = checks(function)
        taking, giving = made
        push_shape_memo({})
        try:
            try:
                taking(*arguments, **options)
            except Exception:
                return explained()(*arguments, **options)  # raises with the argument at fault
            out = function(*arguments, **options)
            try:
                giving(out)
            except Exception as error:
                raise TypeCheckError(f"the output of {function.__module__}.{function.__qualname__}: {error}") from error
            return out
        finally:
            pop_shape_memo()

    return checked


def check_types(modules: list[str]) -> None:
    """Functions of `modules`, imported from here on, enforce the types and shapes in their signatures."""

    def jaxtyped_with_checks(function: Any = None, *, typechecker: Any = None) -> Any:
        if function is None:
            return partial(with_checks, typechecker=typechecker)
        return with_checks(function, typechecker=typechecker)

    jaxtyping.jaxtyped = jaxtyping._decorator.jaxtyped = jaxtyped_with_checks
    install_import_hook(modules, f"{__name__}.{decorated.__name__}")
