"""The documentation site: every public name has an entry, docstrings become Markdown, and no page has a link to nowhere."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

import pytest
from public_names import FACES
from waiting import PATIENCE

from sparsecode.evaluate.measures import Known
from sparsecode.recipes import RECIPES

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs/site"))

pages: Any = import_module("pages")
tables: Any = import_module("benchmark_tables")
comparisons: Any = import_module("comparisons")
catalogue: Any = import_module("recipe_pages")


def test_every_public_name_has_an_entry() -> None:
    assert {*pages.faces()} == {*FACES}
    for face in pages.faces():
        headings = set(re.findall(r"^## `(.+)`$", "\n".join(pages.reference(face)), re.MULTILINE))
        assert headings == {*import_module(face).__all__}


def test_functions_and_classes_say_what_they_are() -> None:
    for face in pages.faces():
        module = import_module(face)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                assert value.__doc__, f"{face}.{name}"


def _sections(lines: Iterable[str]) -> dict[str, str]:
    parts = re.split(r"^## (.+)\n", "\n".join(lines), flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_recipes_and_measures_are_described_by_their_own_words() -> None:
    recipes = _sections(catalogue.recipes_page(ROOT, pages.markdown))
    assert recipes.keys() == RECIPES.keys()
    assert len({*recipes.values()}) == len(recipes)
    for name, recipe in RECIPES.items():
        assert pages.markdown(recipe.about).split("\n")[0] in recipes[name], name
    measures = _sections(pages._measures())
    assert {*measures} == {str(kind.__struct_config__.tag) for kind in get_args(Known)}
    assert len({*measures.values()}) == len(measures)
    for kind in get_args(Known):
        assert pages.markdown(kind.__doc__) in measures[str(kind.__struct_config__.tag)]


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("|x - z D|^2 of `x` [n, *F].", r"\|x - z D\|^2 of `x` \[n, \*F\]."),
        ("First.\n\n    z = a * b\n\nLast.", "First.\n\n```text\nz = a * b\n```\n\nLast."),
        (
            "A.\n\nParameters\n----------\nx: one\n    more\ny: two",
            "A.\n\n**Parameters**\n\n- x: one\n    more\n- y: two",
        ),
        ("A.\n\nReturns\n-------\nAn `array`.", "A.\n\n**Returns**\n\nAn `array`."),
        ("A.\n\nExamples\n--------\n>>> 1 + 1\n2", "A.\n\n**Examples**\n\n```python\n>>> 1 + 1\n2\n```"),
    ],
)
def test_docstrings_as_markdown(docstring: str, expected: str) -> None:
    assert pages.markdown(docstring) == expected


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.ids.add(str(values["id"]))
        if tag == "a" and values.get("href"):
            self.links.append(str(values["href"]))
        for name in ("src", "href") if tag in ("img", "script", "link") else ():
            if values.get(name):
                self.fetched.append(str(values[name]))


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    command = [
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-c",
        "docs/site",
        "-b",
        "html",
        f"{tmp_path}/source",
        f"{tmp_path}/html",
    ]
    env = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    parsed: dict[Path, _Links] = {}
    for file in (tmp_path / "html").rglob("*.html"):
        parsed[file] = _Links()
        parsed[file].feed(file.read_text())
    assert len(parsed) > 40
    for file, page in parsed.items():
        for link in page.fetched:
            assert not link.startswith(("http:", "https:", "//")), f"{file}: fetches {link}"
        for link in page.links:
            path, _, anchor = unquote(link).partition("#")
            if link.startswith(("http:", "https:", "mailto:")):
                continue
            target = (file.parent / path).resolve() if path else file
            assert target.exists(), f"{file.name}: {link}"
            if anchor and target in parsed:
                assert anchor in parsed[target].ids, f"{file.name}: {link}"


def test_benchmarks_are_tables_of_the_results_and_losses_are_listed() -> None:
    page = "\n".join(tables.benchmarks_page(ROOT, pages.markdown))
    results = {path.stem for path in (ROOT / "benchmarks/results").glob("*.json")}
    shown = {name for benchmark in tables.BENCHMARKS for name in benchmark.files}
    assert shown <= results
    rest = {name for name in results - shown if not name.startswith("seeds-")}
    texts = "".join(path.read_text() for path in (ROOT / "docs").glob("**/*.md") if "_site" not in path.parts)
    texts += (ROOT / "docs/site/recipe_pages.py").read_text()
    assert not {name for name in rest if f"{name}.json" not in texts}, "results that no page shows or names"
    result = json.loads((ROOT / "benchmarks/results/inpainting.json").read_text())
    for row in result["rows"]:
        assert f"| {row['method']} | {row['psnr']:.2f} | {row['cpu_seconds']:.4g} |" in page
    assert "| Convolutional sparse coding | seconds to a relative gap below 0.004 |" in page.split("## Sparse codes")[0]


@pytest.mark.parametrize(
    ("ours", "theirs", "higher", "lost"),
    [
        (1.0, 2.0, False, False),
        (2.0, 1.0, False, True),
        (1.0, 2.0, True, True),
        (2.0, 1.0, True, False),
        (1.0, 1.0, True, False),
    ],
)
def test_a_comparison_is_lost_where_the_other_side_is_better(
    ours: float, theirs: float, higher: bool, lost: bool
) -> None:
    assert comparisons.Comparison("", ours, "", theirs, higher).lost is lost


def test_every_result_over_seeds_is_a_table_with_mean_and_deviation() -> None:
    page = "\n".join(tables.seeds_page(ROOT))
    for path in (ROOT / "benchmarks/results").glob("seeds-*.json"):
        assert f"## {path.stem}\n" in page
    run = json.loads((ROOT / "benchmarks/results/seeds-photos.json").read_text())[0]
    values = run["values"]["denoising.solver.0.psnr"]
    mean = sum(values) / 3
    deviation = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
    assert f"{mean:.4g} ± {deviation:.2g}" in page


def test_the_catalogue_has_numbers_and_a_picture_of_what_was_trained() -> None:
    entries = json.loads((ROOT / "benchmarks/results/recipes.json").read_text())
    assert {*entries} == {*RECIPES}
    for name, entry in entries.items():
        picture = ROOT / f"docs/pictures/recipes/{name}.png"
        assert ("reason" in entry) != picture.exists(), name
    sections = _sections(catalogue.recipes_page(ROOT, pages.markdown))
    entry = entries["digits-topk"]
    assert entry["l0"] == 8
    assert f"explained variance {entry['explained_variance']:.3f}" in sections["digits-topk"]
    assert "pictures/recipes/digits-topk.png" in sections["digits-topk"]
