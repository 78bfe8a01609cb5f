"""Numbers on what bounds speed, and tables of it, are those of the files that named commands write."""

from __future__ import annotations

from test_docs_numbers_prose import ROOT, stored, words_of


def test_bounds_of_training_sweeps_variational_steps_and_dictionaries() -> None:
    page = words_of("performance")
    ours = {row["model"]: row for row in stored("training")["rows"] if row["training"] == "ours"}
    start, later = (ours[f"mnist-vdl-nl{state}"] for state in ("", ", trained"))
    assert (
        f"{start['ratio']:.1f} times at the start of training, {later['ratio']:.1f} times after 300 iterations, of which products of matrices "
        f"take {100 * start['products']:.0f} % and {100 * later['products']:.0f} % (`benchmarks/training.py`): with nothing but these, ours would be "
        f"{start['ratio'] / start['products']:.1f} and {later['ratio'] / later['products']:.1f} times faster"
    ) in page
    sweep = stored("sweep")
    stack = next(row for row in sweep["rows"] if row["backend"] == "stacked" and row["arithmetic"] == "exact")
    products = f"take {sweep['products_ms']['latents']:.1f} of the {stack['ms']:.1f} ms of a step"
    assert (
        f"{stack['times_faster']:.1f} times by the clock, {stack['times_less_cpu']:.1f} times less processor time, "
        f"{stack['times_faster_steady']:.2f} times in the steady state with AVX2. Five products alone {products}"
    ) in page
    assert products in words_of("sweeps")
    steps = {(row["training"], row["model"]): row for row in stored("variational")["rows"]}
    models = ("mnist-vae", "mnist-vsc-1", "mnist-vsc")
    vae, *vsc = (steps["ours", model]["ratio"] for model in models)
    floor, whole = ([steps[kind, model]["ms_per_step"] for model in models] for kind in ("floor", "ours"))
    assert f"{vae:.1f} times for `mnist-vae`, {vsc[0]:.1f} and {vsc[1]:.1f} times for the two of VSC" in page
    for three in (floor, whole):
        assert f"{three[0]:.2f}, {three[1]:.2f} and {three[2]:.2f}" in page
    learned = stored("dictionary")
    hard, easy = sorted(learned["rows"], key=lambda row: row["target"])
    last = learned["curves"][f"sparsecode ({learned['chosen']})"][-1]
    shares = {name: f"{100 * share:.0f} %" for name, share in learned["parts"].items()}
    assert (
        f"{hard['seconds'] / hard['ours']:.0f} times to what its better setting has by then, {easy['seconds'] / easy['ours']:.0f} times to what "
        f"the other one has; after {last[0]:.0f} s {100 * (1 - last[1] / hard['target']):.1f} % below, "
        f"after {learned['long'][0]:.0f} s {100 * (1 - learned['long'][1] / hard['target']):.1f} %. Codes take {shares['codes']} of a step, their "
        f"products with the atoms {shares['products for codes']}, statistics {shares['statistics']} and atoms {shares['atoms']}"
    ) in page


def test_tables_of_stacks_and_of_variational_steps() -> None:
    page = words_of("sweeps")
    for row in stored("sweep")["rows"]:
        for cell in (f"{row['seconds']:.0f} s", f"{row['cpu_seconds']:.0f} s", f"{row['ms']:.1f} ms"):
            assert f"| {cell}" in page
    page = words_of("variational")
    rows = {
        name: [row["ms_per_step"] for row in stored("variational")["rows"] if row["training"] == name]
        for name in ("usual loop", "usual loop, in memory", "floor")
    }
    for three in rows.values():
        assert f"| {' | '.join(f'{ms:.2f}' for ms in three)} |" in page


def test_parts_of_sparse_steps_and_products_of_dense_ones() -> None:
    page, changes = words_of("performance"), (ROOT / "CHANGELOG.md").read_text()
    rows = {(row["kind"], *row["size"], row["l0"]): row for row in stored("autoencoders-avx2")["rows"]}
    row = rows["l1", 384, 12288, "100"]
    seconds, parts = row["seconds"], row["parts"]
    products, *others = parts.values()
    selection, sums, adam = (f"{100 * share:.0f} %" for share in others)
    assert (
        f"products of integers that find the active codes take {100 * products:.0f} % of its step ({products * seconds['ours']:.2f} s, where torch's "
        f"product of float32 takes {row['dense_roofline_seconds'] / 5:.2f} s), their selection {selection}, sums and products of active codes "
        f"{sums}, Adam and clipping {adam}. With the products alone it would be {seconds['saelens'] / seconds['ours'] / products:.1f} times faster"
    ) in page
    dense = {key: row for key, row in rows.items() if key[-1] == "start"}
    short, long = (
        each["seconds"]["saelens"] / each["dense_roofline_seconds"]
        for each in (dense["l1", 384, 3072, "start"], dense["l1", 768, 6144, "start"])
    )
    assert (
        f"SAELens take {short:.1f} and {long:.1f} times as long as these products at 384 x 3072 and 768 x 6144" in page
    )
    shares = [100 * each["dense_roofline_seconds"] / each["seconds"]["ours"] for each in dense.values()]
    assert f"with AVX2 {min(shares):.0f} to {max(shares):.0f} % of the speed of the five products alone" in changes


def test_sums_of_rows_in_use() -> None:
    points = stored("fired-rows")["points"]
    few = [point for point in points if point["bytes"]["fired"] < point["bytes"]["all"]]
    every = [1000 * point["seconds"]["all, processor"] for point in points]
    searches = [
        1000 * (point["seconds"]["fired, processor"] - point["seconds"]["all, processor"])
        for point in points
        if point not in few
    ]
    costs = [
        (point["fired"], 1000 * point["seconds"]["fired, processor"], point["bytes"]["fired"] / 1e6) for point in few
    ]
    least, more = (f"with {100 * share:.0f} %{{}} {ms:.0f} ms and {size:.0f} MB" for share, ms, size in costs)
    assert (
        f"spend {min(every):.0f} to {max(every):.0f} ms of processor time each on sums of everything; {more.format(' of the rows')}, {least.format('')}. "
        f"With more than 0.4 of them the search costs {min(searches):.0f} to {max(searches):.0f} ms"
    ) in words_of("scaling")


def test_the_worst_of_correlated_atoms() -> None:
    rows = [row for row in stored("correlated")["rows"] if row["n_code"] == 512]
    row = max(rows, key=lambda row: row["microseconds"]["ours"] / row["microseconds"]["same share"])
    times = row["microseconds"]
    (large,) = (
        r
        for r in stored("correlated")["rows"]
        if (r["n_code"], r["atoms"], r["share"]) == (4096, "one direction", 0.01)
    )
    ratio = large["peers"]["SPAMS lasso (LARS)"] / large["microseconds"]["ours"]
    assert (
        f"for 4 096 atoms of one direction at 0.01, {large['active']:.0f} active codes, it takes {ratio:.2f} times as long as ours"
        in words_of("performance")
    )
    assert (
        f"At the worst of these, {row['atoms']} at {row['share']:g}, {row['active']:.0f} codes are active; incoherent atoms take "
        f"{times['as many active'] / times['same share']:.1f} times as long with as many as at the same weight, and the {row['atoms']} "
        f"{times['ours'] / times['as many active']:.1f} times as long as that"
    ) in words_of("performance")
