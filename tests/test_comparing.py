"""One sample in the codes of several runs, the plane of two codes, and the size of the interactive page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from looked_at import faults
from PIL import Image

from sparsecode.cli import main
from sparsecode.data import Digits
from sparsecode.models.variational import Variational
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import Gaussian, SpikeSlab
from sparsecode.nn.priors import SpikeSlabPrior, StandardNormal
from sparsecode.overrides import assign
from sparsecode.plots import code_plane, encoding_view
from sparsecode.recipes import RECIPES
from sparsecode.reports import codes_beside, interactive_page, manifold, subject_of
from sparsecode.runner import run

Capture = pytest.CaptureFixture[str]
NET = Perceptron(hidden=(20,))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A few steps of a variational model of 5 codes, of one of 2, of a sparse autoencoder, and of one on other data."""
    folder = tmp_path_factory.mktemp("runs")
    made: list[Path] = []
    for recipe, *changes in (
        ("digits-vsc", "model.n_code=5"),
        ("digits-vae", "model.n_code=2"),
        ("digits-topk",),
        ("digits-vae", "data.seed=1"),
    ):
        made.append(folder / f"run{len(made)}")
        run(assign(RECIPES[recipe](), ("train.epochs=0.1", *changes)), made[-1], figures=False)
    return made


def test_one_sample_in_several_runs(runs: list[Path], tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "beside.png"
    assert main(["plot", *map(str, runs[:3]), "--sample", "7", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip().endswith(str(out))
    with Image.open(out) as picture:
        assert picture.width > 3 * picture.info["dpi"][0]  # three runs, at more than an inch each
    assert main(["plot", *map(str, runs[:3]), "--out", str(out)]) == 0  # our own picture, again


@pytest.mark.parametrize(
    ("chosen", "arguments", "message"),
    [
        ((0, 3), [], "run3: trained on other samples than"),
        ((0, 1), ["--sample", "181"], "sample is 181; expected 0 to 180, of the test split"),
        ((0, 1), ["--coder", "median"], "'median'"),
        ((0, 1), ["--out", "a.jpg"], "--out a.jpg: expected a name that ends in .png"),
        ((0,), ["--coder", "mean"], "--coder and --out are for figures of several runs, or of one --sample"),
        ((0, 0), [], "a run is named twice"),
    ],
)
def test_what_cannot_be_beside_is_refused(
    chosen: tuple[int, ...], arguments: list[str], message: str, runs: list[Path], tmp_path: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["plot", *(str(runs[i]) for i in chosen), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_foreign_picture_is_not_written_over(runs: list[Path], tmp_path: Path, capsys: Capture) -> None:
    Image.new("L", (3, 3)).save(tmp_path / "mine.png")
    before = (tmp_path / "mine.png").read_bytes()
    assert main(["plot", str(runs[0]), "--sample", "0", "--out", str(tmp_path / "mine.png")]) == 3
    assert (tmp_path / "mine.png").read_bytes() == before


def test_rows_of_codes_of_several_lengths() -> None:
    rng = np.random.default_rng(0)
    codes = [rng.normal(size=n) * (rng.random(n) < 0.3) for n in (8, 96, 200)]
    images = rng.random((3, 64))
    figure = encoding_view(images, codes, images, (8, 8), (0, 1), "title", ("first run", "second", "third"))
    assert faults(figure) == []
    titles = [axes.get_title() for axes in figure.axes[1::3]]
    assert titles == [
        f"{label}: {np.count_nonzero(z)} of {len(z)} active"
        for label, z in zip(("first run", "second", "third"), codes, strict=True)
    ]


def test_models_are_coded_and_decoded_each_by_itself() -> None:
    splits = Digits().load()
    models = {str(n): Variational(n, Gaussian(), StandardNormal(), net=NET).build((8, 8), n) for n in (3, 9)}
    figure = codes_beside(models, splits, 4)
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    for i, model in enumerate(models.values()):
        x = splits.test.x[4:5]
        np.testing.assert_allclose(shown[2 * i][..., 0], x[0], atol=1e-6)
        np.testing.assert_allclose(shown[2 * i + 1][..., 0], model.reconstruct(x)[0].detach(), atol=1e-6)


@pytest.mark.parametrize("normal", [True, False])
def test_the_plane_of_two_codes(normal: bool) -> None:
    splits = Digits().load()
    posterior, prior = (Gaussian(), StandardNormal()) if normal else (SpikeSlab(), SpikeSlabPrior())
    model = Variational(2, posterior, prior, net=NET).build((8, 8), 0)
    figure = manifold(model, splits, "name", side=5)
    assert faults(figure) == []
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    assert canvas.shape == (40, 40, 3)
    if normal:
        z = torch.special.ndtri(torch.tensor([[0.9, 0.3]]))  # to the right, below the middle
        expected = model.denormalise(model.decode(z))[0].detach()
        np.testing.assert_allclose(canvas[24:32, 32:40, 0], expected, atol=1e-6)
    assert (
        "quantiles of the prior" if normal else "between 2% and 98% of test samples"
    ) in figure.get_suptitle().replace("\n", " ")


def test_ticks_of_the_plane_are_its_values() -> None:
    images = np.arange(6)[:, None, None] * np.ones((1, 2, 3))
    figure = code_plane(images, np.array([-1.0, 0.5, 2.0]), np.array([-4.0, 3.0]), (2, 3), (0, 5))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["-1.00", "0.50", "2.00"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["3.00", "-4.00"]
    assert list(axes.get_xticks()) == [1, 4, 7]
    canvas = np.asarray(axes.images[0].get_array())[..., 0]
    np.testing.assert_allclose(canvas[::2, ::3] * 5, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.slow
def test_runs_of_two_codes_draw_their_plane(runs: list[Path]) -> None:
    assert main(["plot", str(runs[1])]) == 0
    assert (runs[1] / "figures" / "manifold.png").exists()
    assert main(["plot", str(runs[0])]) == 0
    assert not (runs[0] / "figures" / "manifold.png").exists()
    with pytest.raises(ValueError, match="the model has 5 codes of samples"):
        manifold(Variational(5, Gaussian(), StandardNormal(), net=NET).build((8, 8), 0), Digits().load(), "name")
    assert getattr(RECIPES["mnist-vae-2"]().model, "n_code", None) == 2


def stored(page: str) -> dict[str, object]:
    result = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert result is not None
    return json.loads(result[1])


def test_a_page_of_half_the_bits_is_about_half_as_large() -> None:
    splits = Digits().load()
    model = Variational(8, Gaussian(), StandardNormal(), net=Perceptron(hidden=(2000,))).build((8, 8), 0)
    subject = subject_of(model, splits, "name")
    whole, half = (interactive_page(subject, 0, bits) for bits in (16, 8))
    data = stored(half)
    assert (data["bits"], data["weights"]) == (8, 2000 * 8 + 64 * 2000)
    assert len(whole) - len(half) == pytest.approx(data["weights"] * 4 / 3, rel=0.001)  # pyright: ignore[reportOperatorIssue]


@pytest.mark.slow
def test_a_large_page_says_its_size_and_offers_half(
    runs: list[Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsecode.cli.traverse.LARGE", 20_000)
    for bits in ("16", "8"):
        assert main(["traverse", str(runs[0]), "--html", "--bits", bits, "--out", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        assert f"6,900 weights at {bits} bits" in said
        assert ("--bits 8 makes it half as large" in said) == (bits == "16")
