"""The report of one or several runs as one HTML file that loads nothing: `render`."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined

from sparsecode.files import printable
from sparsecode.reports.document import Cell, CodeDetail, CodeTable, Document, Matches, Reconstruction, RunReport
from sparsecode.reports.html.charts import STYLES, Line, LineChart, bars_of, line_chart, scatter_of
from sparsecode.reports.html.curves import constants, curves, durations, keys, phase_text, repeated
from sparsecode.reports.html.geometry import number
from sparsecode.reports.html.mathematics import in_signs
from sparsecode.reports.html.meaning import meaning
from sparsecode.reports.html.payload import payload
from sparsecode.reports.html.ranking import Ranking, rankings
from sparsecode.reports.html.side_by_side import balanced, coder_styles, joint_tables, used_definitions
from sparsecode.reports.page import PLAYER, inside_script, text_of

__all__ = ["render"]

SCRIPTS = ("data.js", "curves.js", "browser.js", "view.js", "live.js", "start.js")
PRINTED = 20  # codes in the table that is printed
CLASSES = 3  # most probable classes of a sample
PAIRS = 100  # matched codes in a table
EXAMPLES = 8  # pictures of the most important code
CONTEXTS, AROUND = 3, 6  # texts of the most important code, and tokens before and after its own
NEXT = 4  # important codes named after the first
GROUPS = {"dead": "dead", "dense": "dense", "always_on": "always on"}


class LeadingCode(NamedTuple):
    """The most important code, for the head of the page: `examples` on which it is largest,
    `contexts` of tokens (before, the token, after), `next` the codes after it: number, link, meaning.
    """

    code: int
    link: str
    meaning: str
    picture: Cell | None
    values: list[tuple[str, float, str]]
    examples: list[Cell]
    contexts: list[tuple[str, str, str]]
    next: list[tuple[int, str, str]]
    labelled: bool

    @property
    def shares(self) -> bool:
        """Whether a label with its shares is named."""
        return any("(all: " in words for words in (self.meaning, *(words for _, _, words in self.next)))


class Shown(NamedTuple):
    """A run as templates see it."""

    report: RunReport
    place: int
    name: str
    style: int
    several: bool
    rows: list[int]
    rankings: list[Ranking]
    best: LeadingCode | None
    groups: list[tuple[str, str, int, str]]
    top: list[tuple[int, list[float], str]]
    numbered: bool

    def link(self, code: int) -> str:
        return _link(self.place, f"code-{code}")

    def row_of(self, sample: int) -> int:
        return self.rows[sample] if sample < len(self.rows) else sample

    @property
    def classifies(self) -> bool:
        """Whether its outputs are probabilities of classes."""
        return "classifier" in self.report.head.kind


def render(document: Document) -> str:
    """The HTML of a report: one file, without any address, that shows the document's texts as they are.

    Names, labels, tokens and texts of the document are escaped, wherever they stand: none becomes markup. Characters that are not
    seen, and those that change the direction of writing, are shown as escapes.
    """
    drawn = curves(document)
    runs = [_shown(run, i, len(document.runs) > 1) for i, run in enumerate(document.runs)]
    marks = [mark for curve in drawn for mark in curve.chart.marks]
    live = any(run.samples is not None and run.samples.decoder is not None for run in document.runs)
    phases = [
        (run.name, phase_text(phase))
        for run in document.runs
        for phase in (run.training.phases if run.training is not None else ())
    ]
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            document=document,
            definitions=document.definitions,
            runs=runs,
            unfinished=[(run.name, run.report.head.unfinished) for run in runs if run.report.head.unfinished],
            has_codes=any(run.codes for run in document.runs),
            has_samples=any(run.samples for run in document.runs),
            has_measures=any(run.measures for run in document.runs),
            curves=drawn,
            keys=keys(drawn),
            constants=constants(document),
            repeated=repeated(document),
            durations=durations(document),
            phases=phases,
            marked={
                "phases": any(mark.end is not None for mark in marks),
                "steps": any(mark.end is None for mark in marks),
            },
            tables=joint_tables(document),
            css="\n".join([_text("page.css"), text_of("player.css")]),
            player=text_of("player.html") if live else "",
            script="\n".join([*map(text_of, PLAYER if live else ()), *map(_text, SCRIPTS)]),
            data=inside_script(payload(document, drawn)),
            number=number,
            exact=_exact,
            last_of=_last,
            bars_of=bars_of,
            scatter_of=scatter_of,
            styles=coder_styles(document),
            values_chart=_values_chart,
            comparable=_comparable,
            pairs_of=_pairs,
            classes_of=_classes,
            in_signs=in_signs,
            balanced=balanced,
            used=used_definitions(document),
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, finalize=_visible, trim_blocks=False
    )


def _text(name: str) -> str:
    return files("sparsecode.reports.html").joinpath(name).read_text(encoding="utf-8")


def _visible(value: Any) -> Any:
    """Texts with escapes for characters that are not seen; markup of templates and all else as it is."""
    return printable(value, "\n") if type(value) is str else value


def _exact(value: float) -> str:
    """A number as a text from which the same number is read."""
    return repr(value) if isinstance(value, int) else repr(float(value))


def _last(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known[-1]) if known.size else None


def _link(run: int, place: str) -> str:
    return f"#{f'run-{run + 1}-' if run else ''}{place}"


def _shown(run: RunReport, index: int, several: bool) -> Shown:
    codes = run.codes
    return Shown(
        run,
        index,
        run.name,
        index % STYLES,
        several,
        run.pool.rows.values().tolist() if run.pool is not None else [],
        rankings(run),
        _best(run, codes, index) if codes is not None and codes.details and codes.n else None,
        [
            (name, _link(index, f"group-{name}"), len(codes.groups.get(name, ())), words)
            for name, words in GROUPS.items()
            if codes.groups.get(name)
        ]
        if codes is not None
        else [],
        _top(run, codes) if codes is not None else [],
        _numbered(run),
    )


def _best(run: RunReport, codes: CodeTable, index: int) -> LeadingCode:
    first, *others = codes.details[: NEXT + 1]
    atom = first.atom
    return LeadingCode(
        first.code,
        _link(index, f"code-{first.code}"),
        meaning(first, run.pool),
        (atom.picture or atom.field) if atom is not None else None,
        [(c.label, float(c.values.values()[0]), c.unit) for c in codes.columns if np.isfinite(c.values.values()[0])],
        _pictures(first, run),
        _contexts(first),
        [(d.code, _link(index, f"code-{d.code}"), meaning(d, run.pool)) for d in others],
        bool(first.labels),
    )


def _numbered(run: RunReport) -> bool:
    """Whether tokens are shown by their numbers, because no tokenizer was at hand."""
    details = run.codes.details if run.codes is not None else ()
    examples = [e for detail in details[: NEXT + 1] for band in detail.bands for e in band.examples]
    tokens = [token for e in examples if e.context is not None for token in e.context.tokens]
    return bool(tokens) and all(re.fullmatch(r"\[\d+\]", token) for token in tokens)


def _pictures(detail: CodeDetail, run: RunReport) -> list[Cell]:
    """The samples on which a code is largest."""
    if run.pool is None or not run.pool.sheet:
        return []
    top = next((band.examples for band in detail.bands if band.kind == "top"), ())
    return [Cell(run.pool.sheet, example.sample) for example in top[:EXAMPLES]]


def _contexts(detail: CodeDetail) -> list[tuple[str, str, str]]:
    """The texts around the tokens on which a code is largest: before, the token, after."""
    top = next((band.examples for band in detail.bands if band.kind == "top"), ())
    result: list[tuple[str, str, str]] = []
    for context in [example.context for example in top if example.context is not None][:CONTEXTS]:
        at, tokens = context.centre, context.tokens
        before, after = tokens[max(0, at - AROUND) : at], tokens[at + 1 : at + 1 + AROUND]
        apart = "" if any(character.isspace() for token in tokens for character in token) else " "  # of words alone
        result.append((apart.join([*before, ""]), tokens[at], apart.join(["", *after])))
    return result


def _top(run: RunReport, codes: CodeTable) -> list[tuple[int, list[float], str]]:
    columns = [column.values.values() for column in codes.columns]
    words = {detail.code: meaning(detail, run.pool) for detail in codes.details[:PRINTED]}
    shown = codes.codes.values()[:PRINTED].tolist()
    return [(code, [float(values[i]) for values in columns], words.get(code, "")) for i, code in enumerate(shown)]


def _sample(run: Shown, reconstruction: Reconstruction) -> np.ndarray | None:
    """The values of a sample, if the report has them and its outputs have as many."""
    pool = run.report.pool
    if pool is None or pool.values is None:
        return None
    values = pool.values.values()[reconstruction.sample].astype(np.float64)
    return values if all(array.shape == values.shape for array in reconstruction.values.values()) else None


def _comparable(run: Shown, reconstruction: Reconstruction) -> bool:
    return _sample(run, reconstruction) is not None


def _values_chart(run: Shown, reconstruction: Reconstruction) -> LineChart:
    """A sample, and what each coder makes of it, over their features."""
    values = {"sample": _sample(run, reconstruction)}
    values |= {coder: array.values() for coder, array in reconstruction.values.items()}
    return line_chart(
        [
            Line(name, np.arange(float(len(v))), v.astype(np.float64), i % STYLES, train=i > 0)
            for i, (name, v) in enumerate(values.items())
            if v is not None
        ]
    )


def _pairs(match: Matches) -> list[tuple[int, int, float]]:
    codes, cosines = match.codes.values()[:PAIRS].tolist(), match.cosines.values()[:PAIRS].tolist()
    return [(a, b, cosine) for (a, b), cosine in zip(codes, cosines, strict=True)]


def _classes(reconstruction: Reconstruction) -> list[tuple[str, list[tuple[int, float]]]]:
    """By coder, the most probable classes and their probabilities."""
    outputs = {coder: array.values() for coder, array in reconstruction.values.items()}
    order = {coder: np.argsort(-values, kind="stable")[:CLASSES].tolist() for coder, values in outputs.items()}
    return [(coder, [(i, float(outputs[coder][i])) for i in best]) for coder, best in order.items()]
