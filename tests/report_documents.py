"""Reports written by hand, with texts that try to become markup, for tests of the page made from them."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import Literal

import numpy as np
from PIL import Image

from sparsecode.reports.document import (
    Atom,
    Band,
    Cell,
    CodeColumn,
    CodeDetail,
    CodeTable,
    Comparison,
    Definition,
    Difference,
    Distribution,
    Document,
    Effect,
    FrontierPlot,
    FrontierSeries,
    Head,
    HeadNumber,
    Histogram,
    LabelShare,
    Matches,
    MeasureRow,
    MeasureSection,
    MeasureTable,
    NearCode,
    Phase,
    PictureRow,
    Pool,
    Reconstruction,
    RunReport,
    SampleSection,
    Series,
    Setting,
    Sheet,
    ShownExample,
    Strip,
    TokenContext,
    Training,
    ValueSpread,
    Warned,
    WeightedName,
    packed,
)

PLANTED = (
    "</script><img src=x onerror=document.title='broken'>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202eright to left\u202c",
    "zero\u200bwidth\ufeff",
    "\u05e9\u05dc\u05d5\u05dd",
    "&lt;b&gt; & <b>",
    '" onload="x',
    "a very long name " * 40,
    "<!--",
    "\u2028line",
)
Kind = Literal["picture", "series", "row", "token"]


def sheet(n: int, side: int = 8, seed: int = 0) -> Sheet:
    """n grey pictures of noise."""
    columns = 8
    rows = -(-n // columns)
    pixels = np.random.default_rng(seed).integers(0, 255, (rows * side, columns * side), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return Sheet(b64encode(stream.getvalue()).decode(), n, side, side, columns, "black is 0 and white is 1")


def text(i: int) -> str:
    return PLANTED[i % len(PLANTED)]


def run_report(
    name: str, kind: Kind = "picture", n_code: int = 60, shown: int = 40, unfinished: str = "", seed: int = 0
) -> RunReport:
    """A run with every part of the schema that a model of this kind of data can have."""
    rng = np.random.default_rng(seed)
    return RunReport(
        name=name,
        head=head(unfinished),
        training=training(rng),
        codes=codes(kind, n_code, shown, rng),
        pool=pool(kind, rng),
        samples=samples(kind, rng),
        measures=measures(rng),
        sheets={"atoms": sheet(n_code), "pool": sheet(30, seed=1), "outputs": sheet(30, seed=2)},
    )


def document(*runs: RunReport, title: str = f"report {PLANTED[0]}") -> Document:
    return Document(
        title=title,
        runs=runs,
        comparison=comparison(runs) if len(runs) > 1 else None,
        definitions={
            key: Definition(key, f"what {key} is {text(i)}", "a paper")
            for i, key in enumerate(("density", "importance", "l0", "psnr", "loss", "scores", "gap", "mcc"))
        },
        sparsecode="0.1.0",
    )


def head(unfinished: str) -> Head:
    return Head(
        family="amortised",
        kind="sparse autoencoder",
        model=f"A model {text(0)}.",
        data=f"Trained on {text(1)}.",
        command="sparsecode train digits-topk --out 'runs/<b>'",
        command_note=text(2),
        numbers=(
            HeadNumber("psnr", "PSNR", 21.123456789, "21.12 dB", text(3), "psnr", "higher"),
            HeadNumber("l0", "L0", 8.25, "8.25", "of 60 codes", "l0"),
            HeadNumber("dead", "dead", None, "", "", "missing", "lower"),
        ),
        warnings=(Warned(text(5), text(6)),),
        unfinished=unfinished,
        settings=(Setting("model.activation.k", "8", True), Setting(text(8), text(0))),
        seed=3,
        n_parameters=12345,
        shape=(1, 8, 8),
    )


def training(rng: np.random.Generator) -> Training:
    steps = np.arange(1, 61) * 10
    fall = np.exp(-steps / 150) + 0.01 + 0.002 * rng.random(60)
    every = steps[::6]
    validation = np.where(np.arange(10) == 3, np.nan, 1.1 * np.exp(-every / 150) + 0.02)
    return Training(
        step=600,
        total=1000,
        steps_per_epoch=60.0,
        selected_by="encode/mse",
        selected_step=550,
        series=(
            Series(
                "mse",
                "train",
                "squared error",
                "mse",
                "training",
                "",
                "loss",
                True,
                "lower",
                packed(steps, "i4"),
                packed(fall),
            ),
            Series(
                "encode/mse",
                "validation",
                "squared error",
                "mse",
                "validation, encode",
                "",
                "loss",
                True,
                "lower",
                packed(every, "i4"),
                packed(validation),
            ),
            Series(
                "lr",
                "train",
                text(0),
                "lr",
                "training",
                "",
                "",
                True,
                "",
                packed(steps, "i4"),
                packed(np.full(60, 1e-3)),
            ),
            Series(
                "encode/balance",
                "validation",
                text(9),
                "balance",
                "validation, encode",
                "nats",
                "",
                False,
                "",
                packed(every, "i4"),
                packed(every - 200.0),
            ),
        ),
        phases=(Phase("schedule", "train.weight", f"grows {text(0)}", 0.0, 200.0, 0.0, 1.0),),
    )


def codes(kind: Kind, n_code: int, shown: int, rng: np.random.Generator) -> CodeTable:
    order = rng.permutation(n_code)[:shown]
    density = np.where(np.arange(shown) % 11 == 10, 0.0, rng.random(shown) ** 4)
    return CodeTable(
        coder="encode",
        split="test",
        n=1000,
        n_code=n_code,
        theta=0.0,
        codes=packed(order, "i4"),
        columns=(
            CodeColumn("density", "density", "", "density", packed(density), True),
            CodeColumn("importance", "importance", "", "importance", packed(np.sort(rng.random(shown))[::-1]), False),
            CodeColumn("purity", "purity", "", "", packed(np.where(density > 0, rng.random(shown), np.nan)), False),
        ),
        importance_of=f"the increase of the loss {text(0)}",
        left_out=f"{n_code - shown} codes are not shown" if n_code > shown else "",
        groups={
            "dead": tuple(int(c) for c in order[density == 0]),
            "dense": tuple(int(c) for c in order[density > 0.1]),
            "always_on": (),
        },
        distributions=(
            Distribution(
                "encode",
                "encode",
                1000,
                Histogram((0.001, 0.01, 0.1, 1.0), (3, 20, 17), "share of samples", 4, "dead codes", True),
                Histogram((5.5, 6.5, 7.5, 8.5), (100, 300, 600), "active codes"),
                7.5,
                4,
                10,
                0,
                True,
            ),
        ),
        details=tuple(detail(kind, int(code), i, n_code) for i, code in enumerate(order)),
    )


def detail(kind: Kind, code: int, i: int, n_code: int) -> CodeDetail:
    pictures = kind == "picture"
    return CodeDetail(
        code=code,
        atom=Atom(
            Cell("atoms", code % n_code) if pictures else None,
            Cell("atoms", (code + 1) % n_code) if pictures else None,
            None if pictures else packed(np.sin(np.arange(30) / (1 + i)), "f4"),
            (WeightedName(text(i), 0.7), WeightedName(text(i + 1), -0.35)),
        ),
        activations=Histogram((0.0, 0.5, 1.0, 1.5), (10, 5, 1), f"activation {text(0)}", 984, "inactive samples"),
        bands=(
            Band("top", "strongest", 1.2, 1.5, tuple(example(kind, i + j, 1.5 - 0.1 * j) for j in range(4))),
            Band("quantile", "median", 0.4, 0.6, (example(kind, i + 5, 0.5),), 0.5),
            Band("threshold", "nearly off", 0.01, 0.02, ()),
        ),
        by_cosine=(NearCode((code + 1) % n_code, 0.9), NearCode((code + 2) % n_code, -0.8)),
        by_firing=(NearCode((code + 3) % n_code, 0.25),),
        effect=Effect(12, 0.125, 0.25, (WeightedName(text(i + 2), -0.5),)),
        labels=(LabelShare(text(i + 4), 0.75, 0.1), LabelShare("0", 0.25, 0.1)),
    )


def example(kind: Kind, i: int, activation: float) -> ShownExample:
    context = None
    if kind == "token":
        tokens = ("the", f" {text(i)}", " of", "\n", " a")
        context = TokenContext(tokens, (None, activation, 0.25, 0.0, -0.1), 1)
    return ShownExample(i % 30, activation, context)


def pool(kind: Kind, rng: np.random.Generator) -> Pool:
    return Pool(
        kind=kind,
        split="test",
        rows=packed(np.arange(30) * 7, "i4"),
        sheet="pool" if kind == "picture" else "",
        values=None if kind == "picture" else packed(rng.normal(size=(30, 20)), "f4"),
        features=tuple(text(i) for i in range(20)) if kind == "row" else (),
        labels=tuple(text(i) for i in range(30)),
        tokens=tuple(text(i) for i in range(30)) if kind == "token" else (),
    )


def samples(kind: Kind, rng: np.random.Generator) -> SampleSection:
    ranks: tuple[Literal["worst", "median", "best"], ...] = ("worst", "worst", "median", "median", "best", "best")
    return SampleSection(
        reconstructions=tuple(
            Reconstruction(
                sample=i,
                rank=rank,
                error=0.5 - 0.1 * i,
                psnr=10.0 + i,
                l0=3,
                codes=(1, 2, 3),
                activations=(0.9, 0.5, -0.1),
                outputs={"encode": Cell("outputs", i)} if kind == "picture" else {},
                values={} if kind == "picture" else {"encode": packed(rng.normal(size=20), "f4")},
                label=text(i),
                predicted=text(i + 1),
            )
            for i, rank in enumerate(ranks)
        ),
        strips=(
            Strip(
                "traversal",
                f"Traversals {text(0)}",
                "rows are codes",
                ("-1", "0", "1"),
                tuple(PictureRow(f"code {i}", tuple(Cell("outputs", 3 * i + j) for j in range(3))) for i in range(2)),
            ),
        )
        if kind == "picture"
        else (),
    )


def measures(rng: np.random.Generator) -> MeasureSection:
    value = float(rng.random())
    return MeasureSection(
        split="test",
        n=1000,
        tables=(
            MeasureTable(
                "scores",
                "scores",
                "scores",
                "eval",
                ("encode", "amortised"),
                (
                    MeasureRow("psnr", "PSNR", "dB", "psnr", (21.123456789, 1e-12), "higher"),
                    MeasureRow("l0", text(0), "", "l0", (8, None)),
                    MeasureRow("name", "name", "", "", (text(1), True)),
                ),
                text(5),
            ),
        ),
        frontiers=(frontier(value),),
        spreads=(
            ValueSpread(
                "gap", "duality gap", "gap", {"encode": Histogram((1e-7, 1e-6, 1e-5), (5, 9), "gap", log=True)}
            ),
        ),
        notes=(text(0),),
    )


def frontier(value: float) -> FrontierPlot:
    return FrontierPlot(
        "explained_variance",
        "explained variance",
        "",
        "psnr",
        "higher",
        (
            FrontierSeries(text(0), "run", (8.25,), (value,)),
            FrontierSeries("principal components", "reference", (1.0, 8.25, 20.0), (0.2, 0.5, 0.8), True),
            FrontierSeries("lost", "other", (3.0,), (None,)),
        ),
    )


def comparison(runs: tuple[RunReport, ...]) -> Comparison:
    return Comparison(
        differences=(Difference("seed", tuple(text(i) for i in range(len(runs)))),),
        matches=(
            Matches(
                0, 1, 0.7, 0.5, 0.25, packed(np.array([[1, 2], [3, 4]]), "i4"), packed(np.array([0.95, 0.4]), "f4")
            ),
        ),
        frontiers=(frontier(0.6),),
        notes=(text(0),),
    )
