"""Tables and comparisons of the results of benchmarks that measure quality and agreement, a function for each."""

from __future__ import annotations

import statistics
from typing import Any

from comparisons import Comparison, Parts, Table, number


def estimators(result: Any) -> Parts:
    """Objective, time and accuracy of classifiers on codes."""
    head = ("data", "estimator", "objective", "processor seconds", "accuracy")
    rows = [
        (
            r["data"],
            r["estimator"],
            number(r["objective"]),
            number(r["seconds"]),
            f"{r['accuracy']:.3f} ± {r['accuracy_deviation']:.3f}",
        )
        for r in result["rows"]
    ]
    ours = {r["data"]: r for r in result["rows"] if r["estimator"] == "SparseDictionary"}
    comparisons = [
        Comparison(f"{r['data']}, {key}", ours[r["data"]][key], r["estimator"], r[key], higher)
        for r in result["rows"]
        if not r["estimator"].startswith("Sparse") and r["data"] in ours
        for key, higher in (("objective", False), ("seconds", False), ("accuracy", True))
        if r[key] is not None
    ]
    return [Table([head, *rows])], comparisons


def denoising(result: Any) -> Parts:
    """PSNR of whole images."""
    methods = list(result["rows"][0]["psnr"])
    rows = [
        (
            r["set"],
            str(r["sigma"]),
            *(f"{r['psnr'][m]:.2f}" for m in methods),
            f"{r['seconds_per_image']['sparsecode']:.2f}",
        )
        for r in result["rows"]
    ]
    comparisons = [
        Comparison(f"{r['set']}, sigma {r['sigma']}, {words}", r[key]["sparsecode"], method, r[key][method], higher)
        for r in result["rows"]
        for key, words, higher in (("psnr", "PSNR in dB", True), ("seconds_per_image", "seconds per image", False))
        for method in methods
        if method not in ("noisy", "sparsecode")
    ]
    return [Table([("images", "sigma", *methods, "seconds per image (sparsecode)"), *rows], "PSNR in dB")], comparisons


def denoising_alone(result: Any) -> Parts:
    """PSNR with nothing given, and estimated noise."""
    methods = list(dict.fromkeys(m for r in result["denoised"] for m in r["psnr"]))
    rows = [
        (str(r["sigma"]), *(f"{r['psnr'][m]:.2f}" if m in r["psnr"] else "-" for m in methods))
        for r in result["denoised"]
    ]
    estimates = [
        (
            r["set"],
            str(r["sigma"]),
            *(f"{r[m][key]:.2f}" for m in ("sparsecode", "wavelet_mad") for key in ("bias", "rms")),
        )
        for r in result["sigma"]
    ]
    head = ("images", "sigma", "bias", "rms error", "bias, wavelets", "rms error, wavelets")
    comparisons = [
        Comparison(f"sigma {r['sigma']}, PSNR in dB of `alone`", r["psnr"]["alone"], m, r["psnr"][m], higher=True)
        for r in result["denoised"]
        for m in ("nl_means", "bm3d_published")
        if m in r["psnr"]
    ] + [
        Comparison(
            f"{r['set']}, rms error of the estimated sigma {r['sigma']}",
            r["sparsecode"]["rms"],
            "wavelets",
            r["wavelet_mad"]["rms"],
        )
        for r in result["sigma"]
    ]
    return [
        Table([("sigma", *methods), *rows], "PSNR in dB"),
        Table([head, *estimates], "Estimated sigma"),
    ], comparisons


def inpainting(result: Any) -> Parts:
    """PSNR with missing pixels."""
    rows = [(r["method"], f"{r['psnr']:.2f}", number(r["cpu_seconds"])) for r in result["rows"]]
    ours = result["rows"][0]
    comparisons = [
        Comparison(words, ours[key], r["method"], r[key], higher)
        for r in result["rows"][1:]
        for key, words, higher in (("psnr", "PSNR in dB", True), ("cpu_seconds", "processor seconds", False))
    ]
    return [Table([("method", "PSNR, dB", "processor seconds"), *rows])], comparisons


def convolutional(result: Any) -> Parts:
    """Objectives of convolutional codes."""
    rows = [
        (r["library"], r["setting"], number(r["seconds"]), f"{r['objective']:.3f}", f"{r['gap']:.2g}")
        for r in result["rows"]
    ]
    reached = {
        library: min(r["seconds"] for r in result["rows"] if r["library"] == library and r["gap"] < 0.004)
        for library in ("sparsecode", "sporco")
    }
    return [Table([("library", "setting", "seconds", "objective", "relative gap"), *rows])], [
        Comparison("seconds to a relative gap below 0.004", reached["sparsecode"], "sporco", reached["sporco"])
    ]


def quality(result: Any) -> Parts:
    """Trained autoencoders beside SAELens."""
    digits = {"l0": 1, "explained_variance": 3, "loss_recovered": 4, "dead": 0}
    rows: list[tuple[str, ...]] = [("model", "L0", "explained variance", "loss recovered", "dead codes")]
    comparisons: list[Comparison] = []
    for kind in dict.fromkeys(r["kind"] for r in result["rows"]):
        means: dict[str, dict[str, float]] = {}
        for library, name in (("ours", "sparsecode"), ("saelens", "SAELens")):
            runs = [r[library] for r in result["rows"] if r["kind"] == kind]
            means[library] = {key: statistics.mean(run[key] for run in runs) for key in digits}
            cells = [
                f"{means[library][key]:.{n}f} ± {statistics.stdev(run[key] for run in runs):.{n}f}"
                for key, n in digits.items()
            ]
            rows.append((f"{kind}, {name}", *cells))
        comparisons += [
            Comparison(f"{kind}, {words}", means["ours"][key], "SAELens", means["saelens"][key], higher=True)
            for key, words in (("explained_variance", "explained variance"), ("loss_recovered", "loss recovered"))
        ]
    return [Table(rows)], comparisons


def agreement(result: Any) -> Parts:
    """Differences of codes."""
    rows = [(name, f"{r['difference']:.1e}", f"{r['objective_above_ours']:.1e}") for name, r in result["peers"].items()]
    return [Table([("peer", "largest difference of a code", "largest objective above ours, relative"), *rows])], []
