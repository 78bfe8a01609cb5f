"""Numbers in sentences of the pages are those of the files that named commands write."""

from __future__ import annotations

import json
import statistics
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks/papers"))


def stored(name: str) -> Any:
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())


def words_of(page: str) -> str:
    return " ".join((ROOT / f"docs/{page}.md").read_text().split())


def spread(values: list[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def test_single_runs_of_a_noisy_objective() -> None:
    runs = [run for run in stored("seeds-three-ways") if run["recipe"] == "fashion-vsc-1"]
    whole, autograd = (
        dict(zip(run["seeds"], (-v for v in run["values"]["measures.elbo.relaxed.elbo"]), strict=True))
        for change in ({}, {"model.fused": False})
        for run in runs
        if run["changes"] == {"train.epochs": 4, **change}
    )
    assert (
        f"that of seed 1, which ends at {autograd[1]:.1f} by autograd and, from the same weights and the same noise, at {whole[1]:.1f} by whole steps; "
        f"seeds 2 and 3 end at {autograd[2]:.1f} and {whole[2]:.1f}, {autograd[3]:.1f} and {whole[3]:.1f}"
        in words_of("variational")
    )


def test_codes_of_correlated_atoms() -> None:
    rows, page = [row for row in stored("correlated")["rows"] if row["n_code"] == 512], words_of("performance")
    assert {row["share"] for row in rows} == {0.1, 0.03, 0.01, 0.003, 0.001}
    assert all(row["gap"] <= 1.001e-9 for row in rows)
    for kind, words in (
        ("one direction", "one common direction"),
        ("clusters", "32 clusters"),
        ("neighbours", "neighbours"),
    ):
        times = [row["microseconds"] for row in rows if row["atoms"] == kind]
        factors = [row["ours"] / row["same share"] for row in times]
        assert f"{min(factors):.1f} to {max(factors):.1f} times with {words}" in page
    peers = [min(row["peers"].values()) / row["microseconds"]["ours"] for row in rows]
    assert f"takes {min(peers):.1f} to {max(peers):.0f} times as long" in page


def test_start_of_processes() -> None:
    record = stored("start")["now"]
    page = words_of("performance")
    assert f"`sparse_encode` then takes {record['after_torch']['sparse_encode']:.1f} s after `import torch`" in page
    cold, warm = (record["medians"][f"sparse_encode{label}"] for label in (", cold", ""))
    assert f"{cold['wall']:.1f} s from its start by the clock, {warm['wall']:.1f} s with the code there" in page


def test_what_bounds_codes() -> None:
    page, shares, speeds = words_of("performance"), [], []
    for name in ("lasso-easy", "lasso-hard"):
        result = stored(name)
        shares.append(100 * result["reading_rows"]["seconds"] / result["results"]["sparse_encode"]["seconds"])
        speeds += [result["reading_rows"][key] for key in ("gigabytes_per_second", "gigabytes_per_second_of_a_quarter")]
        assert speeds[-1] <= speeds[-2], "the page says that a quarter is read no faster than all"
    assert (
        f"takes at least {shares[0]:.0f} % of the time with whitened patches and {shares[1]:.0f} % with others" in page
    )
    assert f"{min(speeds):.0f} to {max(speeds):.0f} GB/s" in page


def test_what_bounds_iterations_of_vdl_nl() -> None:
    rows = {row["model"]: row["ratio"] for row in stored("training")["rows"] if row["training"] == "ours"}
    start, later = rows["mnist-vdl-nl"], rows["mnist-vdl-nl, trained"]
    words = f"{start:.1f} times at the start of training, {later:.1f} times after 300 iterations"
    assert words in words_of("performance")


def test_what_bounds_steps_of_autoencoders() -> None:
    def extremes(values: list[float], digits: int) -> str:
        return f"{min(values):.{digits}f} to {max(values):.{digits}f}"

    rows, page = stored("autoencoders-avx2")["rows"], words_of("performance")
    seconds = [row["cpu_seconds" if row["threads"] == 1 else "seconds"] for row in rows]
    times = [row["saelens"] / row["ours"] for row in seconds]
    best = [min((v for name, v in row.items() if name.startswith("sparsify")), default=0.0) for row in seconds]
    product = [row["dense_roofline_seconds"] / 5 for row in rows]  # one of five
    kinds = [row["l0"] if row["kind"] != "topk" else "topk" for row in rows]
    topk, sparse, start = ([i for i, each in enumerate(kinds) if each == kind] for kind in ("topk", "100", "start"))
    assert (
        f"{extremes([times[i] for i in topk], 1)} and {extremes([best[i] / seconds[i]['ours'] for i in topk], 1)}, "
        f"{extremes([times[i] for i in sparse], 1)} (`benchmarks/results/autoencoders-avx2.json`)" in page
    )
    assert (
        f"would take {extremes([100 * product[i] / seconds[i]['ours'] for i in topk + sparse], 0)} % of our steps"
        in page
    )
    (short,) = (times[i] for i in sparse if rows[i]["kind"] == "l1" and rows[i]["size"] == [384, 12288])
    assert f"L1 with 12 288 codes is {short:.1f} times faster, less than wanted" in page
    shares = [100 * 5 * product[i] / seconds[i]["ours"] for i in start]
    assert f"{extremes([times[i] for i in start], 1)} times at {extremes(shares, 0)} % on AVX2" in page


def test_shares_of_active_codes_in_stacks() -> None:
    rows = stored("sweep")["rows"]
    alone = next(row["active"] for row in rows if row["backend"] == "processes")
    exact, bf16 = (
        max(abs(a - b) for a, b in zip(row["active"], alone, strict=True))
        for row in rows
        if row["backend"] == "stacked"
    )
    assert f"the same to {exact:.4f} (`exact`) and to {bf16:.4f} (`bf16`)" in words_of("sweeps")


def test_denoised_images_take() -> None:
    seconds = [row["seconds"] for row in stored("denoising-alone")["denoised"]]
    page = words_of("evaluation")
    assert "One image takes about 1 s of one core, learning included" in page
    assert all(0.5 < row["alone"] < 1.5 for row in seconds)
    given = [row["run"] for row in seconds if "run" in row]
    assert f"with a given dictionary {min(given):.2f} to {max(given):.2f} s" in page


def test_errors_beside_the_source_of_the_kl_model() -> None:
    kl: Any = import_module("kl_sparse")
    record = stored("papers-kl-sparse")
    courses = [{row["epoch"]: row["error"] for row in record["validations"][run]} for run in kl.MODELS]
    apart = [
        abs(course[epoch] / theirs[i] - 1)
        for i, course in enumerate(courses)
        for epoch, theirs in kl.THEIRS.items()
        if epoch in course
    ]
    assert len(apart) == 24
    assert f"within {100 * max(apart):.1f} %" in words_of("papers/kl-sparse")
    assert f"within {100 * max(apart):.1f} % of the source" in " ".join((ROOT / "CHANGELOG.md").read_text().split())
    filled = {run: {row["at"]: row["mse"] for row in kept["threshold"]} for run, kept in record["thresholds"].items()}
    times = [f"{rows[0.5] / rows[0.0]:.1f}" for rows in (filled[run] for run in kl.MODELS)]
    assert (
        f"({times[0]} times the error of all codes for clean, {times[1]} for noise, {times[2]} for half)"
        in words_of("papers/kl-sparse")
    )


def test_transcoders_beside_the_linear_map() -> None:
    page = words_of("sparse-autoencoders")
    coder, skip = (run["values"] for run in stored("seeds-transcoders"))
    explained = [spread(run["measures.scores.encode.explained_variance"], 3) for run in (coder, skip)]
    (linear,) = {f"{value:.3f}" for value in coder["measures.linear_map.model.explained_variance"]}
    assert (
        f"`acts-transcoder` explains {explained[0]}, the best linear map {linear}, `acts-skip-transcoder`, which has both, {explained[1]}"
        in page
    )


def test_restored_digits() -> None:
    by = stored("digits-restored")["spec"]["by"]
    page = (ROOT / "docs/papers/tutorial.md").read_text()
    for name in (
        "corrupted",
        "median",
        "Wiener",
        "total variation",
        "non-local means",
        "linear map of training samples",
    ):
        row = by[name]
        assert f"| {name} | {row['psnr']:.2f} | {row['mse']:.4f} | {100 * row['wape']:.1f} % |" in page
    runs = [row for name, row in by.items() if name.startswith("digits-dae")]
    psnr, mse = (spread([row[key] for row in runs], n) for key, n in (("psnr", 2), ("mse", 4)))
    percent = spread([100 * row["wape"] for row in runs], 1)
    assert f"| `digits-dae` | **{psnr}** | **{mse}** | **{percent} %** | |" in page


def test_variational_models_of_mnist() -> None:
    (vae,), (vsc,) = ([run["values"] for run in stored(f"seeds-mnist-{name}")] for name in ("vae", "vsc-1"))
    relaxed, hard = ([-v for v in vsc[f"measures.elbo.{gates}.elbo"]] for gates in ("relaxed", "hard"))
    exact = spread([-v for v in vae["measures.elbo.exact.elbo"]], 2)
    page, paper = words_of("variational"), words_of("papers/variational")
    bounds = f"{spread(relaxed, 1)} | {spread(hard, 1)}"
    assert f"| none, 16: `mnist-vae` | 104.84 | {exact} |" in page
    assert f"| MNIST VAE, 16 codes | 104.84 | {exact} |" in paper
    assert f"130.8 to 135.4 | {bounds} |" in page
    opened = [f"{value:.1f}" for value in vsc["measures.scores.encode.l0"]]
    assert f"| MNIST alpha 0.01, 200 | 133.86 | {bounds} | {', '.join(opened)} |" in paper
    costs = [f"{b - a:.0f}" for a, b in zip(relaxed, hard, strict=True)]
    cost = f"{', '.join(costs[:-1])} and {costs[-1]} nats"
    assert (
        f"opens {', '.join(opened[:-1])} and {opened[-1]} gates per picture in its three seeds, and hard gates cost {cost}"
        in page
    )
    assert f"hard gates cost {cost} in the three seeds of `mnist-vsc-1`" in paper
    psnr, ssim = "measures.scores.encode.psnr", "measures.scores.encode.ssim"
    assert (
        f"`mnist-vae` {spread(vae[psnr], 2)} dB and {spread(vae[ssim], 3)}, `mnist-vsc-1` {spread(vsc[psnr], 1)} and {spread(vsc[ssim], 2)}"
        in page
    )
    assert (
        f"here the first is {-statistics.mean(vae['measures.elbo.exact.elbo']):.1f}, the last {statistics.mean(relaxed):.1f}"
        in paper
    )


def test_costs_of_hard_gates_on_fashion() -> None:
    original, logits = stored("seeds-fashion-original"), stored("seeds-fashion")

    def cost(relaxed: list[float], hard: list[float]) -> float:
        return statistics.mean(relaxed) - statistics.mean(hard)

    costs = [cost(*(run["values"][f"measures.elbo.{gates}.elbo"] for gates in ("relaxed", "hard"))) for run in original]
    steep = [cost(*(run["values"][f"bounds.{gates}.elbo"] for gates in ("relaxed", "hard"))) for run in logits]
    assert max(costs[:2]) < 0
    assert f"they cost {steep[1]:.1f} nats on average where the original's cost {costs[2]:.1f}" in words_of(
        "variational"
    )
    paper = words_of("papers/variational")
    assert f"{costs[2]:.1f} nats on average on Fashion-MNIST. With alpha 0.5 and 0.2 they cost nothing there." in paper
    assert f"`fashion-vsc` (logits, slope to 200) loses {steep[1]:.1f}" in paper
    assert f"{spread(logits[1]['values']['scores.hard.l0'], 2)} of 200 gates open" in paper
    bounds = [stored("seeds-fashion-vae")[0]["values"]["bounds.exact.elbo"]]
    bounds += [run["values"]["measures.elbo.relaxed.elbo"] for run in original]
    first, *rest = (f"{-statistics.mean(values):.1f}" for values in bounds)
    assert f"{first} (VAE), {', '.join(rest)} nats for alpha 0.5, 0.2, 0.01" in paper


def test_anomalies_among_digits() -> None:
    anomalies = stored("digits-anomalies")["spec"]["anomalies"]
    by, page = anomalies["by"], (ROOT / "docs/papers/tutorial.md").read_text()
    for recipe in ("digits-dae", "digits-satlin"):
        runs = [row for name, row in by.items() if name.startswith(recipe)]
        auc, detected = (
            spread([factor * row[key] for row in runs], n) for key, factor, n in (("auc", 1, 3), ("detected", 100, 0))
        )
        assert f"| error of `{recipe}` | {auc} | {detected} % |" in page
    for name, words in (
        ("error of 21 principal components", "error of 21 principal components (90 % of the variance)"),
        ("distance from the training mean", "distance from the training mean"),
    ):
        assert f"| {words} | {by[name]['auc']:.3f} | {100 * by[name]['detected']:.0f} % |" in page
    n, zeros = anomalies["n_normal"] + anomalies["n_anomalous"], anomalies["n_anomalous"]
    assert f"There are {zeros} zeros among {n} test digits, so that one of them is {100 / zeros:.0f} %" in page


def test_size_and_time_of_reports() -> None:
    result, page = stored("reports"), words_of("report")
    assert (result["codes"], result["samples"]) == (24_576, 20_000)
    few, many = (
        (row["codes shown"], row["examples of a code, median"], row["page, MB"], row["time, s"])
        for row in result["pages"]
    )
    assert (
        "{} codes with {:.0f} examples each make a page of {:.1f} MB in {:.1f} s of processor time".format(*few) in page
    )
    assert "{} codes with {:.0f} one of {:.1f} MB in {:.1f} s".format(*many) in page


def test_what_first_calls_take() -> None:
    record = stored("start")

    def beyond(label: str, name: str) -> str:
        medians = record[label]["medians"]
        return f"{medians[name]['processor'] - medians['import torch']['processor']:.1f}"

    names = ("sparse_encode, cold", "sparse_encode, float32, cold")
    now, before = ([beyond(label, name) for name in names] for label in ("now", "before"))
    page = words_of("performance")
    assert f"takes {now[0]} s of the processor more than `import torch` in float64 and {now[1]} s in float32" in page
    assert f"it took {before[0]} and {before[1]} s there when numba compiled all that is called" in page
