"""Pictures of what a variational model's codes stand for, and the page that decodes in the browser."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pictures import tiles
from PIL import Image
from waiting import PATIENCE

from sparsecode.cli import main
from sparsecode.cli.traverse import film_of
from sparsecode.data import Digits, Splits
from sparsecode.data.splits import Split
from sparsecode.evaluate.variational.elbo import Bound
from sparsecode.evaluate.variational.traversal import (
    between,
    between_supports,
    edited,
    most_used,
    redrawn,
    swept,
    there_and_back,
    through_zero,
)
from sparsecode.models.variational import Variational
from sparsecode.named_sweeps import EXPERIMENTS
from sparsecode.nn.convnet import ConvNet
from sparsecode.nn.likelihoods import Bernoulli, ContinuousBernoulli, Likelihood, Normal
from sparsecode.nn.normalisers import Identity, Normaliser, Standardise, Whiten
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.posteriors import SpikeSlab
from sparsecode.nn.priors import SpikeSlabPrior
from sparsecode.plots import FilmStrip, film_strips
from sparsecode.recipes import RECIPES
from sparsecode.reports import Subject, interactive_page, subject_of
from sparsecode.runner import prepare
from sparsecode.runs import RunFolder
from sparsecode.sweeps import SweepResult, curves_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
Net = Perceptron | ConvNet


def colour_splits(side: int) -> Splits:
    """48 colour pictures [3, side, side] in [0, 1], cut from photographs."""
    x = torch.from_numpy(np.stack(tiles(side))).permute(0, 3, 1, 2).float() / 255
    return Splits(Split(x[:32]), Split(x[32:36]), Split(x[36:]), 0.0, 1.0)


def subject(
    splits: Splits, net: Net, likelihood: Likelihood, normaliser: Normaliser | None = None, n_code: int = 12
) -> Subject:
    """A model with random weights that knows its data; about half of its codes are on."""
    spec = Variational(
        n_code=n_code,
        posterior=SpikeSlab(),
        prior=SpikeSlabPrior(alpha=0.3),
        likelihood=likelihood,
        net=net,
        normaliser=normaliser or Identity(),
    )
    model = spec.build(splits.shape, seed=0)
    model.initialise_(splits.train.x)
    made = subject_of(model, splits, "a </script> name")
    while made.decoded(made.prior_codes(50, 0)).std(axis=0).mean() < 0.1:  # so that codes are seen
        with torch.no_grad():
            for parameter in model.decoder.parameters():
                parameter.mul_(1.5)
    return made


@pytest.fixture(scope="module")
def grey() -> Subject:
    return subject(Digits().load(), Perceptron(hidden=(30,)), Bernoulli())


@pytest.fixture(scope="module")
def colour() -> Subject:
    return subject(colour_splits(16), ConvNet(channels=(6, 4), hidden=20), Normal(sigma=0.1), Standardise())


def first_weights(recipe: str, path: Path) -> Path:
    """The folder of a run that has its first weights."""
    config, folder = RECIPES[recipe](), RunFolder(path)
    splits = config.data.load()
    prepared = prepare(config, folder, splits, splits.fingerprint())
    prepared.keep(prepared.model)
    return folder.path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return first_weights("digits-vsc", tmp_path_factory.mktemp("traverse") / "vsc")


Z = torch.tensor([0.5, 0.0, -2.0, 0.0, 1.0])


def test_most_used_codes_come_first_and_unused_ones_not_at_all() -> None:
    codes = torch.tensor([[0.0, 2.0, 0.01, -1.0], [0.0, -2.0, 0.0, 3.0]])
    assert most_used(codes).tolist() == [3, 1]  # mean squares 5 and 4; 0.00005 is below a hundredth of 5


def test_edits_take_the_largest_magnitude() -> None:
    assert edited(Z)[:, 2].tolist() == pytest.approx([-2.0, -0.02, 1.0])
    assert torch.equal(edited(Z)[:, [0, 1, 3, 4]], Z[[0, 1, 3, 4]].expand(3, 4))


def test_sweeps() -> None:
    assert torch.equal(swept(Z, 1, [-3.0, 0.0]), torch.tensor([[0.5, -3, -2, 0, 1], [0.5, 0, -2, 0, 1]]))
    assert through_zero(0.5, 0.4, 4) == pytest.approx([0.5, 0.1, -0.3, -0.7])
    assert through_zero(-0.5, 0.4, 3) == pytest.approx([-0.5, -0.1, 0.3])
    assert there_and_back(3.0, 4) == pytest.approx([-3, 0, 3, 0], abs=1e-9)


def test_redrawn_codes_keep_the_support_and_come_from_the_prior(rng: torch.Generator) -> None:
    z = torch.randn(40, generator=rng) * (torch.rand(40, generator=rng) < 0.5)
    prior = torch.randn(200, 40, generator=rng) * (torch.rand(200, 40, generator=rng) < 0.2)
    prior[:, z.nonzero()[0]] = 0  # a code that the prior never has on stays as it is
    rows = redrawn(z, prior, 0.8, 30, rng)
    assert torch.equal(rows != 0, (z != 0).expand(30, -1))
    active = int((z != 0).sum())
    changed = (rows != z).sum(dim=1)
    assert {round(0.8 * active) - 1, round(0.8 * active)} >= set(changed.tolist())
    assert all(bool((prior[:, j] == rows[i, j]).any()) for i, j in (rows != z).nonzero().tolist())
    assert len(rows.unique(dim=0)) == 30


def test_paths_between_codes(rng: torch.Generator) -> None:
    a = torch.tensor([4.0, 3.0, 0.0, 0.0, 1.0, 0.0])
    b = torch.tensor([0.0, 0.0, -2.0, 5.0, 2.0, 0.0])
    linear, sparse = between(a, b, 9), between_supports(a, b, 9)
    assert torch.allclose(linear, torch.lerp(a, b, torch.linspace(0, 1, 9)[:, None]))
    for path in (linear, sparse):
        assert torch.equal(path[0], a)
        assert torch.equal(path[-1], b)
    # thresholds 1/4 and 3/4: the weak one leaves after a quarter of the way, and then the strong one comes
    assert torch.equal(sparse[1], torch.tensor([4, 3, 0, 0, 1.125, 0]))
    assert torch.equal(sparse[4], torch.tensor([4, 0, 0, 5, 1.5, 0]))
    assert torch.equal(sparse[7], torch.tensor([0, 0, -2, 5, 1.875, 0]))
    assert int((linear[4] != 0).sum()) == 5


def test_strips_show_the_pictures_given() -> None:
    frames = np.linspace(0, 1, 3 * 2 * 2).reshape(3, 4)
    figure = film_strips(
        [FilmStrip("a", frames, frames[:1], 2), FilmStrip("b", frames)], (2, 2), (0, 1), list("xyz"), "from"
    )
    strip = next(axes for axes in figure.axes if axes.patches)
    shown = np.asarray(strip.images[0].get_array())
    assert shown[shown.shape[0] // 4, shown.shape[1] // 12] == pytest.approx(frames[0, 0], abs=1e-9)
    side = shown.shape[0]
    assert shown[3 * side // 4, 2 * side + 3 * side // 4] == pytest.approx(frames[2, 3])
    assert {text.get_text() for text in figure.texts} >= {"a", "b", "x", "y", "z", "from"}
    with pytest.raises(ValueError, match="strips is empty"):
        film_strips([], (2, 2), (0, 1))


def rendered(figure: Figure) -> NDArray[Any]:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=40)
    return np.asarray(Image.open(file).convert("RGB"), dtype=float)


def test_figures_of_colour_pictures(colour: Subject) -> None:
    frame = np.array([0.82, 0.22, 0.18])  # of a marked picture
    for figure in (
        colour.encodings(),
        colour.traversals((2,), frames=3, step=0.5),
        colour.prior(0, 9),
        colour.fitted(0, 9),
    ):
        pixels = rendered(figure) / 255
        tinted = (np.ptp(pixels, axis=2) > 0.1) & (np.abs(pixels - frame).max(axis=2) > 0.2)
        assert tinted.any()


def test_fitted_gates_are_as_open_as_on_samples(grey: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[torch.Tensor] = []
    decoded = Subject.decoded
    monkeypatch.setattr(Subject, "decoded", lambda self, z: decoded(self, drawn.append(z) or z))
    figure = grey.fitted(seed=1, n=4000)
    usage = (grey.codes != 0).double().mean(dim=0)
    assert 0 <= usage.min() < usage.max()
    assert float(((drawn[0] != 0).double().mean(dim=0) - usage).abs().max()) < 0.04
    assert float(drawn[0][drawn[0] != 0].std()) == pytest.approx(1, abs=0.02)
    assert f"{float(usage.sum()):.3g} of 12 codes on" in figure.get_suptitle().replace("\n", " ")


def test_a_film_goes_there_and_back(grey: Subject) -> None:
    frames = list(grey.film(frames=4))
    assert {frame.shape for frame in frames} == {(260, 600, 3)}
    assert np.array_equal(frames[1], frames[3])
    left, right = (slice(None), slice(0, 350)), (slice(None), slice(350, 600))
    for part in (left, right):
        assert not np.array_equal(frames[0][part], frames[2][part])


def test_a_film_of_a_grey_sample_has_no_pink(grey: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its 256 colours, some are red, some blue; what is grey keeps its grey, and the rest its colour."""
    ramp = np.linspace(0, 1, 6)[:, None, None] * np.linspace(0.3, 1, 64).reshape(1, 8, 8)
    monkeypatch.setattr(Subject, "decoded", lambda *_: ramp)
    frames = list(grey.film(frames=6))
    monkeypatch.setattr(Subject, "film", lambda *_, **__: frames)
    with Image.open(io.BytesIO(film_of(grey, None, 3.0))) as film:
        for index, frame in enumerate(frames):
            film.seek(index)
            result, is_grey = np.asarray(film.convert("RGB")).astype(int), np.ptp(frame, axis=2) == 0
            assert np.ptp(result[is_grey], axis=1).max() == 0
            assert np.abs(result - frame)[is_grey].max() <= 1
            assert np.abs(result - frame).mean() < 0.5


def test_codes_are_those_of_the_coder_asked_for(grey: Subject) -> None:
    splits = Digits().load()
    assert torch.equal(grey.z, grey.model.encode(splits.test.x[list(grey.rows)]))
    mean = subject_of(grey.model, splits, "mean", rows=(5,), coder="mean")
    assert torch.equal(mean.z, grey.model.mean_code(splits.test.x[5:6]))
    with pytest.raises(ValueError, match="coder is 'soft'; this model has encode, mean"):
        subject_of(grey.model, splits, "", coder="soft")


def test_the_command_writes_pictures_a_film_and_a_page(run: Path, tmp_path: Path, capsys: Any) -> None:
    options = ["--out", str(tmp_path), "--samples", "4", "7", "--codes", "3", "5", "--frames", "5", "--gif", "--html"]
    assert main(["traverse", str(run), *options]) == 0
    names = {"encoding", "edits", "traversals", "conditional", "prior", "fitted", "interpolation"}
    assert {path.stem for path in tmp_path.glob("*.png")} == names
    with Image.open(tmp_path / "traversal.gif") as film:
        assert getattr(film, "n_frames", 1) == 40
        assert film.info["loop"] == 0
    page = (tmp_path / "play.html").read_text()
    assert not re.search(r"https?:|src=|<link|import\(", page)
    assert "kB): open it in a browser" in capsys.readouterr().out


def test_refusals(run: Path, tmp_path: Path, capsys: Any) -> None:
    cases = {
        (str(first_weights("digits-sdl", tmp_path / "sdl")),): "its model is no variational one",
        (str(run), "--samples", "9999"): "expected 0 to 180, of the test split",
        (str(run), "--codes", "99"): "expected 0 to 31",
        (str(run), "--coder", "soft"): "this model has encode, mean",
        (str(run), "--share", "0"): "--share 0.0: expected above 0",
        (str(run), "--frames", "1"): "expected at least 2",
    }
    for arguments, message in cases.items():
        assert main(["traverse", *arguments]) == 2
        assert message in capsys.readouterr().err.replace("\n", " ")


def test_bounds_of_models_with_and_without_gates_make_one_picture() -> None:
    part = {"recon": 1.0, "kl_slab": 0.0}
    both = {"hard": Bound(n=1, elbo=-3.0, **part), "relaxed": Bound(n=1, elbo=-2.0, **part)}
    without = {"exact": Bound(n=1, elbo=-1.0, **part)}
    results = [
        SweepResult({"elbo": both}, "a", "digits-vsc", {"model.n_code": 2}),
        SweepResult({"elbo": without}, "b", "digits-vae", {"model.n_code": 2}),
    ]
    experiment = EXPERIMENTS["digits-latents"]
    result = curves_of(results, experiment.x, experiment.y)
    assert result == {"digits-vsc": {2: [-3.0]}, "digits-vae": {2: [-1.0]}}  # hard gates: relaxed ones give no bound


def page_data(page: str) -> dict[str, Any]:
    result = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert result is not None
    return json.loads(result[1])


def test_a_page_holds_the_weights_to_sixteen_bits(grey: Subject) -> None:
    data = page_data(interactive_page(grey, 0))
    assert data["title"] == "a </script> name"
    decoder = grey.model.decoder
    for layer, weight in zip(data["layers"], decoder.weights, strict=True):  # pyright: ignore[reportArgumentType] - a perceptron's
        rows = np.frombuffer(b64decode(layer["weight"]["scale"]), "<f4")[:, None]
        integers = np.frombuffer(b64decode(layer["weight"]["integers"]), "<i2").reshape(len(rows), -1)
        error = np.abs(rows * integers.astype(float) - weight.detach().numpy())
        assert (error <= 0.51 * rows).all()


def in_browser(page: str, folder: Path, script: str = "") -> str:
    """The document after its scripts have run, `script` the last of them."""
    assert CHROMIUM is not None
    file = folder / "play.html"
    file.write_text(page.replace("</body>", f"<script>{script}</script></body>"))
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--virtual-time-budget=20000",
    ]
    command = [CHROMIUM, *flags, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


def said(document: str, name: str) -> str:
    result = re.search(rf'<html[^>]* data-{name}="([^"]*)"', document)
    assert result is not None, document[:300]
    return result[1]


browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path; install it with make test-browser")


@pytest.mark.slow
@browser
@pytest.mark.parametrize(
    ("net", "likelihood", "normaliser"),
    [
        (Perceptron(hidden=(30,)), Bernoulli(), Identity()),
        (Perceptron(hidden=(30, 20), activation="gelu"), ContinuousBernoulli(), Identity()),
        (Perceptron(hidden=(20,), activation="elu"), Normal(sigma=0.1), Standardise()),
        (Perceptron(hidden=(20,), activation="tanh"), Normal(sigma=0.1), Whiten()),
        (Perceptron(hidden=(20,), activation="sigmoid"), Normal(sigma=0.1, output="sigmoid"), Identity()),
        (ConvNet(channels=(6, 4), hidden=20), Bernoulli(), Identity()),
    ],
    ids=["bernoulli", "continuous", "standardised", "whitened", "sigmoid", "conv"],
)
@pytest.mark.parametrize("colours", [1, 3])
def test_the_browser_decodes_as_the_model_does(
    net: Net, likelihood: Likelihood, normaliser: Normaliser, colours: int, tmp_path: Path
) -> None:
    splits = colour_splits(16) if colours == 3 else Digits().load()
    made = subject(splits, net, likelihood, normaliser)
    page = interactive_page(made, 0)
    assert 0 < float(said(in_browser(page, tmp_path), "difference")) < 1e-3
    other = json.dumps(page_data(page)["mean"])
    spoilt = page.replace(f'"mean":{other}', '"mean":"tanh"')
    assert float(said(in_browser(spoilt, tmp_path), "difference")) > 1e-2


@pytest.mark.slow
@browser
def test_sliders_and_buttons_do_what_they_say(grey: Subject, tmp_path: Path) -> None:
    script = """
    window.requestAnimationFrame = (draw) => setTimeout(draw, 5);  // without a screen, frames are rare
    (async () => {
      const root = document.documentElement.dataset, { data, sliders, part, prior, codes, z, due } = player;
      const first = data.sliders[0], own = sliders.get(first).input;
      const settled = async () => { do await new Promise((done) => setTimeout(done, 20)); while (due()); };
      const seen = () => part.output.toDataURL();
      const press = (label) => [...document.querySelectorAll("button")].find((b) => b.textContent === label).click();
      await settled();
      const before = seen();
      own.value = 2.5;
      own.dispatchEvent(new Event("input"));
      await settled();
      root.moved = `${z()[first]} ${seen() !== before}`;
      own.dispatchEvent(new KeyboardEvent("keydown", { key: "0" }));
      await settled();
      root.off = `${z()[first]} ${own.value}`;
      press("Zero");
      await settled();
      root.zero = part.status.textContent;
      press("Draw from the prior");
      await settled();
      root.prior = `${z().every((v, j) => v === prior[0][j])} ${part.caption.textContent}`;
      document.querySelectorAll("button.sample")[1].click();
      await settled();
      root.sample = z().every((v, j) => v === codes[1][j]);
      root.named = [...document.querySelectorAll("button, input")].every((e) => e.textContent || e.getAttribute("aria-label"));
    })();
    """
    document = in_browser(interactive_page(grey, 0), tmp_path, script)
    assert said(document, "moved") == "2.5 true"
    assert said(document, "off") == "0 0"
    assert said(document, "zero").startswith("0 of 12 codes active")
    assert said(document, "prior") == "true no sample"
    assert said(document, "sample") == "true"
    assert said(document, "named") == "true"
