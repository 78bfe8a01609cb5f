"""Estimators of samples with missing entries."""

import numpy as np
import pytest

from sparsecode import SparseCoder, SparseDictionary, sparse_encode


def table():
    """Two features in other units than the rest, 20 % of the entries missing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3)) @ rng.normal(size=(3, 8)) * np.array([1, 1, 1, 1, 1, 1, 1000, 0.01]) + 5
    return x, np.where(rng.random(x.shape) < 0.2, np.nan, x)


def test_coder_gives_the_codes_of_what_is_observed():
    x = table()[1] / np.array([1, 1, 1, 1, 1, 1, 1000, 0.01])
    D = np.random.default_rng(1).normal(size=(12, 8))
    coder = SparseCoder(D, alpha=0.5, missing="nan").fit(x)
    np.testing.assert_allclose(coder.transform(x), sparse_encode(x, D, 0.5, missing="nan"), atol=1e-12)
    assert np.isfinite(coder.score(x))
    assert coder.__sklearn_tags__().input_tags.allow_nan
    with pytest.raises(ValueError, match="NaN"):
        SparseCoder(D, alpha=0.5).fit(x)
    with pytest.raises(ValueError, match="missing is 'zero'"):
        SparseCoder(D, missing="zero").fit(np.nan_to_num(x))


def test_dictionary_scales_learns_and_fills_in():
    full, x = table()
    model = SparseDictionary(8, alpha=0.1, missing="nan", random_state=0).fit(x)
    np.testing.assert_allclose(model.mean_, np.nanmean(x, axis=0), rtol=1e-6)
    np.testing.assert_allclose(model.scale_, np.nanstd(x, axis=0), rtol=1e-6)
    filled = model.inverse_transform(model.transform(x))
    gone = np.isnan(x)
    error = ((filled - full) / full.std(axis=0))[gone]
    assert np.sqrt(np.mean(error**2)) < 0.7  # 1 by means
    assert model.score(x) > 0.8
    more = SparseDictionary(8, alpha=0.1, missing="nan", random_state=0).partial_fit(x).partial_fit(x)
    assert np.isfinite(more.components_).all()
