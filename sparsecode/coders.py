"""Names of the ways from data to codes: the same ones for every kind of model."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["AMORTISED", "EARLIER", "ENCODE", "MEAN", "coders_today", "in_words"]

ENCODE = "encode"  # what the model stands for: the solver's codes, the encoder's, the posterior's mode
AMORTISED = "amortised"  # one pass through the encoder of a model whose codes are solved for
MEAN = "mean"  # the posterior's mean, of a model with gates

# What they were called in files of format 1, by type of model.
EARLIER = {
    "iterative": {"solver": ENCODE, "encoder": AMORTISED},
    "variational": {"hard": ENCODE, MEAN: ENCODE},  # the mean had that name without gates, too
}


def coders_today(names: Iterable[str]) -> dict[str, str]:
    """Today's names, by these, of all the coders of one model, whichever version gave them."""
    given = list(names)
    earlier = {**EARLIER["iterative"], **EARLIER["variational"]}
    if "hard" in given or ENCODE in given:  # with gates: the mean is a second way
        del earlier[MEAN]
    return {name: earlier.get(name, name) for name in given}


def in_words(names: Iterable[str]) -> dict[str, str]:
    """The names of all the coders of one model, with what each is where there are two."""
    given = list(names)
    words: dict[str, str] = {}
    if AMORTISED in given:
        words = {ENCODE: "solved", AMORTISED: "encoder"}
    elif MEAN in given:
        words = {ENCODE: "hard gates", MEAN: "of posterior"}
    return {name: f"{name} ({words[name]})" if name in words else name for name in given}
