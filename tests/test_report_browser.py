"""The report's page in a real Chromium: filters, order, links, keys, colours, sizes, and that nothing is asked of a network."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import CHROMIUM, Page, page
from msgspec.structs import replace
from report_documents import PLANTED, Kind, codes, document, run_report

from sparsecode.data import Digits
from sparsecode.models.variational import Variational
from sparsecode.nn.likelihoods import Bernoulli
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import SpikeSlab
from sparsecode.nn.priors import SpikeSlabPrior
from sparsecode.reports import subject_of
from sparsecode.reports.document import RunReport, packed
from sparsecode.reports.html import render
from sparsecode.reports.html.geometry import number
from sparsecode.reports.page import page_data

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path; install it with make test-browser"),
]
KINDS: tuple[Kind, ...] = ("picture", "series", "row", "token")
ROWS = "[...document.querySelectorAll('#code-list .body .row')].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)"
SHOWN = f"{ROWS}.map((row) => Number(row.querySelector('a').textContent))"
VIEWED = "document.querySelector('#code-view h3').firstChild.textContent"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for kind in KINDS:
        write(folder / f"{kind}.html", run_report(f"run {PLANTED[0]}", kind, unfinished="step 6 of 10"))
    write(folder / "several.html", run_report("first"), run_report("second", seed=1))
    return folder


def write(path: Path, *runs: RunReport) -> None:
    path.write_text(render(document(*runs, title=PLANTED[0])), encoding="utf-8")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Page]:
    with page(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture
def tab(browser: Page, folder: Path) -> Generator[Page]:
    """The page of pictures; afterwards nothing may have been reported or asked for."""
    browser.faults.clear()
    browser.open(folder / "picture.html")
    yield browser
    assert browser.faults == []
    assert [address for address in browser.requests if not address.startswith("file:")] == []
    assert PLANTED[0] in browser.run("document.title")


def order(kind: Kind = "picture") -> list[int]:
    table = run_report("a", kind).codes
    assert table is not None
    return [int(code) for code in table.codes.values()]


def column(key: str) -> dict[int, float]:
    table = run_report("a").codes
    assert table is not None
    values = next(c.values.values() for c in table.columns if c.key == key)
    return dict(zip(order(), values.tolist(), strict=True))


def put(tab: Page, name: str, value: Any, event: str = "change") -> None:
    tab.run(f"{{ const e = $('{name}'); e.value = {value!r}; e.dispatchEvent(new Event('{event}')); }}")
    tab.settle()


def state(tab: Page) -> list[int]:
    return tab.run("state.rows")


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("name", [*KINDS, "several"])
def test_no_width_makes_the_page_scroll_sideways_and_nothing_is_reported(
    name: str, colours: Any, tab: Page, folder: Path
) -> None:
    for width in (360, 768, 1400, 2560):
        tab.open(folder / f"{name}.html", width, colours=colours)
        assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.requests == [(folder / f"{name}.html").as_uri()]
        assert tab.faults == []


def test_colours_have_contrast_in_light_and_dark(tab: Page, folder: Path) -> None:
    script = """(() => {
      const lum = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)|transparent/.test(c)) return c; } return 'rgb(255,255,255)'; };
      const bad = [];
      for (const e of document.querySelectorAll('body *')) {
        if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || !e.checkVisibility() || e.closest('svg, .token, option, .skip')) continue;
        const a = lum(getComputedStyle(e).color), b = lum(behind(e)), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) bad.push(`${e.tagName} ${e.className} ${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
      }
      return bad; })()"""
    for colours in ("light", "dark"):
        tab.open(folder / "token.html", colours=colours)
        assert tab.run(script) == []
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"


def test_numbers_are_written_by_the_script_as_by_python(tab: Page) -> None:
    rng = np.random.default_rng(1)
    values = (rng.choice([-1, 1], 300) * 10 ** rng.uniform(-12, 12, 300)).tolist()
    values += [0.0, 1.0, -3.0, 99995.0, 0.00099995, 9999.5, 1e7, 123456789.0]
    for digits in (3, 4):
        assert tab.run(f"{values}.map((v) => number(v, {digits}))") == [number(v, digits) for v in values]


def test_codes_are_listed_by_importance_then_by_any_column(tab: Page) -> None:
    assert state(tab) == order()
    seen = tab.run(SHOWN)
    assert seen == order()[: len(seen)]
    assert len(seen) < 40
    density = column("density")
    put(tab, "code-sort", 0)
    assert [density[code] for code in state(tab)] == sorted(density.values(), reverse=True)
    tab.click("#code-order")
    assert [density[code] for code in state(tab)] == sorted(density.values())
    assert tab.run("document.querySelector('#code-list [aria-sort=ascending]').textContent").startswith("density")
    put(tab, "code-sort", 2)
    purity = [column("purity")[code] for code in state(tab)]
    n = int(np.isfinite(purity).sum())
    assert purity[:n] == sorted(purity[:n], reverse=True)
    assert np.isnan(purity[n:]).all()
    tab.click("#code-list .head [role=columnheader]:first-child button")
    assert state(tab) == sorted(order(), reverse=True)


def test_codes_are_filtered_by_words_numbers_ranges_and_groups(tab: Page) -> None:
    put(tab, "code-search", "onload", "input")
    assert 0 < len(state(tab)) < 40
    assert all("onload" in words for words in tab.run("state.rows.map((code) => model().details.get(code).meaning)"))
    put(tab, "code-search", str(order()[5]), "input")
    assert order()[5] in state(tab)
    put(tab, "code-search", "", "input")
    put(tab, "code-low", "0.2")
    assert state(tab) == [code for code, value in column("density").items() if value >= 0.2]
    put(tab, "code-high", "0.5")
    assert state(tab) == [code for code, value in column("density").items() if 0.2 <= value <= 0.5]
    tab.click("#code-reset")
    assert state(tab) == order()
    tab.click("figure[data-range=density] rect.bar-of:last-of-type")
    assert state(tab) == [code for code, value in column("density").items() if 0.1 <= value <= 1]


def test_dead_and_dense_codes_are_links(tab: Page) -> None:
    for name, test in (("dead", lambda v: v == 0), ("dense", lambda v: v > 0.1)):
        tab.click(f"a[href='#group-{name}']")
        assert state(tab) == [code for code, value in column("density").items() if test(value)]
        assert name in tab.run("$('code-count').textContent")
    assert tab.run("document.activeElement.id") == "code-list"


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_shows_a_code_with_all_its_parts(kind: Kind, tab: Page, folder: Path) -> None:
    code = order(kind)[7]
    tab.open(folder / f"{kind}.html", at=f"#code-{code}")
    assert tab.run(VIEWED) == f"Code {code}"
    words = tab.run("$('code-view').textContent")
    assert tab.run("$('code-view').getBoundingClientRect().top") < 800
    run = run_report(f"run {PLANTED[0]}", kind, unfinished="step 6 of 10")
    assert run.codes is not None
    detail = run.codes.details[7]
    assert detail.effect is not None
    for value in [*(n.value for n in detail.by_cosine), detail.effect.loss, detail.bands[0].examples[0].activation]:
        assert number(value, 3) in words
    assert "none" in words
    assert "[object" not in words
    assert tab.run("document.querySelectorAll('img, b, iframe').length") == 0
    assert not {"\u202e", "\u200b", "\u2028"} & set(words)
    if kind == "token":
        assert tab.run("document.querySelector('.token.peak sub').textContent") == "1.5"
        shades = tab.run(
            "[...document.querySelectorAll('.contexts .token.on')].slice(0, 3).map((e) => e.style.background)"
        )
        assert len(set(shades)) == 3
    if kind == "picture":
        filled = "[...document.querySelectorAll('#code-view canvas')].filter((c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v)).length"
        assert tab.run(filled) == tab.run("document.querySelectorAll('#code-view canvas').length") > 5


def test_neighbours_lead_to_neighbours_and_back(tab: Page) -> None:
    first = order()[0]
    assert tab.run(VIEWED) == f"Code {first}"
    tab.click("#code-view .neighbours a")
    beside = tab.run(VIEWED)
    assert beside == f"Code {(first + 1) % 60}"
    tab.click("#code-view .neighbours a")
    assert tab.run(VIEWED) != beside
    tab.run("history.back()")
    tab.settle()
    assert tab.run(VIEWED) == beside


def test_a_code_that_is_not_shown_says_so(tab: Page, folder: Path) -> None:
    absent = next(code for code in range(60) if code not in order())
    tab.open(folder / "picture.html", at=f"#code-{absent}")
    assert tab.run(VIEWED) == f"Code {absent}"
    assert "is not among the 40" in tab.run("$('code-view').textContent")
    tab.open(folder / "picture.html", at="#code-9999")
    assert tab.run(VIEWED) == f"Code {order()[0]}"


def test_keys_alone_reach_everything(tab: Page) -> None:
    tab.press("Tab")
    assert tab.run("document.activeElement.className").startswith("skip")
    assert tab.run("document.activeElement.getBoundingClientRect().width") > 50
    tab.press("j", "j")
    assert tab.run(VIEWED) == f"Code {order()[2]}"
    assert tab.run("location.hash") == f"#code-{order()[2]}"
    tab.press("k")
    assert tab.run(VIEWED) == f"Code {order()[1]}"
    tab.press("/")
    assert tab.run("document.activeElement.id") == "code-search"
    tab.press("j")
    assert tab.run("state.search") == "j"
    put(tab, "code-search", "", "input")
    tab.run("$('code-list').focus()")
    tab.press("End")
    assert tab.run(VIEWED) == f"Code {order()[-1]}"
    assert (
        tab.run("document.getElementById($('code-list').getAttribute('aria-activedescendant')).ariaSelected") == "true"
    )
    tab.press("Home", "ArrowDown", "ArrowDown", "ArrowUp")
    assert tab.run(VIEWED) == f"Code {order()[1]}"
    tab.press("Enter")
    assert tab.run("document.activeElement.id") == "code-view"


def test_every_stop_of_the_tab_key_has_a_name_and_is_seen(tab: Page) -> None:
    stops: list[Any] = []
    for _ in range(150):
        tab.call("Input.dispatchKeyEvent", type="rawKeyDown", key="Tab", windowsVirtualKeyCode=9)
        stop = tab.run(
            "(() => { const e = document.activeElement; if (e === document.body) return null; const s = getComputedStyle(e); "
            "const name = e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent.trim(); "
            "return [e.tagName, name.slice(0, 40), s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2, e.id]; })()"
        )
        if stop is None:
            break
        stops.append(stop)
    ids = [stop[3] for stop in stops]
    assert {"code-search", "code-group", "code-sort", "code-list", "all-log"} <= set(ids)
    assert [stop for stop in stops if not stop[1]] == []
    assert [stop for stop in stops if not stop[2]] == []


def test_pictures_charts_and_tables_have_names(tab: Page) -> None:
    tab.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    tab.settle()
    unnamed = tab.run(
        "[...document.querySelectorAll('canvas, svg')].filter((e) => !e.getAttribute('aria-label') && e.closest('[aria-hidden=true]') === null).length"
    )
    assert unnamed == 0
    tables = "[...document.querySelectorAll('table')].filter((t) => !t.closest('.print-only') && !t.querySelector('caption')?.textContent).length"
    assert tab.run(tables) == 0


def test_curves_say_values_and_change_scale(tab: Page) -> None:
    figure = "document.querySelector('figure.curve')"
    before = tab.run(f"{figure}.querySelector('.readout').textContent")
    assert "(last)" in before
    tab.run(f"{figure}.querySelector('svg').focus()")
    tab.press("ArrowRight", "ArrowRight")
    run = run_report("a").training
    assert run is not None
    value = float(run.series[0].values.values()[1])
    assert f"training {number(value)} (step 20)" in tab.run(f"{figure}.querySelector('.readout').textContent")
    tab.press("End")
    assert "(step 600)" in tab.run(f"{figure}.querySelector('.readout').textContent")
    tab.run("document.activeElement.blur()")
    assert tab.run(f"{figure}.querySelector('.readout').textContent") == before
    seen = f"[...{figure}.querySelectorAll('.scale')].filter((g) => g.getBoundingClientRect().width).map((g) => g.dataset.scale)"
    first = tab.run(seen)
    tab.click("figure.curve button.log")
    assert len(first) == 1
    assert tab.run(seen) != first
    tab.click("#curve-tables summary")
    assert tab.run("document.querySelectorAll('#curve-table tbody tr').length") == 60
    styles = tab.run(f"[...{figure}.querySelectorAll('.scale .line')].map((p) => getComputedStyle(p).strokeDasharray)")
    assert len(set(styles[:2])) == 2  # training and validation differ without colour, too


def test_several_runs_have_their_codes_each(tab: Page, folder: Path) -> None:
    table = run_report("second", seed=1).codes
    assert table is not None
    second = [int(code) for code in table.codes.values()]
    tab.open(folder / "several.html", at=f"#run-2-code-{second[3]}")
    assert tab.run("$('code-run').value") == "1"
    assert tab.run("$('code-view').querySelector('h3').textContent") == f"Code {second[3]} of second"
    assert state(tab) == second
    put(tab, "code-run", 0)
    assert state(tab) == order()
    tab.click("a[href='#run-2-group-dead']")
    assert tab.run("state.run") == 1


def test_a_mosaic_shows_the_same_codes(tab: Page, folder: Path) -> None:
    for kind in ("picture", "row"):
        tab.open(folder / f"{kind}.html")
        tab.click("#code-mosaic")
        seen = tab.run("[...document.querySelectorAll('#code-list .tile')].map((t) => t.ariaLabel)")
        assert len(seen) == 40
        assert seen[0].startswith(f"code {order()[0]}, ")
        tab.run("$('code-list').focus()")
        tab.press("ArrowRight")
        assert tab.run(VIEWED) == f"Code {order()[1]}"
        tab.press("ArrowDown")
        assert tab.run("state.rows.indexOf(state.selected)") == 1 + tab.run("width")


def test_65536_codes_are_listed_by_few_elements(tab: Page, tmp_path: Path) -> None:
    many = 65_536
    run = run_report("a", "row")
    rng = np.random.default_rng(0)
    table = codes("row", many, 64, rng)
    columns = tuple(replace(column, values=packed(rng.random(many))) for column in table.columns)
    wide = replace(table, codes=packed(np.arange(many), "i4"), columns=columns)
    file = tmp_path / "wide.html"
    file.write_text(render(document(replace(run, codes=wide))), encoding="utf-8")
    assert file.stat().st_size < 4e6
    tab.open(file)
    assert len(state(tab)) == many
    assert tab.run("document.querySelectorAll('#code-list .row').length") < 60
    spent = tab.run(
        "(async () => { const list = $('code-list'), times = []; for (let i = 0; i < 60; i++) { list.scrollTop += 30000; const t = performance.now(); draw(); times.push(performance.now() - t); "
        "await new Promise(requestAnimationFrame); } return times.sort((a, b) => a - b)[30]; })()"
    )
    assert spent < 50  # milliseconds for a jump of 800 rows
    assert tab.run("document.querySelectorAll('#code-list .row').length") < 60
    put(tab, "code-sort", 0)
    tab.press("End")


def test_sliders_decode_and_lead_to_their_codes(tab: Page, tmp_path: Path) -> None:
    splits = Digits().load()
    spec = Variational(
        n_code=12,
        posterior=SpikeSlab(),
        prior=SpikeSlabPrior(alpha=0.3),
        likelihood=Bernoulli(),
        net=Perceptron(hidden=(30,)),
    )
    model = spec.build(splits.shape, seed=0)
    model.initialise_(splits.train.x)
    run = run_report("a")
    assert run.samples is not None
    live = replace(run.samples, decoder=page_data(subject_of(model, splits, PLANTED[0]), 0))
    write(tmp_path / "live.html", replace(run, samples=live))
    tab.open(tmp_path / "live.html")
    assert tab.run("document.querySelector('.live').player === undefined")  # built when it is in sight
    tab.run("document.querySelector('.live').scrollIntoView()")
    tab.settle()
    player = "document.querySelector('.live').player"
    assert 0 < tab.run(f"{player}.difference") < 1e-3
    assert tab.run(f"{player}.part.title.textContent") == PLANTED[0]
    before = tab.run(f"{player}.part.output.toDataURL()")
    tab.run("document.querySelector('.live input').focus()")
    tab.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert tab.run(f"{player}.part.output.toDataURL()") != before
    code = tab.run("document.querySelector('.live label a').textContent")
    tab.click(".live label a")
    assert tab.run(VIEWED) == f"Code {code}"


def test_a_printed_page_has_the_table_and_the_pictures(tab: Page, tmp_path: Path) -> None:
    tab.media("light", "print")
    assert tab.run("document.querySelector('.print-only table').checkVisibility()")
    assert not tab.run("$('code-list').checkVisibility()")
    tab.printed(tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").stat().st_size > 20_000
    tab.media("light")
