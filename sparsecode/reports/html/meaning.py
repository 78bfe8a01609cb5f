"""What a code stands for, in a few words: from its labels, its tokens, or the features of its atom."""

from __future__ import annotations

from collections import Counter

from sparsecode.reports.document import CodeDetail, Pool, WeightedName
from sparsecode.reports.html.geometry import MINUS

__all__ = ["meaning"]

TELLING = 3.0  # ratio of the odds of a label where a code is active to its odds among all samples, from which it says something
TOP = 3
LONG = 40  # characters of a name


def meaning(detail: CodeDetail, pool: Pool | None) -> str:
    """A few words on a code, "" if its details have none: a label that is frequent where it is active, else tokens, else features."""
    telling = [
        label for label in detail.labels if label.share * (1 - label.base) >= TELLING * label.base * (1 - label.share)
    ]
    best = max(telling, key=lambda label: label.share, default=None)
    if best is not None and best.share > best.base:
        return f"label {_short(best.label)}: {best.share:.0%} (all: {best.base:.0%})"
    tokens = _tokens(detail, pool)
    if tokens:
        return " ".join(f"“{_short(token)}”" for token in tokens)
    features = detail.effect.features if detail.effect is not None else ()
    return _names(detail.atom.top if detail.atom is not None else ()) or _names(features)


def _tokens(detail: CodeDetail, pool: Pool | None) -> list[str]:
    """The most frequent tokens of its largest activations."""
    top = next((band for band in detail.bands if band.kind == "top"), None)
    if top is None:
        return []
    seen: Counter[str] = Counter()
    for example in top.examples:
        if example.context is not None:
            seen[example.context.tokens[example.context.centre].strip()] += 1
        elif pool is not None and pool.kind == "token" and example.sample < len(pool.tokens):
            seen[pool.tokens[example.sample].strip()] += 1
    return [token for token, _ in seen.most_common(TOP) if token]


def _names(features: tuple[WeightedName, ...]) -> str:
    return ", ".join(f"{MINUS if f.weight < 0 else '+'}{_short(f.name)}" for f in features[:TOP])


def _short(name: str) -> str:
    return name if len(name) <= LONG else name[: LONG - 1] + "…"
