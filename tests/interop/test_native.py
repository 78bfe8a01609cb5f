"""Our models as records and back: the same codes and reconstructions on real digits, to 1e-12 in float64."""

from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from sparsecode.interop import AffineSAE, CannotExpressError, compare, detect, from_model, read, to_model, write
from sparsecode.interop.affine_sae import JumpReLUCodes
from sparsecode.losses import Matryoshka
from sparsecode.losses.task import Predict
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.models.iterative import Iterative
from sparsecode.models.storage import load_model
from sparsecode.nn import activations
from sparsecode.nn.affine import Affine, BiasedDictionary
from sparsecode.nn.encoders import LISTA
from sparsecode.nn.normalisers import Centre, Identity, Normaliser, Standardise, StandardiseFeatures, Whiten
from sparsecode.penalties import L1

N_CODE = 96
KINDS: list[activations.Activation] = [
    activations.ReLU(),
    activations.TopK(6),
    activations.BatchTopK(6),
    activations.JumpReLU(),
    activations.Gated(),
]
NORMALISERS: list[Normaliser] = [Identity(), Standardise(), StandardiseFeatures(), Centre(), Whiten()]


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return torch.from_numpy(load_digits(return_X_y=True)[0])[:300]


def name(value: object) -> str:
    return type(value).__name__


def model_like_a_trained_one(spec: Amortised, digits: Tensor) -> AmortisedModel:
    """Started from digits, then every weight, bias and threshold moved, so that none is zero, in float64."""
    model = spec.build((64,), 0, (9,) if isinstance(spec.task, Predict) else None).double()
    model.initialise_(digits, digits[:, 20:29] * 3 - 1)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.1 * torch.randn(value.shape, generator=rng, dtype=torch.float64)
        if isinstance(model.activation, activations.BatchTopKModule):
            model.activation.threshold.fill_(1.1)
    return model.eval()


@torch.no_grad()
def assert_same(model: AmortisedModel, sae: AffineSAE, x: Tensor) -> None:
    codes, scale = model.encode(x), float(x.abs().max())
    assert 0 < float((codes > 0).double().mean()) < 0.95
    torch.testing.assert_close(sae.encode(x), codes, rtol=1e-12, atol=1e-12 * float(codes.max()))
    torch.testing.assert_close(sae.reconstruct(x), model.reconstruct(x), rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("normaliser", NORMALISERS, ids=name)
@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_there_and_back(kind: activations.Activation, normaliser: Normaliser, digits: Tensor) -> None:
    bias = not isinstance(kind, activations.Gated)
    for encoder in (Affine(bias=bias), Affine(centred=False, tied=True, bias=bias)):
        spec = Amortised(n_code=N_CODE, activation=kind, normaliser=normaliser, encoder=encoder)
        model = model_like_a_trained_one(spec, digits)
        sae = from_model(model)
        assert sae.dtype == torch.float64
        assert_same(model, sae, digits)
        again = to_model(sae)
        assert_same(again, sae, digits)
        assert_same(again, from_model(again), digits)
        assert type(again.spec.activation) is type(kind)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_transcoders_there_and_back(kind: activations.Activation, skip: bool, digits: Tensor) -> None:
    """The normalisers of both sides are folded, into the skip connection, too."""
    encoder = Affine(centred=False, start="uniform", bias=not isinstance(kind, activations.Gated))
    for ours, theirs in (
        (Identity(), Identity()),
        (Centre(), Standardise()),
        (Whiten(), Centre()),
        (Identity(), Whiten()),
    ):
        task = Predict(normaliser=theirs, skip=skip)
        spec = Amortised(n_code=N_CODE, activation=kind, normaliser=ours, encoder=encoder, task=task)
        model = model_like_a_trained_one(spec, digits)
        sae = from_model(model)
        assert (sae.d_in, sae.d_out, sae.transcoder, sae.W_skip is not None) == (64, 9, True, skip)
        assert_same(model, sae, digits)
        again = to_model(sae)
        assert again.target_shape == (9,)
        assert_same(again, sae, digits)
        assert_same(again, from_model(again), digits)


def test_groups_and_k_of_batch_top_k(digits: Tensor) -> None:
    spec = Amortised(n_code=N_CODE, activation=activations.BatchTopK(6), terms=(Matryoshka((16, 48)),))
    result = from_model(model_like_a_trained_one(spec, digits)).activation
    assert isinstance(result, JumpReLUCodes)
    assert (result.k, result.groups) == (6, (16, 32, 48))


def test_thresholds_of_zero_and_below_let_every_positive_value_through(digits: Tensor) -> None:
    sae = from_model(model_like_a_trained_one(Amortised(n_code=N_CODE, activation=activations.JumpReLU()), digits))
    threshold = torch.linspace(-1, 3, N_CODE, dtype=torch.float64)
    low = AffineSAE(sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, JumpReLUCodes(threshold), sae.centred)
    assert_same(to_model(low), low, digits)


def test_a_model_folder_is_written_and_read(digits: Tensor, tmp_path: Path) -> None:
    spec = Amortised(n_code=N_CODE, activation=activations.TopK(6), normaliser=Centre())
    sae = from_model(model_like_a_trained_one(spec, digits).float())
    write(sae, tmp_path / "model", "sparsecode")
    assert detect(tmp_path / "model") == "sparsecode"
    loaded = load_model(tmp_path / "model")
    torch.testing.assert_close(loaded.encode(digits.float()), sae.encode(digits.float()))
    assert compare(sae, read(tmp_path / "model")).codes == 0


REFUSALS = [
    (Amortised(n_code=8, activation=activations.Sigmoid()), "activation is 'sigmoid'"),
    (Amortised(n_code=8, activation=activations.Satlin()), "activation is 'satlin'"),
    (Amortised(n_code=8, activation=activations.ReLU(), encoder=LISTA()), "several layers"),
    (
        Amortised(n_code=8, activation=activations.ReLU(), decoder=BiasedDictionary(output="tanh")),
        "decoder.output is 'tanh'",
    ),
]


@pytest.mark.parametrize(("spec", "reason"), REFUSALS, ids=[reason for _, reason in REFUSALS])
def test_what_no_other_library_computes_is_refused(spec: Amortised, reason: str) -> None:
    with pytest.raises(CannotExpressError, match=reason):
        from_model(spec.build((64,), seed=0))


def test_codes_by_a_solver_are_refused() -> None:
    model = Iterative(n_code=8, penalty=L1(positive=True), weight=0.1).build((64,), seed=0)
    with pytest.raises(CannotExpressError, match="a solver"):
        from_model(model)
