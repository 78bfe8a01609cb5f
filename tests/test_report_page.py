"""The report as a page: what a document says stands in it, as text, and nothing in it becomes markup."""

from __future__ import annotations

import json
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import msgspec
import numpy as np
import pytest
from report_documents import PLANTED, Kind, document, run_report

from sparsecode.files import printable
from sparsecode.reports.document import Document, FrontierPlot, FrontierSeries, LabelShare, MeasureRow, TokenContext
from sparsecode.reports.html import render
from sparsecode.reports.html.charts import Line, bars_of, line_chart, scatter_of
from sparsecode.reports.html.curves import curves, keys
from sparsecode.reports.html.geometry import MINUS, TIMES, UNDEFINED, ChartAxis, axis_over, number, path_of
from sparsecode.reports.html.meaning import meaning
from sparsecode.reports.html.ranking import rankings
from sparsecode.reports.html.side_by_side import coder_styles, joint_tables
from sparsecode.reports.schema.arrays import Histogram, packed

KINDS: tuple[Kind, ...] = ("picture", "series", "row", "token")


class Parsed(HTMLParser):
    """Elements, attributes, texts outside scripts and styles, and numbers with the text that shows them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.numbers: list[tuple[float, str]] = []
        self.scripts: list[str] = []
        self.title = ""
        self._open: list[str] = []
        self._value = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "line", "path", "circle", "rect", "input"):
            self._open.append(tag)
        if tag == "data":
            self._value = dict(attrs)["value"] or ""

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        here = self._open[-1] if self._open else ""
        if here == "script":
            self.scripts.append(data)
        elif here == "title" and "svg" not in self._open:
            self.title += data
        elif here == "data":
            self.numbers.append((float(self._value), data))
        if here not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def pages() -> dict[Kind, Parsed]:
    return {kind: Parsed(render(document(run_report(PLANTED[0], kind)))) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_of_a_document_becomes_markup(kind: Kind, pages: dict[Kind, Parsed]) -> None:
    page = pages[kind]
    assert page.tags["script"] == 2
    assert not {"img", "b", "iframe", "object", "embed", "link", "base", "form"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name, value)
        assert name not in ("src", "action", "srcdoc", "xlink:href"), (tag, name, value)
        assert name != "href" or value.startswith("#"), (tag, name, value)
    policy = next(value for tag, _, value in page.attributes if tag == "meta" and value.startswith("default-src"))
    assert policy.startswith("default-src 'none';")


def test_every_planted_text_is_seen_as_it_is(pages: dict[Kind, Parsed]) -> None:
    page = pages["row"]
    for planted in PLANTED:
        assert " ".join(printable(planted).split()) in page.text
    labels = {label["label"] for detail in page.data["runs"][0]["codes"]["details"] for label in detail["labels"]}
    assert set(PLANTED) <= labels
    assert all(printable(text, "\n") == text for text in page.texts)
    assert not set("<>&\u2028") & set(page.scripts[0])


def test_numbers_of_the_document_are_those_of_the_page(pages: dict[Kind, Parsed]) -> None:
    page, run = pages["picture"], run_report(PLANTED[0], "picture")
    assert run.measures is not None
    assert run.samples is not None
    assert run.codes is not None
    expected = [n.value for n in run.head.numbers if n.value is not None]
    cells = [v for table in run.measures.tables for row in table.rows for v in row.values]
    expected += [v for v in cells if isinstance(v, int | float) and not isinstance(v, bool)]
    expected += [v for r in run.samples.reconstructions for v in (r.error, r.psnr, *r.activations) if v is not None]
    expected += [d.mean_l0 for d in run.codes.distributions]
    shown = Counter(value for value, _ in page.numbers)
    for value, n in Counter(expected).items():
        assert shown[value] >= n, value
    for value, text in page.numbers:
        assert text in {number(value, digits) for digits in (3, 4, 5)} | {"21.12 dB", "8.25"}, (value, text)
    raw = page.data["runs"][0]["codes"]
    assert raw["columns"][0]["values"]["data"] == run.codes.columns[0].values.data
    assert raw["details"][0]["effect"]["loss"] == run.codes.details[0].effect.loss  # pyright: ignore[reportOptionalMemberAccess]


def test_contexts_are_numbers_of_distinct_tokens(pages: dict[Kind, Parsed]) -> None:
    data, table = pages["token"].data["runs"][0], run_report(PLANTED[0], "token").codes
    assert table is not None
    assert '"type"' not in pages["token"].scripts[0]
    assert len(set(data["vocabulary"])) == len(data["vocabulary"])
    for detail, shown in zip(table.details, data["codes"]["details"], strict=True):
        for band, there in zip(detail.bands, shown["bands"], strict=True):
            for example, other in zip(band.examples, there["examples"], strict=True):
                assert example.context is not None
                assert tuple(data["vocabulary"][i] for i in other["context"]["tokens"]) == example.context.tokens


def test_a_number_keeps_its_digits() -> None:
    shown = {0.0: "0", -0.5: f"{MINUS}0.5", 1e-5: "10⁻⁵", 1.25e-7: f"1.25 {TIMES} 10⁻⁷", 123456.0: "123456"}
    shown[12345.6] = f"1.235 {TIMES} 10⁴"
    assert {value: number(value) for value in shown} == shown
    assert [number(v) for v in (None, float("nan"), float("inf"))] == [UNDEFINED, UNDEFINED, "∞"]
    rng = np.random.default_rng(0)
    for value in rng.choice([-1, 1], 200) * 10 ** rng.uniform(-12, 12, 200):
        text = number(float(value)).replace(MINUS, "-").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        read = float(text.replace(f" {TIMES} 10", "e")) if f" {TIMES} 10" in text else float(text)
        assert read == pytest.approx(value, rel=6e-4)


def test_unfinished_runs_say_so_everywhere() -> None:
    page = Parsed(render(document(run_report("a", unfinished="step 280 of 600"))))
    assert page.title.startswith("unfinished: ")
    assert page.text.count("unfinished") >= 2
    assert "Unfinished: step 280 of 600" in page.text
    finished = Parsed(render(document(run_report("a"))))
    assert "nfinished" not in finished.text + finished.title


def test_parts_that_a_run_lacks_have_no_section() -> None:
    bare = msgspec.structs.replace(
        run_report("a"), training=None, codes=None, pool=None, samples=None, measures=None, sheets={}
    )
    page = Parsed(render(document(bare, title="bare")))
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert {"overview", "definitions"} <= ids
    assert not {"training", "codes", "samples", "measures", "comparison"} & ids
    links = {value[1:] for _, name, value in page.attributes if name == "href"}
    assert links <= ids


@pytest.mark.parametrize("several", [False, True])
def test_links_within_the_page_lead_somewhere(several: bool) -> None:
    runs = [run_report("a"), run_report("a", seed=1)] if several else [run_report("a")]
    page = Parsed(render(document(*runs)))
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    places = {value[1:] for _, name, value in page.attributes if name == "href"}
    dynamic = {place for place in places if "code-" in place or "group-" in place}
    assert places - dynamic <= set(ids)
    assert any(place.startswith("run-2-code-") for place in dynamic) == several


def test_several_runs_stand_side_by_side() -> None:
    whole = document(run_report("first"), run_report("second", seed=1))
    (table,) = joint_tables(whole)
    assert table.heads == [("first", 2), ("second", 2)]
    assert table.columns == ["encode", "amortised"] * 2
    assert [len(row.values) for row in table.rows] == [4, 4, 4]
    assert table.begins == {2}
    page = Parsed(render(whole))
    labels = [line["label"] for line in page.data["curves"][0]["lines"]]
    assert labels == ["first, training", "first, validation", "second, training", "second, validation"]
    assert "Shared codes" in page.text


def test_coders_of_several_runs_have_a_chart_each_and_runs_a_line_of_the_legend() -> None:
    run, change = run_report("first"), msgspec.structs.replace
    assert run.training is not None
    encode = next(s for s in run.training.series if s.key == "encode/mse")
    other = change(encode, key="amortised/mse", line="validation, amortised")
    both = change(run, training=change(run.training, series=(encode, other)))
    drawn = curves(document(both, change(both, name="second")))
    assert [curve.title for curve in drawn] == [
        "squared error, validation, encode",
        "squared error, validation, amortised",
    ]
    assert [key.label for key in keys(drawn)] == ["first, validation", "second, validation"]
    assert len({key.style for key in keys(drawn)}) == 2


def test_no_two_coders_of_several_runs_share_a_colour() -> None:
    runs = [run_report(name) for name in ("first", "second", "third")]
    change = msgspec.structs.replace
    for i, run in enumerate(runs):
        assert run.codes is not None
        (one, *_) = run.codes.distributions
        both = (change(one, coder="encode"), change(one, coder="amortised"))
        runs[i] = change(run, codes=change(run.codes, distributions=both[: 2 - (i == 2)]))
    styles = coder_styles(document(*runs))
    assert [styles[f"{run.name}, encode"] for run in runs] == [0, 1, 2]
    assert len(set(styles.values())) == len(styles) == 5
    assert list(coder_styles(document(runs[0])).items()) == [("encode", 0), ("amortised", 1)]
    series = (
        FrontierSeries("other", "reference", (1.0,), (0.5,)),
        *(FrontierSeries(n, "run", (1.0,), (0.5,)) for n in styles),
    )
    drawn = scatter_of(FrontierPlot("q", "q", "", "", "higher", series), styles)
    assert {line.label: line.style for line in drawn.series} == styles | {"other": 5}


def test_levels_of_noise_and_sites_stand_side_by_side() -> None:
    run, change = run_report("a"), msgspec.structs.replace
    assert run.measures is not None
    rows = tuple(
        MeasureRow(f"levels[{i}].{key}", f"sigma {sigma}: {label}", unit, "", (10.0 * i + j, 10.0 * i + j + 5))
        for i, sigma in enumerate((0.1, 0.5))
        for j, (key, label, unit) in enumerate((("psnr", "PSNR", "dB"), ("l0", "L0", "")))
    )
    (table,) = run.measures.tables
    levels = change(table, rows=rows)
    (joint,) = joint_tables(document(change(run, measures=change(run.measures, tables=(levels,)))))
    assert joint.columns == [f"{coder}, sigma {s}" for coder in ("encode", "amortised") for s in (0.1, 0.5)]
    assert joint.heads == [("a", 4)]
    assert [(row.key, row.label, row.values) for row in joint.rows] == [
        ("psnr", "PSNR", [0, 10, 5, 15]),
        ("l0", "L0", [1, 11, 6, 16]),
    ]
    mixed = change(table, rows=(*rows, *table.rows))
    (joint,) = joint_tables(document(change(run, measures=change(run.measures, tables=(mixed,)))))
    assert [row.key for row in joint.rows] == [row.key for row in mixed.rows]


def test_what_was_logged_once_is_a_sentence() -> None:
    run, change = run_report("a"), msgspec.structs.replace
    assert run.training is not None
    series = tuple(
        change(s, steps=packed(s.steps.values()[:1]), values=packed(s.values.values()[:1])) for s in run.training.series
    )
    page = Parsed(render(document(change(run, training=change(run.training, series=series)))))
    assert page.data["curves"] == []
    assert page.tags["figure"] < Parsed(render(document(run))).tags["figure"]
    assert f"squared error (validation, encode) {number(float(series[1].values.values()[0]))}" in page.text
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert "training" in ids
    assert not {"all-log", "curve-tables"} & ids


def test_a_run_is_compared_with_references_at_its_l0() -> None:
    run, change = run_report("a"), msgspec.structs.replace
    (ranking,) = rankings(run)
    assert "at L0 8.25" in ranking.quantity
    # between the reference's points at 1, 8.25 and 20
    assert ranking.result == "Better than the only reference"
    assert [(rank.label, rank.run) for rank in ranking.ranks] == [("a", True), ("principal components", False)]
    assert ranking.ranks[1].value == 0.5
    assert run.measures is not None
    (frontier,) = run.measures.frontiers
    reference = next(series for series in frontier.series if series.kind == "reference")
    other = change(reference, label="other", values=tuple(10.0 for _ in reference.l0))
    more = change(run.measures, frontiers=(change(frontier, series=(*frontier.series, other)),))
    (ranking,) = rankings(change(run, measures=more))
    assert ranking.result == "Better than 1 of 2 references"
    assert [rank.label for rank in ranking.ranks] == ["other", "a", "principal components"]
    text = Parsed(render(document(change(run, measures=more)))).text
    assert "Better than 1 of 2 references" in text
    small = change(run, head=change(run.head, shape=(4, 2)))
    (ranking,) = rankings(small)
    assert ranking.ranks == []
    assert "with as many active codes as features (8) or more" in ranking.result


def test_curves_that_say_nothing_have_no_chart() -> None:
    """The clock is a sentence; an error that equals the loss is named, and drawn once."""
    run = run_report("a")
    assert run.training is not None
    loss = next(s for s in run.training.series if s.kind == "train")
    change = msgspec.structs.replace
    loss = change(loss, group="loss", label="loss")
    error = change(loss, group="fidelity", label="error", key="fidelity")
    clock = change(loss, group="seconds", label="seconds since the start", key="seconds", values=loss.steps)
    other = change(error, values=packed(loss.values.values() + 0.5))
    page = Parsed(render(document(change(run, training=change(run.training, series=(loss, error, clock))))))
    assert len(page.data["curves"]) == 1
    assert "600 of 1,000 steps (10 epochs), 600 s to the last logged step." in page.text
    assert "not drawn: error, which equals loss at every point." in page.text
    resumed = loss.steps.values() - np.where(loss.steps.values() > 300, 290, 0)  # the clock of a session starts at 0
    again = change(run, training=change(run.training, series=(loss, change(clock, values=packed(resumed)))))
    assert "(10 epochs), 610 s to the last logged step." in Parsed(render(document(again))).text
    page = Parsed(render(document(change(run, training=change(run.training, series=(loss, other))))))
    assert len(page.data["curves"]) == 2
    assert "not drawn" not in page.text


def test_marks_of_a_run_stand_in_its_own_charts() -> None:
    """A step chosen, or a phase, of one run is no line in the chart of another; what no chart has is not explained."""
    run, change = run_report("first"), msgspec.structs.replace
    assert run.training is not None
    (series, *_) = run.training.series
    alone = change(run.training, series=(change(series, key="own"),))
    bare = change(run.training, series=(series,), phases=(), selected_step=None)
    drawn = curves(document(change(run, training=alone), change(run_report("second"), training=bare)))
    texts = [[mark.text for mark in curve.chart.marks] for curve in drawn]
    assert len(texts) == 2
    assert texts[0]
    assert texts[1] == []
    assert "triangle" in Parsed(render(document(run))).text
    assert "triangle" not in Parsed(render(document(change(run, training=bare)))).text


def test_one_count_of_active_codes_is_a_sentence() -> None:
    run, change = run_report("a"), msgspec.structs.replace
    assert run.codes is not None
    (first, *_) = run.codes.distributions
    same = change(first, l0=Histogram((7.5, 8.5), (20,), "active codes per sample"), mean_l0=8.0)
    page = Parsed(render(document(change(run, codes=change(run.codes, distributions=(same,))))))
    assert f"By {first.label}, every sample has 8 active codes." in page.text
    assert "Active codes per sample" not in page.text


def test_warnings_stand_before_the_codes() -> None:
    text = Parsed(render(document(run_report("a")))).text
    assert 0 < text.index("Warnings") < text.index("The most important code")


def test_tokens_without_texts_name_the_remedy() -> None:
    run, change = run_report("a", "token"), msgspec.structs.replace
    assert "--tokenizer" not in Parsed(render(document(run))).text
    assert run.codes is not None
    example = change(run.codes.details[0].bands[0].examples[0], context=TokenContext(("[7]", "[12]"), (None, 1.0), 1))
    band = change(run.codes.details[0].bands[0], examples=(example,))
    detail = change(run.codes.details[0], bands=(band,))
    page = Parsed(render(document(change(run, codes=change(run.codes, details=(detail,))))))
    assert "--tokenizer FOLDER" in page.text


def test_what_a_code_stands_for() -> None:
    run = run_report("a", "token")
    assert run.codes is not None
    detail = run.codes.details[0]
    informative = msgspec.structs.replace(detail, labels=(LabelShare("7", 0.9, 0.1), LabelShare("1", 0.1, 0.1)))
    assert meaning(informative, run.pool) == "label 7: 90% (all: 10%)"
    common = msgspec.structs.replace(detail, labels=(LabelShare("7", 0.11, 0.1),))
    assert meaning(common, run.pool).startswith("“")
    top = msgspec.structs.replace(
        detail.bands[0],
        examples=tuple(
            msgspec.structs.replace(e, context=TokenContext((" a", t, " b"), (None, 1.0, None), 1))
            for e, t in zip(detail.bands[0].examples, (" cat", " dog", " cat", " cow"), strict=True)
        ),
    )
    assert meaning(msgspec.structs.replace(common, bands=(top,)), run.pool) == "“cat” “dog” “cow”"


def test_places_on_axes() -> None:
    assert ChartAxis(0, 10, 0, 100).at([0, 2.5, 10]).tolist() == [0, 25, 100]
    log = ChartAxis(1, 100, 0, 100, log=True)
    assert log.at([1, 10, 100]).tolist() == pytest.approx([0, 50, 100])
    assert np.isnan(log.at([0, -1, np.nan])).all()
    assert [tick.label for tick in log.ticks()] == ["1", "2", "5", "10", "20", "50", "100"]
    assert [tick.label for tick in ChartAxis(0, 10, 0, 100).ticks(5)] == ["0", "2", "4", "6", "8", "10"]
    one = axis_over([5.0, 5.0], 0, 100)
    assert one.low < 5 < one.high


@pytest.mark.parametrize("values", [[1e-9, 3.0, 1e6], [-1e3, 1e-3], [0.0, 0.0], [1e-200, 1e200], [np.nan]])
@pytest.mark.parametrize("log", [False, True])
def test_ticks_lie_on_the_axis_and_are_few(values: list[float], log: bool) -> None:
    axis = axis_over(values, 0, 300, log=log)
    ticks = axis.ticks(5)
    assert 1 <= len(ticks) <= 10
    assert all(0 <= tick.at <= 300 for tick in ticks)
    assert len({tick.label for tick in ticks}) == len(ticks)
    inside = np.asarray(values)[np.isfinite(values)]
    inside = inside[inside > 0] if log else inside
    places = axis.at(inside)
    assert ((places >= 0) & (places <= 300)).all()


def test_a_path_of_many_points_keeps_its_extremes() -> None:
    y = np.random.default_rng(0).normal(size=50_000)
    y[12_345], y[23_456] = 40.0, -40.0
    path = path_of(np.linspace(0, 300, len(y)), y)
    points = [tuple(map(float, point.split())) for point in path.replace("L", "M").split("M")[1:]]
    assert len(points) <= 4 * 302
    assert max(v for _, v in points) == 40
    assert min(v for _, v in points) == -40
    assert path_of([0, 1, 2], [0, np.nan, 1]) == "M0.0 0.0M2.0 1.0"


def test_charts_hold_every_value_within_their_frame() -> None:
    steps = np.arange(10.0)
    chart = line_chart([Line("a", steps, 10.0**-steps, 0), Line("b", steps, np.full(10, np.nan), 1)])
    assert [scale.name for scale in chart.scales] == ["linear", "logarithmic"]
    assert chart.starts_log
    for scale in chart.scales:
        for point in scale.paths[0].replace("L", "M").split("M")[1:]:
            x, y = map(float, point.split())
            assert 52 <= x <= 350
            assert 12 <= y <= 172
    assert [s.name for s in line_chart([Line("a", steps, steps - 3, 0)]).scales] == ["linear"]
    bars = bars_of(Histogram((1.0, 10.0, 100.0), (2, 4), "x", log=True)).bars
    assert bars[0].width == pytest.approx(bars[1].width)
    assert bars[1].height == pytest.approx(2 * bars[0].height, abs=0.02)


def test_an_empty_document_is_a_page() -> None:
    page = Parsed(render(Document("none", (), None, {}, "0.1.0")))
    assert page.title == "none"
