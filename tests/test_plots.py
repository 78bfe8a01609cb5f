"""Figures are made of the arrays given, each value where it belongs, and render without a display."""

import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import normalize

from sparsecode.choices import AtomsAt
from sparsecode.data.splits import Split
from sparsecode.models.amortised import Amortised
from sparsecode.models.inference import Inference
from sparsecode.models.iterative import Iterative
from sparsecode.nn.activations import Sigmoid
from sparsecode.nn.constraints import Free
from sparsecode.nn.decoders import OneHidden
from sparsecode.plots import (
    FrontierPoint,
    accuracy_curves,
    atoms_mosaic,
    code_usage,
    denoising_grid,
    image_grid,
    images_beside,
    picture_grid,
    sparsity_frontier,
    training_curves,
)
from sparsecode.plots.images import ATOM_SCALE
from sparsecode.plots.saving import as_pixels
from sparsecode.reports.run_figures import atoms_of, counts_apart, most_used_first, powers_and_peaks

Array = NDArray[Any]


def shown(figure: Figure, i: int = 0) -> Array:
    """The pixels of the i-th image in a figure, NaN where nothing is drawn."""
    return np.ma.filled(figure.axes[i].images[0].get_array().astype(float), np.nan)  # pyright: ignore[reportOptionalMemberAccess] - an image has an array


def rendered(figure: Figure) -> Array:
    """The figure through PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    return np.asarray(Image.open(file).convert("RGB"))


RECORDS = [
    {"kind": "train", "step": 10, "loss": 3.0, "seconds": 0.1},
    {"kind": "evaluate", "step": 10, "encode/loss": 4.0, "amortised/loss": 5.0, "encode/psnr": 20.0},
    {"kind": "train", "step": 20, "loss": 2.0, "seconds": 0.2},
    {"kind": "evaluate", "step": 20, "encode/loss": 3.0, "amortised/loss": 4.0, "encode/psnr": 21.0},
]
ATOMS = np.random.default_rng(0).normal(size=(5, 12))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: atoms_mosaic(ATOMS, (3, 4), title="atoms"),
        lambda: atoms_mosaic(np.zeros((1, 4)), (2, 2), title="grey"),
        lambda: image_grid({"clean": ATOMS, "by a long name": ATOMS}, (1, 3, 4), -1, 1, "samples"),
        lambda: image_grid({"one": ATOMS[:1]}, (3, 4), -1, 1),
        lambda: training_curves(RECORDS, "curves"),
        lambda: training_curves([{"kind": "train", "step": 1, "loss": float("nan")}]),
    ],
    ids=["mosaic", "grey mosaic", "grid", "narrow grid", "curves", "curve of NaN"],
)
def test_figures_render_without_warnings(draw: Callable[[], Figure]) -> None:
    pixels = rendered(draw())
    assert pixels.min() < 100
    assert pixels.max() == 255


def test_figures_need_no_display() -> None:
    code = "import sys, sparsecode.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_atom_has_its_tile_scaled_by_its_own_largest_magnitude() -> None:
    canvas = shown(atoms_mosaic(ATOMS, (3, 4)))
    assert canvas.shape == (2 * 4 + 1, 3 * 5 + 1)  # 2 rows and 3 columns of tiles with lines between them
    tiles = {(i // 3, i % 3): atom.reshape(3, 4) / np.abs(atom).max() for i, atom in enumerate(ATOMS)}
    for (row, column), tile in tiles.items():
        top, left = 4 * row + 1, 5 * column + 1
        np.testing.assert_allclose(canvas[top : top + 3, left : left + 4], tile)
    assert np.isnan(canvas[::4]).all()
    assert np.isnan(canvas[:, ::5]).all()
    assert np.isfinite(canvas).sum() == ATOMS.size
    assert np.nanmax(np.abs(canvas)) == 1


def test_grey_is_zero() -> None:
    image = atoms_mosaic(ATOMS, (3, 4)).axes[0].images[0]
    assert image.get_clim() == (-1, 1)


def test_an_atom_of_zeros_is_grey() -> None:
    canvas = shown(atoms_mosaic(np.array([[0.0] * 4, [0.0, 0.0, 0.0, 2.0]]), (2, 2)))
    np.testing.assert_array_equal(canvas[1:3, 1:3], np.zeros((2, 2)))
    np.testing.assert_array_equal(canvas[1:3, 4:6], [[0, 0], [0, 1]])


def test_atoms_are_left_as_they_were() -> None:
    atoms = ATOMS.copy()
    atoms_mosaic(atoms, (3, 4))
    np.testing.assert_array_equal(atoms, ATOMS)


def test_atoms_beyond_most_are_left_out_and_the_title_says_so() -> None:
    figure = atoms_mosaic(ATOMS, (3, 4), most=4, title="atoms")
    assert figure.get_suptitle() == "atoms (first 4 of 5)"
    assert np.isfinite(shown(figure)).sum() == 4 * 12
    assert atoms_mosaic(ATOMS, (3, 4), most=5, title="atoms").get_suptitle() == "atoms"


@pytest.mark.parametrize("shape", [(12,), (3, 2, 2), (1, 1, 3, 4), ()])
def test_what_is_no_grey_image_is_refused(shape: tuple[int, ...]) -> None:
    message = r"expected grey images \[h, w\] or \[1, h, w\]"
    with pytest.raises(ValueError, match=message):
        atoms_mosaic(ATOMS, shape)
    with pytest.raises(ValueError, match=message):
        image_grid({"a": ATOMS}, shape, 0, 1)


@pytest.mark.parametrize("shape", [(2, 2), (4, 6)])
def test_atoms_that_do_not_fit_the_shape_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="12"):
        atoms_mosaic(ATOMS[:4], shape)


def test_grid_has_a_labelled_row_per_entry_and_a_column_per_sample() -> None:
    images = np.random.default_rng(1).uniform(size=(3, 2, 2))
    figure = image_grid({"clean": images, "noisy": 2 * images}, (1, 2, 2), -0.5, 1.5, "title")
    assert [axes.get_ylabel() for axes in figure.axes] == ["clean", "noisy"]
    assert figure.get_suptitle() == "title"
    for i, factor in enumerate((1, 2)):
        row = shown(figure, i)
        assert row.shape == (2, 9)
        for j in range(3):
            np.testing.assert_allclose(row[:, 3 * j : 3 * j + 2], factor * images[j])
        np.testing.assert_array_equal(row[:, 2::3], 1.5)
        assert figure.axes[i].images[0].get_clim() == (-0.5, 1.5)


def curves(figure: Figure) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Steps and values by panel and line."""
    return {
        axes.get_title(): {
            str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
            for line in axes.lines
        }
        for axes in figure.axes
        if axes.lines
    }


def test_training_and_validation_of_a_quantity_share_a_panel() -> None:
    assert curves(training_curves(RECORDS)) == {
        "loss": {
            "train": ([10, 20], [3, 2]),
            "valid, encode (solved)": ([10, 20], [4, 3]),
            "valid, amortised (encoder)": ([10, 20], [5, 4]),
        },
        "PSNR, dB": {"valid, encode (solved)": ([10, 20], [20, 21])},
    }


def test_training_differs_from_validation_without_colour() -> None:
    for axes in training_curves(RECORDS).axes:
        for line in axes.lines:
            assert (line.get_linestyle() == "--") == (line.get_label() == "train")


def test_figures_of_pictures_say_what_their_shades_mean() -> None:
    assert atoms_mosaic(ATOMS, (3, 4)).get_supxlabel() == ATOM_SCALE
    texts = [text.get_text() for text in image_grid({"a": ATOMS}, (3, 4), -0.5, 1.5).texts]
    assert "black is -0.5, white 1.5, in units of the data" in texts


def test_long_labels_of_noise_levels_lie_within_the_figure() -> None:
    images = np.zeros((3, 16))
    figure = denoising_grid(images, {"standard deviation 0.075": (images, images)}, (4, 4), (0, 1), "title")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 2
    assert min(box.x0 for box in boxes) >= 0


def test_the_title_of_accuracies_does_not_run_into_the_legend() -> None:
    title = "mean and standard deviation over 20 subsets of labels; bands: one standard deviation each way"
    figure = accuracy_curves({f"features {i}": ([1, 10], [0.4, 0.8], [0.05, 0.01]) for i in range(9)}, title)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    (heading,) = [text for text in figure.findobj(Text) if text.get_text() == title]
    assert not heading.get_window_extent(renderer).overlaps(figure.legends[0].get_window_extent(renderer))
    assert heading.get_window_extent(renderer).x1 <= figure.bbox.x1


def test_pictures_stand_apart_by_lines_that_a_screen_shows() -> None:
    pixels = as_pixels(picture_grid(np.zeros((16, 4)), (2, 2), (0, 1)), dpi=120)[..., 0] == 255
    dark = np.flatnonzero(~pixels[100:-40, 300])  # white between pictures, black in them
    breaks = np.diff(dark)[np.diff(dark) > 1]
    assert len(breaks) == 3
    assert breaks.min() >= 3
    assert breaks.max() - breaks.min() <= 1


def test_validation_without_a_coder_is_a_line_of_its_own() -> None:
    records = [{"kind": "train", "step": 1, "l0": 1.0}, {"kind": "evaluate", "step": 1, "l0": 2.0}]
    assert curves(training_curves(records)) == {
        "L0: active codes per sample": {"train": ([1], [1]), "valid": ([1], [2])}
    }


@pytest.mark.parametrize(("theta", "together"), [(0.0, True), (0.5, False)])
def test_l0_of_training_and_validation_share_a_panel_if_they_count_alike(theta: float, together: bool) -> None:
    records = [
        {"kind": "train", "step": 1, "l0": 16.0},
        {"kind": "train", "step": 2, "l0": 15.0},
        {"kind": "evaluate", "step": 1, "encode/l0": 3.0},
        {"kind": "evaluate", "step": 2, "encode/l0": 2.0},
    ]
    model = Amortised(n_code=16, activation=Sigmoid()).build((4,), seed=0)
    result = curves(training_curves(counts_apart(records, model, theta)))
    train, valid = {"train": ([1, 2], [16, 15])}, {"valid, encode": ([1, 2], [3, 2])}
    if together:
        assert result == {"L0: active codes per sample": train | valid}
    else:
        assert result == {"L0 in training: |z| > 0": train, "L0 in validation: |z| > 0.5": valid}


@pytest.mark.parametrize("n", [1, 3, 4, 7])
def test_panels_stand_in_rows_of_three(n: int) -> None:
    figure = training_curves(
        [{"kind": "train", "step": step} | {f"quantity_{i}": float(i + step) for i in range(n)} for step in (1, 2)]
    )
    assert list(curves(figure)) == [f"quantity {i}" for i in range(n)]
    assert [axes.axison for axes in figure.axes] == [i < n for i in range(len(figure.axes))]


@pytest.mark.parametrize("records", [[], [{"kind": "train", "step": 1, "seconds": 2.0}]])
def test_records_without_values_are_refused(records: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"records hold no values; expected the lines of a metrics\.jsonl"):
        training_curves(records)


def test_accuracy_is_shown_in_per_cent_with_a_band_of_one_deviation() -> None:
    figure = accuracy_curves(
        {"pixels": ([1, 10], [0.4, 0.8], [0.05, 0.01]), "codes": ([1, 10], [0.5, 0.9], [0.0, 0.0])}
    )
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == [[40, 80], [50, 90]]
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (pytest.approx(35), pytest.approx(81))
    assert rendered(figure).min() < 100


def test_the_frontier_has_a_point_per_value_at_the_mean_of_its_runs() -> None:
    points = [FrontierPoint("0.1", [20, 22], [30, 32], [0.9, 0.92]), FrontierPoint("1", [5], [20], [float("nan")])]
    figure = sparsity_frontier({"sdl, encode": points}, "model.weight", "sweep")
    left, right = figure.axes
    assert np.asarray(left.lines[0].get_xydata()).tolist() == [[21, 31], [5, 20]]
    assert np.asarray(right.lines[0].get_xydata())[0].tolist() == [21, pytest.approx(0.91)]
    assert {text.get_text() for text in left.texts} == {"0.1", "1"}
    assert figure.get_suptitle() == "sweep (labels: model.weight); bands: one standard deviation over seeds"
    assert left.get_xscale() == "log"
    assert sparsity_frontier({"a": [FrontierPoint("", [0], [1], [0])]}).axes[0].get_xscale() == "linear"
    assert rendered(figure).min() < 100


def test_usage_sorts_codes_and_counts_the_dead() -> None:
    frequency, active = np.array([0.5, 0.0, 1.0, 0.25]), np.array([1, 2, 2, 3])
    figure = code_usage({"solver": (frequency, active), "encoder": (frequency * 0, active * 0)}, "run")
    panels = figure.axes
    assert len(panels) == 4
    (bars,) = panels[0].collections[0].get_paths()
    for j, height in enumerate((1.0, 0.5, 0.25)):
        for x in (j + 0.01, j + 0.99):
            assert bars.contains_point((x, height - 0.01))
            assert not bars.contains_point((x, height + 0.01))
    assert not bars.contains_point((3.5, 0.01))
    assert panels[0].get_title() == "solver: 1 of 4 codes dead"
    assert panels[2].get_title() == "encoder: 4 of 4 codes dead"
    assert panels[0].get_yscale() == "log"
    counts = panels[1].patches[0].get_data()[0]  # pyright: ignore[reportAttributeAccessIssue]
    assert np.asarray(counts).tolist() == [1, 2, 1]
    assert rendered(figure).min() < 100


def test_images_stand_beside_each_other_on_one_scale() -> None:
    clean, noisy = np.array([[0.0, 100.0], [50.0, 100.0]]), np.array([[-10.0, 100.0], [50.0, 300.0]])
    figure = images_beside({"one": [noisy, clean], "two": [noisy, clean]}, ["noisy", "clean"], "title", most=1)
    assert [axes.get_title() for axes in figure.axes] == ["one: noisy", "one: clean"]
    np.testing.assert_allclose(shown(figure, 0), [[0, 1], [0.5, 1]])
    np.testing.assert_allclose(shown(figure, 1), [[0, 1], [0.5, 1]])
    assert figure.get_suptitle() == "title (first 1 of 2)"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: accuracy_curves({}),
        lambda: sparsity_frontier({"a": []}),
        lambda: code_usage({}),
        lambda: images_beside({}, []),
    ],
)
def test_figures_of_nothing_are_refused(draw: Callable[[], Figure]) -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        draw()


def test_atoms_are_drawn_by_the_energy_they_give_to_samples() -> None:
    """Atom j gets the share that its code and its own norm give it; an atom that no sample uses comes last."""
    model = Iterative(n_code=3, weight=0.1).build((3,), seed=0)
    atoms = torch.eye(3)
    with torch.no_grad():
        model.decoder.get_parameter("atoms").copy_(atoms)
    x = torch.tensor([[0.0, 0.5, 2.0], [0.0, 0.6, 0.0]])
    power, peak = powers_and_peaks(model, Split(x))
    assert peak.tolist() == pytest.approx([0.0, 0.5, 1.9], abs=1e-2)
    assert most_used_first(power, atoms).tolist() == [2, 1, 0]
    assert most_used_first(power, torch.diag(torch.tensor([1.0, 9.0, 1.0]))).tolist() == [1, 2, 0]


def test_atoms_behind_hidden_layers_are_drawn_at_the_maximum_of_their_code() -> None:
    """As in the figures of Evtimova & LeCun: decode(c e_j) - decode(0) with c the largest code of any sample; 1 by choice."""
    decoder = OneHidden(n_hidden=9, constraint=Free())
    model = Iterative(n_code=3, weight=0.1, decoder=decoder, inference=Inference(max_steps=50)).build((16,), seed=0)
    with torch.no_grad():
        model.decoder.get_parameter("bias").copy_(torch.linspace(-1, 1, 9))
    x = 3 * torch.rand(20, 16, generator=torch.Generator().manual_seed(0))
    peak = model.encode(x).amax(dim=0)
    nothing = model.decode(torch.zeros(1, 3))
    values: dict[AtomsAt, torch.Tensor] = {"maximum": peak, "unit": torch.ones(3)}
    for at, value in values.items():
        _, drawn, shape = atoms_of(model, peak, at)
        assert shape == (16,)
        assert torch.equal(drawn, model.decode(torch.diag(value)) - nothing)
    at_unit, at_maximum = (atoms_of(model, peak, at)[1] for at in values)
    assert not torch.allclose(
        normalize(at_unit), normalize(at_maximum), atol=1e-2
    )  # another picture, not the same one scaled
    linear = Iterative(n_code=3, weight=0.1).build((16,), seed=0)
    assert torch.equal(atoms_of(linear, peak, "maximum")[1], atoms_of(linear, peak, "unit")[1])


def test_the_picture_of_use_says_how_many_samples_have_no_active_code() -> None:
    active = np.array([0, 0, 0, 8])
    titles = [a.get_title() for a in code_usage({"solver": (np.full(9, 0.2), active)}).axes]
    assert titles[1] == "solver: 2.0 codes active on average, none on 75% of samples"


def test_values_with_noise_on_and_off_are_lines_of_one_panel_and_many_panels_stand_in_fives() -> None:
    pair = {"activity/active_noisy": 0.4, "activity/active_clean": 0.3, "activity/nearest_target_noisy": 0.9}
    records = [
        {"kind": "evaluate", "step": step, **{name: value / step for name, value in pair.items()}} for step in (1, 2)
    ]
    assert curves(training_curves(records)) == {
        "active: mean share of units": {
            "valid, noise on": ([1, 2], [0.4, 0.2]),
            "valid, noise off": ([1, 2], [0.3, 0.15]),
        },
        "own target nearest, noisy: share": {"valid, activity": ([1, 2], [0.9, 0.45])},
    }
    many = [{"kind": "train", "step": step, **{f"v{i}": i + step for i in range(13)}} for step in (1, 2)]
    figure = training_curves(many)
    assert figure.axes[0].get_gridspec().ncols == 5  # pyright: ignore[reportOptionalMemberAccess]
    width, height = figure.get_size_inches()
    assert width > height
