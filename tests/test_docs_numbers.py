"""Numbers in the pages are those of the files that named commands write."""

from __future__ import annotations

import json
import statistics
from decimal import Decimal
from pathlib import Path
from typing import Any

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
    learned = result_of("dictionary")
    row = min(learned["rows"], key=lambda row: row["target"])
    assert f"in {row['ours']:.2f} s the objective that SPAMS has after {row['seconds']:.1f} s" in page
    assert all(value is None for name, value in learned["seconds"].items() if name.startswith("scikit-learn"))
    row = next(r for r in result_of("autoencoders")["rows"] if r["kind"] == "topk" and r["size"] == [384, 12288])
    others = [value for name, value in row["cpu_seconds"].items() if not name.startswith("ours") and value is not None]
    assert f"{row['cpu_seconds']['ours']:.2f} s of processor time, of the fastest peer {min(others):.2f} s" in page


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


def test_missing_entries_of_codes() -> None:
    loose, tight = result_of("masked-codes")["rows"]
    ours, sklearn = ([row["microseconds"][name] for row in (loose, tight)] for name in ("sparsecode", "scikit-learn"))
    page = words_of("sparse-coding")
    assert f"a row takes {ours[0]:.0f} microseconds of one core" in page
    assert f"called row by row, {sklearn[0]:.0f} ({ours[1]:.0f} and {sklearn[1]:.0f} at 1e-12" in page
    assert f"objectives differ by {tight['objectives_apart']:.1e} of that of z = 0" in page


def test_colours() -> None:
    rows = [row["psnr"] for row in result_of("colours")["rows"]]
    basis, channels, ycbcr = (
        " and ".join(f"{row[way]:.2f}" for row in rows)
        for way in ("grey and two differences", "channel by channel", "YCbCr")
    )
    words = f"reach {basis} dB by it, {channels} dB channel by channel, {ycbcr} dB as YCbCr"
    assert words in words_of("evaluation")


def test_size_of_an_installation() -> None:
    result = result_of("install-size")
    size: dict[str, float] = result["megabytes"]
    page = words_of("getting-started")
    sums = [
        sum(size[name] for name in names.split())
        for names in ("numba llvmlite", "scipy scikit-learn", "numpy", "matplotlib pillow fonttools")
    ]
    assert f"everything is {result['total'] / 1000:.1f} GB" in page
    assert (
        f"torch {size['torch']:.0f} MB, numba with llvmlite {sums[0]:.0f}, SciPy and scikit-learn {sums[1]:.0f}, NumPy {sums[2]:.0f}"
        in page
    )
    assert f"fontTools {sums[3]:.0f}, the package {size['sparsecode']:.1f}" in page
    shown = "matplotlib pillow fonttools kiwisolver contourpy pyparsing cycler python-dateutil rich pygments markdown-it-py mdurl tyro docstring-parser"
    assert (
        f"without them it would be {sum(size[name] for name in shown.split()) / result['total']:.0%} smaller".replace(
            "%", " %"
        )
        in page
    )


def test_features_of_wide_codes() -> None:
    r, page = result_of("features"), words_of("features")

    def spaced(number: int) -> str:
        return f"{number:,}".replace(",", " ")

    assert f"{spaced(r['codes'])} codes (TopK, k = 32) on {spaced(r['rows'])} tokens" in page
    assert (
        f"takes {r['collecting, s']:.0f} s of one core in addition to {Decimal(str(r['coding, s'])).quantize(Decimal(1), 'ROUND_HALF_UP')} s for the codes"
        in page
    )
    memory = f"{r['peak memory, MB'] / 1000:.2f} GB of memory at its peak ({r['before collecting, MB'] / 1000:.2f} GB before it begins)"
    assert f"{memory}, and a file of {r['file, MB']:.0f} MB with {spaced(r['examples'])} examples" in page


def test_thresholds_and_many_k_on_digits() -> None:
    explained, page = result_of("many-k-digits-topk")["explained_variance"], words_of("sparse-autoencoders")
    codes, shared = (explained[f"16, thresholds {kind}"] for kind in ("codes", "global"))
    assert (
        f"explained variance of {explained['16']['16']:.4f} on test samples, {codes['explained_variance']:.4f} with thresholds `codes`"
        in page
    )
    assert f"(L0 {codes['l0']:.2f}), {shared['explained_variance']:.4f} with `global` (L0 {shared['l0']:.2f})" in page
    nested, *single = (row for row in explained.values() if "l0" not in row)
    below = {k: max(row[k] for row in single) - nested[k] for k in nested}
    assert f"One model is within {max(below.values()):.3f} of the model trained for each k" in page
    for k, value in nested.items():
        assert sum(row[k] > value for row in single) <= 1, "better than all others at every k but their own"


def test_initial_biases_and_warm_up_of_variational_models() -> None:
    page = words_of("variational")
    runs = [run for run in result_of("seeds-three-ways") if "initial biases" in run["changes"]]
    cells = {
        run[
            "recipe"
        ]: f"{-run['mean']['measures.elbo.relaxed.elbo']:.1f} ± {run['deviation']['measures.elbo.relaxed.elbo']:.1f} ({len(run['seeds'])})"
        for run in runs
    }
    assert f"{cells['mnist-vsc-1']} and {cells['fashion-vsc-1']} by whole steps" in page
    warm, plain = (
        {key: f"{run['mean'][key]:.1f} ± {run['deviation'][key]:.1f}" for key in run["mean"]}
        for run in result_of("seeds-warm-up")
    )
    l0, psnr, bound = "measures.scores.encode.l0", "measures.scores.encode.psnr", "measures.elbo.hard.elbo"
    assert (
        f"it leaves {warm[l0]} gates open in place of {plain[l0]} and a PSNR of {warm[psnr]} in place of {plain[psnr]} dB"
        in page
    )
    assert f"the bounds with hard gates, {warm[bound]} and {plain[bound]} nats" in page
    losses = {row["training"]: row["loss"] for row in result_of("variational")["rows"] if row["model"] == "mnist-vsc"}
    assert (
        f"usual loop {losses['usual loop']:.1f}, with data in memory {losses['usual loop, in memory']:.1f}, ours {losses['ours']:.1f}"
        in page
    )


def test_stacked_noise_levels() -> None:
    exact, bf16 = (row["times_faster"] for row in result_of("sweep")["rows"] if row["backend"] == "stacked")
    assert f"{exact:.1f} times faster in float32, {bf16:.1f} times with" in words_of("noise")
