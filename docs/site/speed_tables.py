"""Tables and comparisons of the results of benchmarks that measure time and memory, a function for each."""

from __future__ import annotations

import statistics
from typing import Any

from comparisons import Comparison, Parts, Table, number


def lasso(result: Any) -> Parts:
    """Seconds to codes of one quality."""
    rows = result["results"]
    ours = next(iter(rows))
    quality = next(key for key in ("suboptimality", "mean_squared_residual") if key in rows[ours])
    table = Table(
        [("solver", "seconds", "times ours", quality.replace("_", " "))]
        + [(name, number(r["seconds"]), f"{r['times_ours']:.2f}", f"{r[quality]:.2g}") for name, r in rows.items()],
        result["problem"],
    )
    peers = {name: r for name, r in rows.items() if name.split(",")[0] != ours}
    what = f"seconds, {result['problem'].split(':')[0]} problem"
    return [table], [Comparison(what, rows[ours]["seconds"], name, r["seconds"]) for name, r in peers.items()]


def correlated(result: Any) -> Parts:
    """Codes in dictionaries of correlated atoms."""
    peers = list(next(row["peers"] for row in result["rows"] if "peers" in row))
    head = ("atoms", "share", "active", "sparsecode", "incoherent, same share", "incoherent, as many active", *peers)
    rows: list[tuple[str, ...]] = [head]
    comparisons: list[Comparison] = []
    for r in result["rows"]:
        others = r.get("peers", {})
        cells = [f"{others[name]:.0f} ({r['peer_gaps'][name]:.0e})" if name in others else "-" for name in peers]
        ours = r["microseconds"]
        what = f"{r['n_code']}, {r['atoms']}"
        rows.append((what, f"{r['share']:g}", f"{r['active']:.0f}", *(f"{v:.0f}" for v in ours.values()), *cells))
        comparisons += [
            Comparison(f"microseconds a sample, {what}, weight {r['share']:g}", ours["ours"], name, value)
            for name, value in others.items()
        ]
    large = [("atoms", "active", "seconds", "samples", "peak memory, MiB", "gap")] + [
        (f"{r['n_code']}, {r['atoms']}", f"{r['active']:.0f}", f"{r['seconds']:.1f}", str(r["rows"]), f"{r['peak_mib']:.0f}", f"{r['gap']:.0e}")
        for r in result["large"]
    ]  # fmt: skip
    title = f"Microseconds of processor time a sample to a relative gap of {result['tol']:g}, in float64; in parentheses gaps of others"
    return [Table(rows, title), Table(large, "A Gram matrix of 2 GiB")], comparisons


def dictionary(result: Any) -> Parts:
    """Seconds to one objective."""
    seconds = result["seconds"]
    rows = [(name, "not reached" if s is None else number(s)) for name, s in seconds.items()]
    ours = seconds[f"sparsecode ({result['chosen']})"]
    return [Table([("method", f"seconds to an objective of {result['target']:.4f}"), *rows])], [
        Comparison("seconds to the objective", ours, name, s)
        for name, s in seconds.items()
        if s is not None and not name.startswith("sparsecode")
    ]


def training(result: Any) -> Parts:
    """Iterations of sparse coding models."""
    head = (
        "model",
        "training",
        "ms per iteration",
        "times faster",
        "solver steps",
        "energy",
        "PSNR, dB",
        "objective",
        "L0",
    )
    rows = [
        (
            r["model"],
            r["training"],
            number(r["ms_per_iteration"]),
            f"{r['ratio']:.2f}",
            f"{r['steps']:.1f}",
            f"{r['energy']:.3f}",
            f"{r['psnr']:.2f}",
            f"{r['objective']:.1f}",
            f"{r['l0']:.1f}",
        )
        for r in result["rows"]
    ]
    by_training = {(r["model"], r["training"]): r for r in result["rows"]}
    comparisons = [
        Comparison(
            f"{model}, {words}",
            by_training[model, "ours"][key],
            "plain loop",
            by_training[model, "plain loop"][key],
            higher,
        )
        for model in dict.fromkeys(r["model"] for r in result["rows"])
        for key, words, higher in (("ms_per_iteration", "ms per iteration", False), ("psnr", "PSNR in dB", True))
    ]
    title = (
        f"Milliseconds {result['unit']}; trained: after {result['before']} epochs of ours; energy: of training, at the start, where each rule leaves the "
        "codes of validation images; the rest: after the iterations measured"
    )
    return [Table([head, *rows], title)], comparisons


def autoencoders(result: Any) -> Parts:
    """Steps of sparse autoencoders."""
    names = list(result["rows"][0]["cpu_seconds"])
    head = ("activation", "features x codes", "active", *names)
    rows: list[tuple[str, ...]] = [head]
    comparisons: list[Comparison] = []
    for r in result["rows"]:
        size, seconds = f"{r['size'][0]} x {r['size'][1]}", r["cpu_seconds"]
        rows.append((r["kind"], size, r["l0"], *(number(seconds.get(name)) for name in names)))
        comparisons += [
            Comparison(f"{r['kind']}, {size}, {r['l0']}, seconds of processor time", seconds["ours"], name, value)
            for name, value in seconds.items()
            if value is not None and not name.startswith("ours")
        ]
    tables = [Table(rows, "Seconds of processor time for a step of 4096 rows")]
    parted = [(row[:3], r["parts"]) for row, r in zip(rows[1:], result["rows"], strict=True) if r.get("parts")]
    if parted:
        cells = [(*row, *(f"{100 * share:.0f}" for share in parts.values())) for row, parts in parted]
        tables.append(
            Table([(*head[:3], *parted[0][1]), *cells], "Parts of our steps with sparse codes, % of their time")
        )
    return tables, comparisons


def compiled(result: Any) -> Parts:
    """Seconds of dense steps of autoencoders, eager and by torch.compile."""
    head = ("activation", "eager, s", "compiled, s", "compiled of eager", "sparse steps, s", "compilation, s")
    rows = [
        (
            r["kind"],
            *(number(r["cpu_seconds"][way]) for way in ("eager", "compiled")),
            f"{r['ratio']:.2f}",
            number(r["cpu_seconds"]["sparse"]),
            number(r["compilation"]),
        )
        for r in result["rows"]
    ]
    title = f"Seconds of processor time for loss and gradients of {result['batch']} rows"
    return [Table([head, *rows], title)], []


def variational(result: Any) -> Parts:
    """Steps of variational models."""
    head = ("model", "training", "ms per step", "seconds per 60 000 samples", "times faster", "loss, nats")
    rows = [
        (
            r["model"],
            r["training"],
            number(r["ms_per_step"]),
            number(r["seconds_per_60000"]),
            f"{r['ratio']:.2f}",
            "-" if r["loss"] is None else f"{r['loss']:.1f}",
        )
        for r in result["rows"]
    ]
    by_training = {(r["model"], r["training"]): r for r in result["rows"]}
    comparisons = [
        Comparison(f"{model}, {words}", by_training[model, "ours"][key], training, r[key])
        for (model, training), r in by_training.items()
        if training.startswith("usual")
        for key, words in (("ms_per_step", "ms per step"), ("loss", "training loss in nats"))
    ]
    return [Table([head, *rows])], comparisons


def sweep(result: Any) -> Parts:
    """A sweep by each backend."""
    head = ("data", "backend", "arithmetic", "seconds", "processor seconds", "ms per step and run", "times faster")
    rows = [
        (
            r["data"],
            r["backend"],
            r["arithmetic"],
            number(r["seconds"]),
            number(r["cpu_seconds"]),
            number(r["ms"]),
            f"{r['times_faster']:.2f}",
        )
        for r in result["rows"]
    ]
    ours = next(r for r in result["rows"] if (r["backend"], r["arithmetic"]) == ("stacked", "exact"))
    return [Table([head, *rows])], [
        Comparison("seconds of a sweep", ours["seconds"], r["backend"], r["seconds"])
        for r in result["rows"]
        if r["backend"] != "stacked"
    ]


def path(result: Any) -> Parts:
    """One path beside separate calls."""
    head = ("problem", "50 separate calls, s", "one path, s", "ratio")
    rows: list[tuple[str, ...]] = [head]
    comparisons: list[Comparison] = []
    for name, r in result["results"].items():
        separate, path = statistics.median(r["separate_seconds"]), statistics.median(r["path_seconds"])
        rows.append((name, number(separate), number(path), f"{r['ratio']:.2f}"))
        comparisons.append(Comparison(f"{name}, seconds", path, "separate calls", separate))
    return [Table(rows)], comparisons


def start(result: Any) -> Parts:
    """Processes until they have done the least."""
    before, now = (result[label]["medians"] for label in ("before", "now"))
    rows = [
        (
            name,
            *(f"{each[name]['processor']:.2f}" for each in (before, now)),
            f"{before[name]['processor'] / r['processor']:.1f}",
        )
        for name, r in now.items()
    ]
    return [Table([("process", "processor seconds before", "now", "times less"), *rows], result["before"]["note"])], []


def fired_rows(result: Any) -> Parts:
    """Sums of gradients over two processes."""
    rows = [
        (
            f"{point['fired']:.0%}",
            *(f"{point['bytes'][which] / 1e6:.1f}" for which in ("all", "fired")),
            *(f"{1e3 * point['seconds'][f'{which}, processor']:.0f}" for which in ("all", "fired")),
        )
        for point in result["points"]
    ]
    n_code, width = result["size"]
    head = ("codes that fired", "MB, all rows", "MB, those that fired", "processor ms, all rows", "those that fired")
    shares = [(str(line["batch"]), f"{line['start']:.0%}", f"{line['samples']:.0%}") for line in result["shares"]]
    return [
        Table([head, *rows], f"Each of two processes gives, for {n_code} codes of {width} features"),
        Table(
            [("samples in a batch", "at the start", "encoders that are samples"), *shares],
            f"Share of the codes that fires, {result['k']} per sample",
        ),
    ], []


def scale(result: Any) -> Parts:
    """Time and memory against sizes."""
    tables: list[Table] = []
    for axis, part in result["axes"].items():
        rows = [
            (str(size), number(point["seconds"]), number(point["peak_mib"]), number(point.get("l0")))
            for size, point in zip(part["sizes"], part["points"], strict=True)
        ]
        power = "" if part["slope"] is None else f", time as the power {part['slope']:.2f} over the larger half"
        tables.append(Table([(axis, "processor seconds", "peak memory, MiB", "L0"), *rows], f"Against {axis}{power}"))
    return tables, []
