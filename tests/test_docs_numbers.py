"""Numbers in the pages are those of the files that named commands write."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def result_of(name: str) -> Any:
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())


def test_quality_beside_saelens() -> None:
    page = (ROOT / "docs/sparse-autoencoders.md").read_text()
    result = result_of("quality")
    digits = {"l0": 1, "explained_variance": 3, "loss_recovered": 4, "dead": 0}
    for kind in ("topk", "l1", "jumprelu"):
        for key, name in (("ours", "sparsecode"), ("saelens", "SAELens")):
            rows = [row[key] for row in result["rows"] if row["kind"] == kind]
            assert len(rows) == 3
            cells = [
                f"{statistics.mean(row[q] for row in rows):.{n}f} ± {statistics.stdev(row[q] for row in rows):.{n}f}"
                for q, n in digits.items()
            ]
            assert f"| {kind}, {name} | {' | '.join(cells)} |" in page


def test_agreement_with_other_libraries() -> None:
    page = (ROOT / "docs/coming-from.md").read_text()
    result = result_of("coming-from")
    assert result["largest_gap"] < 1e-12
    for name, row in result["peers"].items():
        cell = f"| {row['difference']:.1e} |"
        assert any(cell in line and line.replace("`", "").startswith(f"| {name}") for line in page.split("\n")), (
            f"{name}: {cell}"
        )


def test_claims_of_the_readme() -> None:
    page = " ".join((ROOT / "README.md").read_text().split())
    codes = {name: row["seconds"] for name, row in result_of("lasso-easy")["results"].items()}
    ours = codes.pop("sparse_encode")
    peers = {name: seconds for name, seconds in codes.items() if not name.startswith("sparse_encode")}
    fastest = min(peers, key=lambda name: peers[name])
    sklearn = min(seconds for name, seconds in peers.items() if name.startswith("scikit-learn"))
    assert fastest.startswith("SPAMS")
    assert f"take {ours:.2f} s; SPAMS, the fastest peer, {peers[fastest]:.2f} s, scikit-learn {sklearn:.2f} s" in page
    seconds = result_of("dictionary")["seconds"]
    spams = next(value for name, value in seconds.items() if name.startswith("SPAMS"))
    assert f"in {seconds['sparsecode (tol .1)']:.2f} s the objective that SPAMS has after {spams:.1f} s" in page
    assert all(value is None for name, value in seconds.items() if name.startswith("scikit-learn"))
    row = next(r for r in result_of("autoencoders")["rows"] if r["kind"] == "topk" and r["size"] == [384, 12288])
    others = [value for name, value in row["cpu_seconds"].items() if not name.startswith("ours") and value is not None]
    assert f"{row['cpu_seconds']['ours']:.2f} s of processor time, of the fastest peer {min(others):.2f} s" in page


# Tables whose every number comes from result files: page, heading of the section, files, and which rows if not all.
TABLES = [
    ("evaluation", "## Scores", ("seeds-photos",), "|"),
    ("evaluation", "## Units of noise-trained networks", ("seeds-noise-digits",), "|"),
    ("evaluation", "## Whole images", ("denoising", "denoising-alone"), "|"),
    ("noise", "## Measured", ("seeds-noise", "seeds-noise-digits", "seeds-anneal"), "|"),
    ("sparse-autoencoders", "## A number of active codes", ("seeds-target-l0",), "|"),
    ("variational", "### beta-VAE", ("seeds-fashion", "seeds-fashion-vae", "seeds-fashion-original"), "| `fashion-"),
    ("variational", "### beta-VAE", ("seeds-three-ways",), "| Fashion-MNIST"),
    ("variational", "## Speed", ("variational",), "|"),
    ("estimators", "## Beside scikit-learn's", ("estimators",), "|"),
    ("sweeps", "### Stacked", ("sweep",), "|"),
]


def numbers_in(value: Any) -> Iterator[float]:
    """Every number of a result; of lists of numbers their mean and sample standard deviation, too."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, dict):
        for part in value.values():
            yield from numbers_in(part)
    elif isinstance(value, list):
        yield from (number for part in value for number in numbers_in(part))
        if len(value) > 1 and all(isinstance(part, int | float) for part in value):
            yield from (statistics.mean(value), statistics.stdev(value))


def rounds_to(number: float, text: str) -> bool:
    """Whether `text` is the number, or a hundred or a thousand times it, to the digits given; a half may go either way."""
    digits = len(text.partition(".")[2])
    return any(abs(abs(number) * scale - abs(float(text))) <= 0.5001 * 10**-digits for scale in (1, 100, 1000))


@pytest.mark.parametrize(("page", "heading", "files", "rows"), TABLES)
def test_tables_hold_the_numbers_of_their_results(page: str, heading: str, files: tuple[str, ...], rows: str) -> None:
    sections = re.split(r"^(?=#+ )", (ROOT / f"docs/{page}.md").read_text(), flags=re.MULTILINE)
    section = next(part for part in sections if part.startswith(heading))
    assert all(f"benchmarks/{name.replace('-', '_')}.py" in section or name in section for name in files)
    lines = section.split("\n")
    cells = [line for line, below in pairwise(lines) if line.startswith(rows) and not below.startswith("|---")]
    shown = [
        text
        for line in cells
        for text in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", line.partition("|")[2].partition("|")[2])
    ]
    known = [number for name in files for number in numbers_in(result_of(name))]
    assert len(shown) > 3
    assert not [text for text in shown if not any(rounds_to(number, text) for number in known)]


def words_of(page: str) -> str:
    return " ".join((ROOT / f"docs/{page}.md").read_text().split())


def test_convolutional_codes_beside_sporco() -> None:
    rows = {(row["library"], row["setting"]): row for row in result_of("convolutional")["rows"]}
    ours, sporco = rows["sparsecode", "tol 0.003"], rows["sporco", "200 iterations"]
    assert (
        f"{ours['seconds']:.2f} s the objective is {ours['objective']:.3f} with a relative gap of {ours['gap']:.4f}"
        in words_of("sparse-coding")
    )
    assert f"{sporco['seconds']:.2f} s, it is {sporco['objective']:.3f} with {sporco['gap']:.4f}" in words_of(
        "sparse-coding"
    )


def test_paths_beside_separate_calls() -> None:
    ratios = [row["ratio"] for row in result_of("path")["results"].values()]
    assert f"cost {min(ratios):.2f} to {max(ratios):.2f} of the processor time" in words_of("sparse-coding")


def test_missing_pixels() -> None:
    rows = {row["method"]: row for row in result_of("inpainting")["rows"]}
    page = words_of("evaluation")
    assert f"{rows['sparsecode']['psnr']} dB in {rows['sparsecode']['cpu_seconds']} s" in page
    assert (
        f"{rows['sporco 0.002']['psnr']} dB in {rows['sporco 0.002']['cpu_seconds']} s; linear interpolation {rows['linear']['psnr']} dB"
        in page
    )
