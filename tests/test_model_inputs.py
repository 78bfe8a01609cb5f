"""What models take from their users: NumPy arrays or tensors, checked once, named when they do not fit."""

from typing import Any

import numpy as np
import pytest
import torch

from sparsecode.models.amortised import Amortised
from sparsecode.models.iterative import Inference, Iterative
from sparsecode.models.variational import Variational
from sparsecode.nn.activations import TopK
from sparsecode.nn.likelihoods import Normal
from sparsecode.nn.posteriors import Gaussian
from sparsecode.nn.priors import StandardNormal
from sparsecode.penalties import LogSum

SHAPE, N_CODE = (2, 4), 10
MODELS: dict[str, Any] = {
    "iterative": Iterative(n_code=N_CODE, weight=0.5),
    "iterative, other penalty": Iterative(n_code=N_CODE, weight=0.5, penalty=LogSum(positive=True)),
    "amortised": Amortised(n_code=N_CODE, activation=TopK(k=3)),
    "variational": Variational(
        n_code=N_CODE,
        posterior=Gaussian(),
        prior=StandardNormal(),
        likelihood=Normal(),
    ),
}
X = np.random.default_rng(0).normal(size=(5, *SHAPE))
Z = np.abs(np.random.default_rng(1).normal(size=(5, N_CODE)))

every_model = pytest.mark.parametrize("model", [spec.build(SHAPE, 0) for spec in MODELS.values()], ids=list(MODELS))


@every_model
@pytest.mark.usefixtures("unchecked")
def test_arrays_in_arrays_out_and_tensors_in_tensors_out(model: Any) -> None:
    functions = {"encode": X, "reconstruct": X, "decode": Z, "predict_code": X, "mean_code": X, "pre_activations": X}
    for name, given in functions.items():
        if not hasattr(model, name):
            continue
        function = getattr(model, name)
        single = given.astype(np.float32)
        expected = function(torch.tensor(single))
        assert type(expected) is torch.Tensor
        for array in (given, single, single.astype(">f4"), np.asfortranarray(given), given[::-1][::-1]):
            result = function(array)
            assert type(result) is np.ndarray
            assert result.dtype == np.float32
            np.testing.assert_allclose(result, expected.detach().numpy(), rtol=0, atol=1e-5)
    assert model.reconstruct(X).shape == X.shape
    np.testing.assert_array_equal(model.encode(X.reshape(5, 8)), model.encode(X))


@every_model
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (X[0], ValueError, r"^x has shape \(2, 4\); expected \[n, 2, 4\] or \[n, 8\] \(one sample: x\[None\]\)$"),
        (X[:, 0], ValueError, r"^x has shape \(5, 4\); expected \[n, 2, 4\] or \[n, 8\]$"),
        (X.reshape(5, 4, 2), ValueError, r"^x has shape \(5, 4, 2\)"),
        (np.where(X[3, 1, 1] == X, np.nan, X), ValueError, "^x contains NaN, infinity or .*float32, first in row 3"),
        (X * 1e200, ValueError, "^x contains NaN, infinity or values beyond float32, first in row 0"),
        (torch.full((5, 8), torch.inf), ValueError, "^x contains NaN, infinity"),
        (
            torch.tensor(X),
            TypeError,
            r"^x has dtype torch\.float64 and the model .* float32; .*x\.to\(torch\.float32\)$",
        ),
        (torch.zeros(5, 8, dtype=torch.uint8), TypeError, r"^x has dtype torch\.uint8; expected a floating-point type"),
        (torch.empty(5, 8, device="meta"), TypeError, "^x is on the device 'meta'"),
        (X.astype(int), TypeError, "^x has dtype int64; expected a floating-point type"),
        (X.tolist(), TypeError, "^x is a list; expected a NumPy array or a torch tensor"),
        (np.ma.masked_greater(X, 1), TypeError, "^x is a masked array"),
    ],
    ids=lambda value: None,
)
def test_what_a_model_cannot_encode_is_named(model: Any, x: Any, error: type[Exception], message: str) -> None:
    for name in ("encode", "reconstruct", "predict_code"):
        if hasattr(model, name):
            with pytest.raises(error, match=message):
                getattr(model, name)(x)


@every_model
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("z", "error", "message"),
    [
        (Z[0], ValueError, r"^z has shape \(10,\); expected \[n, 10\] \(one code: z\[None\]\)$"),
        (Z[:, :9], ValueError, r"^z has shape \(5, 9\); expected \[n, 10\]$"),
        (np.full((5, 10), np.nan), ValueError, "^z contains NaN"),
        (torch.tensor(Z), TypeError, r"^z has dtype torch\.float64"),
    ],
    ids=lambda value: None,
)
def test_what_a_model_cannot_decode_is_named(model: Any, z: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model.decode(z)


def test_gradients_pass_through_decode() -> None:
    z = torch.tensor(Z).float().requires_grad_()
    MODELS["amortised"].build(SHAPE, 0).decode(z).sum().backward()
    assert z.grad is not None


@every_model
@pytest.mark.usefixtures("unchecked")
def test_leading_axes_are_kept(model: Any) -> None:
    x, z = torch.tensor(X[:4]).float(), torch.tensor(Z[:4]).float()
    functions = {"encode": x, "reconstruct": x, "forward": x, "decode": z, "predict_code": x, "mean_code": x}
    for name, given in functions.items():
        if not hasattr(model, name):
            continue
        expected = getattr(model, name)(given).detach()
        for lead in ((2, 2), (1, 4, 1), (4, 1, 1, 1)):
            result = getattr(model, name)(given.reshape(*lead, *given.shape[1:]))
            torch.testing.assert_close(result.detach(), expected.reshape(*lead, *expected.shape[1:]), rtol=0, atol=0)
        result = getattr(model, name)(given.numpy().reshape(2, 2, *given.shape[1:]))
        assert result.shape == (2, 2, *expected.shape[1:])
        none = getattr(model, name)(given[:0].reshape(0, 3, *given.shape[1:]))
        assert none.shape == (0, 3, *expected.shape[1:])
    assert model.encode(x.reshape(2, 2, 8)).shape == (2, 2, N_CODE)
    with pytest.raises(ValueError, match="first in row 1, 1;"):
        model.encode(torch.where(x == x[3, 1, 1], torch.nan, x).reshape(2, 2, *SHAPE))


@pytest.mark.parametrize("kind", ["amortised", "variational"])
@pytest.mark.parametrize("name", ["encode", "reconstruct", "forward", "mean_code", "pre_activations"])
def test_gradients_with_respect_to_samples_and_weights(kind: str, name: str) -> None:
    model = MODELS[kind].build(SHAPE, 0).double()
    function = getattr(model, name, None)
    if function is None:
        return
    x = torch.tensor(X, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)
    function(x.detach()).square().sum().backward()
    assert any(param.grad is not None and bool(param.grad.any()) for param in model.parameters())
    with torch.no_grad():
        assert not function(x).requires_grad


def test_codes_that_are_solved_for_have_no_gradients() -> None:
    model = MODELS["iterative"].build(SHAPE, 0).double()
    x = torch.tensor(X, requires_grad=True)
    for name in ("encode", "reconstruct", "forward"):
        with pytest.raises(
            ValueError,
            match=r"^x requires gradients, which codes from a solver do not have; .* pass x\.detach\(\), or use predict_code",
        ):
            getattr(model, name)(x)
        with torch.no_grad():
            getattr(model, name)(x)
    without = Iterative(n_code=N_CODE, weight=0.5, encoder=None, inference=Inference(start="zero")).build(SHAPE, 0)
    with pytest.raises(ValueError, match=r"pass x\.detach\(\)$"):
        without.encode(torch.tensor(X).float().requires_grad_())
    assert not model.encode(x.detach()).requires_grad
    assert torch.autograd.gradcheck(model.predict_code, x)
    model.reconstruct(x.detach()).square().sum().backward()  # the decoder still learns
    assert any(param.grad is not None for param in model.decoder.parameters())


def test_a_model_shows_its_sizes() -> None:
    lines = repr(MODELS["amortised"].build(SHAPE, 0)).splitlines()
    assert lines[0] == "AmortisedModel(samples [2, 4], 10 codes, activation TopK(k=3.0), 178 parameters"
    assert "  decoder: BiasedDictionaryModule, 88 parameters" in lines
    assert repr(MODELS["iterative"].build(SHAPE, 0)).startswith("IterativeModel(samples [2, 4], 10 codes, ")
