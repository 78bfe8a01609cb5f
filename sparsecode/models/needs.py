"""Requirements that parts of an autoencoder have of each other, and their check.

A part (activation, encoder, decoder, task, or a term) may have `provides`, the words here that hold for it, and `needs`, the
words that must hold for the model: a tuple, or a mapping from words to the field that asks for them. An activation without
`provides` counts as one whose codes can be 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sparsecode.losses.gate_fidelity import GateFidelity
from sparsecode.losses.reinforce import Reinforce
from sparsecode.losses.term import TermModule
from sparsecode.specs import name_of

if TYPE_CHECKING:
    from sparsecode.models.amortised import Amortised

__all__ = ["NEEDS", "Need", "brought", "problems", "provided"]

PARTS = ("activation", "encoder", "decoder", "task")


BROUGHT = {"gate": GateFidelity, "logp": Reinforce}


class Need(NamedTuple):
    """The meaning of a word, the field that decides whether it holds, and the remedy."""

    meaning: str
    field: str
    choose: str


NEEDS = {
    "zeros": Need(
        "codes that can be 0",
        "activation",
        "another activation, or set target_l0.theta to the level that counts as active",
    ),
    "bounded": Need("codes in [0, 1]", "activation", "activation 'sigmoid' or 'satlin'"),
    "indicator": Need("a count of active codes that has a derivative", "activation", "activation 'jumprelu'"),
    "gate": Need("a gate apart from the codes", "activation", "activation 'gated'"),
    "logp": Need("the density of what the activation draws", "activation", "activation 'sampled_k'"),
    "rectified": Need("an activation that changes no code above 0", "activation", "activation 'relu'"),
    "signed": Need("an activation that changes no code", "activation", "encoder.positive true with activation 'relu'"),
    "rows": Need("an encoder with weights of its own for each code", "encoder", "encoder 'affine'"),
    "no_bias": Need("an encoder without biases", "encoder.bias", "encoder 'affine' with bias false"),
    "atoms": Need("atoms in data space", "decoder", "decoder 'biased_dictionary'"),
    "linear": Need("a linear dictionary", "decoder.output", "decoder 'biased_dictionary' with output 'linear'"),
    "unbounded": Need("outputs without bounds", "decoder.output", "decoder.output 'linear'"),
    "regression": Need("an error of numbers, not of classes", "task", "task 'reconstruct' or 'predict'"),
    "reconstruction": Need("a reconstruction of the sample", "task", "task 'reconstruct'"),
}


def provided(spec: Amortised) -> frozenset[str]:
    """The words that hold for a model."""
    results: set[str] = set()
    for field in PARTS:
        results |= set(getattr(getattr(spec, field), "provides", ("zeros",) if field == "activation" else ()))
    return frozenset(results)


def brought(spec: Amortised) -> list[TermModule]:
    """The terms added for the capabilities that the activation provides."""
    have = provided(spec)
    return [term() for word, term in BROUGHT.items() if word in have]


def problems(spec: Amortised) -> list[str]:
    """Incompatible parts: each line names the fields, their values, and what to choose instead."""
    names = [name_of(term) for term in spec.terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    results = [f"terms has {name!r} {names.count(name)} times; expected one term of each name" for name in twice]
    for name, term in zip(names, spec.terms, strict=True):
        results += [f"terms.{name}.{line}" for line in _problems(term, spec.n_code)]
    have = provided(spec)
    results += [_unmet(spec, place, need, instead) for place, need, instead in _needs(spec, names) if need not in have]
    return results


def _problems(term: Any, n_code: int) -> list[str]:
    return term.problems(n_code) if hasattr(term, "problems") else []


def _needs(spec: Amortised, names: list[str]) -> Iterator[tuple[str, str, str]]:
    """The field with a need, the word, and the alternative remedy there."""
    parts: dict[str, Any] = {part: getattr(spec, part) for part in PARTS}
    parts |= {f"terms.{name}": term for name, term in zip(names, spec.terms, strict=True)}
    for place, part in parts.items():
        needs: Any = getattr(part, "needs", ())
        fields: Mapping[str, str] = needs if isinstance(needs, Mapping) else dict.fromkeys(needs, "")
        for need, field in fields.items():
            if field:
                yield f"{place}.{field}", need, f", or change {place}.{field}"
            else:
                yield place, need, f", or leave {place} out" if place.startswith("terms.") else ""


def _unmet(spec: Amortised, place: str, need: str, instead: str) -> str:
    """A line of text: the field with the need, the present value, and the remedy."""
    if need not in NEEDS:
        return f"{place} needs {need!r}, which no part gives; choose from {', '.join(NEEDS)}"
    meaning, field, choose = NEEDS[need]
    where = place if instead else f"{place} {_given(spec, place)[1]}"
    there, value = _given(spec, field)
    return f"{where} needs {meaning}, and {there} is {value}; choose {choose}{instead}"


def _given(spec: Amortised, place: str) -> tuple[str, str]:
    """A dotted field, or the part without such a field, and its value."""
    part, rest = getattr(spec, place.partition(".")[0]), place.partition(".")[2]
    if rest and hasattr(part, rest):
        return place, repr(getattr(part, rest))
    return place.partition(".")[0], repr(name_of(part))
