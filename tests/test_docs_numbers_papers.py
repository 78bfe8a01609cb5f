"""Tables, and sentences about noise, in the pages of docs/papers are those of the files that named commands write."""

from __future__ import annotations

import json
import re
import statistics
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES, RESULTS = ROOT / "docs/papers", ROOT / "benchmarks/results"
SIGMAS = (0, 0.1, 0.3, 0.8, 3)
sys.path.insert(0, str(ROOT / "benchmarks/papers"))


def lines(page: str) -> list[str]:
    return (PAGES / page).read_text().splitlines()


def words_of(page: str) -> str:
    return " ".join((PAGES / page).read_text().split())


def stored(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def rows_of(sweep: str) -> list[dict[str, Any]]:
    """Rows of noise-rows.json, of the command that trains this sweep."""
    (record,) = [r for r in stored("noise-rows.json") if f"sweep {sweep} " in r["command"] + " "]
    return record["rows"]


def deviating(values: list[float], form: str, factor: float = 1.0) -> str:
    return f"{format(factor * statistics.mean(values), form)} ± {format(factor * statistics.stdev(values), form)}"


@pytest.mark.parametrize(
    ("module", "name", "least"), [("sparse_coding_tables", "sparse-coding", 11), ("kl_sparse", "kl-sparse", 5)]
)
def test_tables_that_a_script_prints(module: str, name: str, least: int) -> None:
    tables: dict[str, str] = import_module(module).tables(stored(f"papers-{name}.json"))
    page = lines(f"{name}.md")
    assert len(tables) >= least
    for title, table in tables.items():
        for row in table.splitlines():
            assert row in page, f"{title}: {row}"


def test_noise_on_latents_and_pixels() -> None:
    page = lines("noise.md")
    places = {
        "active, noise on": ("active_noisy", ".3f"),
        "active, noise off": ("active_clean", ".3f"),
        "never active on 1000 test samples, noise off": ("dead_clean", ".0f"),
        "never active on 1000 test images, noise off": ("dead_clean", ".0f"),
        "spread of norms of keys: standard deviation / mean": ("norm_cv", ".3f"),
        "cosine of key and value": ("key_value_cosine", ".2f"),
    }
    for sweep, titles, size in (("noise-latents", 5, 5), ("noise-cifar", 3, 3)):
        actual = [row["activity"] for row in rows_of(sweep)]
        there = [
            title
            for title, (key, form) in places.items()
            if f"| {title} | {' | '.join(format(row[key], form) for row in actual)} |" in page
        ]
        assert len(there) == titles, there
        assert len(actual) == size
    biases = [f"{r['activity']['bias_mean']:.3f} ({r['activity']['bias_sd']:.3f})" for r in rows_of("noise-latents")]
    assert f"| mean bias (standard deviation over units) | {' | '.join(biases)} |" in page
    explained = [f"{row['scores']['encode']['explained_variance']:.3f}" for row in rows_of("noise-cifar")]
    assert f"| explained variance of clean images | {' | '.join(explained)} |" in page


def test_one_threshold_for_all_units() -> None:
    (line,) = [line for line in lines("noise.md") if line.startswith("| one shared threshold is enough")]
    each, one = (
        [
            r["values"]
            for r in stored("seeds-noise-shared-bias.json")
            if r["changes"]["model.encoder.shared_bias"] is shared
        ]
        for shared in (False, True)
    )
    for rows in (each, one):
        active = [deviating(row["measures.activity.model.active_clean"], ".3f") for row in rows]
        assert " and ".join(active) in line
        assert deviating(rows[1]["measures.scores.encode.explained_variance"], ".3f") in line


def test_noise_on_digits() -> None:
    page = lines("noise.md")

    def expect(title: str, rows: list[dict[str, Any]]) -> None:
        assert len(rows) == len(SIGMAS)
        cells = [f"{r['activity']['active_noisy']:.2f} / {r['activity']['active_clean']:.2f}" for r in rows]
        assert f"| {title} | {' | '.join(cells)} |" in page

    width = rows_of("noise-digits-width")
    for n_code in (50, 200, 1000):
        expect(f"{n_code} units", [r for r in width if r["overrides"]["model.n_code"] == n_code])
    laws = {
        "laplace": "Laplace",
        "uniform": "uniform",
        "exponential": "exponential, centred",
        "poisson": "Poisson, centred",
    }
    for law, title in laws.items():
        rows = rows_of("noise-digits-laws")
        expect(title, [r for r in rows if r["overrides"]["model.corruption"]["type"] == law])
    for kind, title in {"gelu": "GELU", "elu": "ELU", "tanh": "tanh", "sigmoid": "sigmoid"}.items():
        rows = rows_of("noise-digits-activations")
        expect(f"{title}, level 0.01", [r for r in rows if r["overrides"]["model.activation"]["type"] == kind])
    seeds = [row["values"] for row in stored("seeds-noise-digits.json")]
    cells = [
        " / ".join(deviating(row[f"measures.activity.model.active_{noise}"], ".3f") for noise in ("noisy", "clean"))
        for row in seeds
    ]
    assert f"| 500 units, normal noise, three seeds | {' | '.join(cells)} |" in page


def test_noise_in_rows_on_latents() -> None:
    """Numbers of table C: the share of active units, explained variance, and silent units of every run stand in one of its lines."""
    table = [line for line in lines("noise.md") if line.startswith("| `noise-latents-")]
    counted = 0
    for sweep in ("l1", "activations", "inhibition", "sgd"):
        of_sweep = [line for line in table if line.startswith(f"| `noise-latents-{sweep}` |")]
        rows = rows_of(f"noise-latents-{sweep}")
        assert len(of_sweep) == len(rows)
        for row, line in zip(rows, of_sweep, strict=True):
            activity, explained = row["activity"], row["scores"]["encode"]["explained_variance"]
            end = f"| {activity['active_noisy']:.3f} / {activity['active_clean']:.3f} | {explained:.3f} | {activity['dead_clean']} |"
            assert line.endswith(end)
            counted += 1
    assert counted == 15
    (explained_away,) = [row["scores"] for row in rows_of("noise-latents-explain-away")]
    for coder in ("encode", "amortised"):
        scores = explained_away[coder]
        assert any(
            f"| - / {scores['active_fraction']:.3f} | {scores['explained_variance']:.3f} |" in row for row in table
        )
    for row in rows_of("noise-latents-adversarial"):
        scores = row["scores"]["encode"]
        end = f"| - / {scores['active_fraction']:.3f} | {scores['explained_variance']:.3f} | 0 |"
        assert any(line.endswith(end) for line in table)


def test_robustness_to_attacks() -> None:
    page, record = lines("noise.md"), stored("noise-robustness.json")
    for sigma, row in record["noise"]["by_sigma"].items():
        active = " / ".join(deviating(row[f"active_{noise}"], ".3f") for noise in ("noisy", "clean"))
        attacked = " | ".join(deviating(row[f"pgd_{eps}"], ".3f") for eps in ("0.03", "0.1"))
        accuracy = deviating(row["accuracy"], ".3f")
        assert f"| sigma {float(sigma):g} | {accuracy} | {active} | {attacked} |" in page
    row = record["adversarial"]["by_eps"]["0.1"]
    accuracy, active, attacked = (deviating(row[k], ".3f") for k in ("accuracy", "active_fraction", "pgd_0.1"))
    (line,) = [line for line in page if line.startswith("| no noise, PGD within 0.1")]
    assert f"| {accuracy} | - / {active} |" in line
    assert line.endswith(f"| {attacked} |")


def test_the_default_experiment_of_noise_whole() -> None:
    (record,) = [r for r in stored("noise-rows.json") if r["command"] == "sparsecode train noise-latents-default"]
    (run,) = record["rows"]
    activity, course = run["activity"], {point["step"]: point for point in run["over_training"]}
    page = words_of("noise.md")
    assert run["steps"] == 47_500
    assert (
        f"{activity['active_noisy']:.3f} of the units are active with noise on and {activity['active_clean']:.3f} with noise off, "
        f"{activity['dead_clean']} are never active on 1000 test samples, and {run['scores']['encode']['explained_variance']:.3f} of the variance"
        in page
    )
    early, half, last = (course[step] for step in (4750, 23_750, 47_500))
    assert f"they were {early['active_noisy']:.3f} and {early['active_clean']:.3f} after 4750 steps" in page
    assert f"{half['active_noisy']:.3f} and {half['active_clean']:.3f} after 23 750" in page
    before = course[42_750]
    assert all(last[key] < before[key] < half[key] < early[key] for key in ("active_noisy", "active_clean"))


def test_claims_about_noise() -> None:
    page = words_of("noise.md")
    runs = {run["changes"]["model.corruption.sigma"]: run["values"] for run in stored("seeds-noise.json")}
    means = {sigma: {k.removeprefix("activity."): v for k, v in values.items()} for sigma, values in runs.items()}
    clean = [f"{statistics.mean(means[sigma]['active_clean']):.3f}" for sigma in (0, 0.1, 0.3, 0.8, 3)]
    assert f"{', '.join(clean)} of 1000 units at sigma 0, 0.1, 0.3, 0.8, 3" in page
    assert f"rises again at sigma 3 ({statistics.mean(means[3]['active_noisy']):.3f})" in page
    bias, sd = means[3]["bias_mean"], means[3]["bias_sd"]
    assert (
        f"at sigma 3 on MNIST {statistics.mean(bias):.3f} after 1600 steps, with a standard deviation of {statistics.mean(sd):.3f} over units "
        f"(± {statistics.stdev(bias):.4f} and {statistics.stdev(sd):.3f} over three seeds)" in page
    )
    largest = max(
        statistics.stdev(values[key]) for values in means.values() for key in ("active_noisy", "active_clean")
    )
    assert f"the standard deviation over seeds is at most {largest:.3f}" in page
    robust = stored("noise-robustness.json")["noise"]["by_sigma"]
    two = [statistics.mean(robust[sigma]["active_clean"]) for sigma in ("0.3", "0.8")]
    auto = [statistics.mean(means[sigma]["active_clean"]) for sigma in (0.3, 0.8)]
    assert f"{two[0]:.2f} and {two[1]:.2f} at sigma 0.3 and 0.8, autoencoders {auto[0]:.2f} and {auto[1]:.2f}" in page


def test_attacks_by_apgd() -> None:
    rows = stored("noise-robustness.json")["apgd"]["rows"]
    shares = {(run["run"].split("_seed")[0], run["draws"]): 100 * run["attacked"] for run in rows}
    levels = [f"noise-mnist-classify_sigma={sigma}" for sigma in ("0", "0.3", "0.8", "1.5")]
    off = [f"{shares[level, 0]:.0f} %" for level in levels]
    averaged = [f"{shares[level, 8]:.0f} %" for level in levels[1:]]
    page = words_of("noise.md")
    assert f"leaves {', '.join(off[:-1])} and {off[-1]} at sigma 0, 0.3, 0.8 and 1.5" in page
    assert f"and {shares['noise-mnist-adversarial_eps=0.1', 0]:.0f} % after adversarial training" in page
    assert f"over 8 draws of the noise {', '.join(averaged[:-1])} and {averaged[-1]} at sigma" in page
    assert max(100 * (run["clean"] - run["random"]) for run in rows) <= 5


@pytest.mark.parametrize(
    ("row", "title", "theirs"),
    [(0, "Fashion alpha 0.5, 24", 1), (1, "Fashion alpha 0.2, 32", 1), (2, "Fashion alpha 0.01, 200", 1)],
)
def test_variational(row: int, title: str, theirs: int) -> None:
    values = stored("seeds-fashion-original.json")[row]["values"]
    form = ".1f" if "0.01" in title else ".2f"
    (line,) = [line for line in lines("variational.md") if line.startswith(f"| {title} |")]
    relaxed, hard = (deviating(values[f"measures.elbo.{gate}.elbo"], form, -1.0) for gate in ("relaxed", "hard"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert [cell.replace(" ± -", " ± ") for cell in (relaxed, hard)] == cells[1 + theirs : 3 + theirs]
    assert cells[3 + theirs] == deviating(values["measures.scores.encode.l0"], ".1f")


def test_tutorial() -> None:
    page = lines("tutorial.md")
    for row in stored("seeds-digits-autoencoders.json"):
        wape, mse, psnr, l0 = (row["values"][f"measures.scores.encode.{k}"] for k in ("wape", "mse", "psnr", "l0"))
        cells = [
            f"{deviating(wape, '.2f', 100)} %",
            deviating(mse, ".5f"),
            deviating(psnr, ".2f"),
            f"{deviating(l0, '.1f')} of 100",
        ]
        assert any(line.startswith(f"| `{row['recipe']}`") and " | ".join(cells) in line for line in page), cells


def test_numbers_in_the_table_of_experiments_stand_on_the_pages_that_it_names() -> None:
    table = (PAGES / "index.md").read_text()
    others = "".join(
        (PAGES / name).read_text() for name in ("sparse-coding.md", "noise.md", "variational.md", "kl-sparse.md")
    )
    rows = [line for line in table.splitlines() if line.startswith("| ") and "](" in line]
    assert len(rows) > 40
    for row in rows:
        seen = re.sub(r"`[^`]*`", "", row.rpartition(" | ")[2])
        for number in re.findall(r"\d+\.\d+", seen):
            assert number in others, f"{number}: {row}"
