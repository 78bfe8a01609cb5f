"""Figures of noise-trained networks show the arrays given, each value where it belongs."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsecode.plots import (
    ablation_lines,
    active_over_epochs,
    denoising_grid,
    fields_mosaic,
    keys_and_neighbours,
    pre_activation_densities,
    query_mosaic,
)

Array = NDArray[Any]
KEYS = np.random.default_rng(0).normal(size=(5, 12))
COLOUR = np.random.default_rng(1).normal(size=(4, 27))


def shown(figure: Figure, i: int = 0) -> Array:
    """The pixels of the i-th image of a figure."""
    axes = [axes for axes in figure.get_axes() if axes.images]
    return np.asarray(axes[i].images[0].get_array())


def words(figure: Figure) -> str:
    result = [figure.get_suptitle(), *(axes.get_title() for axes in figure.get_axes())]
    return " ".join([*result, *(axes.get_title(loc="left") for axes in figure.get_axes())])


def test_peak_scaling_keeps_zero_grey() -> None:
    keys = KEYS.copy()
    keys[2] = 0.0
    canvas = shown(fields_mosaic(keys, (3, 4)))
    assert canvas.shape == (2 * 4 + 1, 3 * 5 + 1, 3)
    tile = canvas[1:4, 6:10, 0]
    assert np.allclose(tile, 0.5 + 0.5 * KEYS[1].reshape(3, 4) / np.abs(KEYS[1]).max())
    assert np.allclose(canvas[1:4, 11:15], 0.5)
    assert np.allclose(canvas[0], 1.0)


def test_colour_tiles_share_one_scale() -> None:
    canvas = shown(fields_mosaic(COLOUR, (3, 3, 3)))
    expected = 0.5 + 0.5 * COLOUR[3].reshape(3, 3, 3) / np.abs(COLOUR[3]).max()
    assert np.allclose(canvas[5:8, 5:8], np.moveaxis(expected, 0, 2))


def test_a_mosaic_says_what_it_leaves_out() -> None:
    assert "(first 3 of 5)" in words(fields_mosaic(KEYS, (3, 4), most=3, title="keys"))


def test_the_strongest_key_comes_first() -> None:
    figure = query_mosaic([("clean", KEYS[0])], KEYS, np.array([0.1, 3.0, 0.2, 2.0, 0.3]), (3, 4), (-1, 1), columns=2)
    canvas = shown(figure, 1)
    for place, unit in (((1, 1), 1), ((1, 6), 3), ((5, 1), 4)):
        tile = canvas[place[0] : place[0] + 3, place[1] : place[1] + 4, 0]
        assert np.allclose(tile, 0.5 + 0.5 * KEYS[unit].reshape(3, 4) / np.abs(KEYS[unit]).max())
    assert "5 active units" in words(figure)
    assert "3 to 0.1, 2 above half" in words(figure)


def test_a_query_that_calls_nothing_says_so() -> None:
    figure = query_mosaic([("clean", KEYS[0])], KEYS[:0], np.zeros(0), (3, 4), (-1, 1))
    assert "no unit is active" in words(figure)
    with pytest.raises(ValueError, match="expected one for each active unit"):
        query_mosaic([("clean", KEYS[0])], KEYS, np.zeros(2), (3, 4), (-1, 1))


def test_neighbours_stand_under_their_keys() -> None:
    figure = keys_and_neighbours(KEYS, np.abs(KEYS), np.linspace(0, 0.8, 5), (3, 4), (0, 2), columns=3)
    canvas = shown(figure)
    for unit, (top, left) in ((2, (1, 11)), (4, (9 + 3 + 1, 6))):
        key, image = (canvas[first : first + 3, left : left + 4, 0] for first in (top, top + 4))
        assert np.allclose(key, 0.5 + 0.5 * KEYS[unit].reshape(3, 4) / np.abs(KEYS[unit]).max())
        assert np.allclose(image, np.clip(np.abs(KEYS[unit]).reshape(3, 4) / 2, 0, 1))
    assert [text.get_text() for text in figure.get_axes()[0].texts] == ["0.00", "0.20", "0.40", "0.60", "0.80"]


def test_levels_of_noise_lie_below_each_other() -> None:
    figure = denoising_grid(KEYS, {"sigma 1": (KEYS + 1, KEYS - 1), "sigma 2": (KEYS + 2, KEYS)}, (3, 4), (-3, 3))
    canvas = shown(figure)
    noisy = canvas[5 + 2 + 1 : 5 + 2 + 4, 1:5, 0]
    assert np.allclose(noisy, np.clip((KEYS[0].reshape(3, 4) + 4) / 6, 0, 1))
    assert [label.get_text() for label in figure.get_axes()[0].get_yticklabels()] == ["clean", "sigma 1", "sigma 2"]


def test_densities_have_area_1() -> None:
    edges = np.array([-4.0, -1.0, 0.0, 2.0])
    figure = pre_activation_densities({"one": (edges, np.array([1, 2, 1]))})
    steps = figure.get_axes()[0].patches[0].get_data()  # pyright: ignore[reportAttributeAccessIssue] - of stairs
    assert np.allclose(steps.values * np.diff(edges), [0.25, 0.5, 0.25])


def test_lines_run_through_means_of_seeds() -> None:
    figure = ablation_lines([0, 0.3, 10], {"100": [[0.9], [0.5, 0.7], []], "1000": [[0.5], [0.3], [0.01]]}, "width")
    axes = figure.get_axes()[0]
    assert np.allclose(np.asarray(axes.lines[0].get_ydata()), [0.9, 0.6, np.nan], equal_nan=True)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.3", "10"]
    assert axes.get_yscale() == "log"
    assert axes.get_legend().get_title().get_text() == "width"  # pyright: ignore[reportOptionalMemberAccess] - there is one
    even = ablation_lines([0, 1], {"a": [[0.4], [0.5]]}).get_axes()[0]
    assert even.get_yscale() == "linear"
    with pytest.raises(ValueError, match="line 'a' has 1 entries; expected one for each of 2 sigmas"):
        ablation_lines([0, 1], {"a": [[0.4]]})


def test_courses_end_with_the_noise_off() -> None:
    figure = active_over_epochs({"run": ([1, 2], [0.5, 0.2])}, ends={"run": 0.1})
    axes = figure.get_axes()[0]
    assert np.asarray(axes.lines[1].get_xdata()).tolist() == [2]
    assert np.asarray(axes.lines[1].get_ydata()).tolist() == [0.1]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: fields_mosaic(KEYS, (2, 6, 1)),
        lambda: fields_mosaic(KEYS, (3, 5)),
        lambda: fields_mosaic(KEYS[:0], (3, 4)),
        lambda: pre_activation_densities({}),
        lambda: active_over_epochs({}),
        lambda: ablation_lines([1], {}),
    ],
    ids=["channels", "size", "none", "no density", "no course", "no line"],
)
def test_nothing_to_draw_is_refused(draw: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        draw()
