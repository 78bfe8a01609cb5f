"""End-to-end losses through a running host: values and gradients against a direct computation, of every kind of model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_extract_text import GPT2, SINK, TEXT, saved
from test_host import source
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import GPT2LMHeadModel

import sparsecode as sc
from sparsecode.cli import main
from sparsecode.data.batches import batches
from sparsecode.losses import EndToEnd, Predict
from sparsecode.models import Amortised
from sparsecode.nn import Affine, BiasedDictionary, ReLU, Standardise, TopK
from sparsecode.ops.rng import Stream
from sparsecode.records import Batch

pytestmark = SINK
SITES = {
    "autoencoder": (("transformer.h.0",), None),
    "transcoder": (("transformer.h.1.ln_2", "transformer.h.1.mlp"), "transformer.h.1.mlp"),
    "crosscoder": (("transformer.h.0", "transformer.h.1"), None),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("host")
    saved(home / "gpt", "GPT2", **GPT2)
    torch.manual_seed(1)
    GPT2LMHeadModel.from_pretrained(home / "gpt").save_pretrained(home / "gpt")
    (home / "text.txt").write_text(TEXT)
    return home


def model_of(kind: str, *terms: EndToEnd) -> Amortised:
    if kind == "transcoder":
        task = Predict(normaliser=Standardise(mean=0.1, std=3.0), skip=True)
        return Amortised(
            n_code=32, activation=TopK(k=4), task=task, terms=terms, encoder=Affine(centred=False, start="uniform")
        )
    if kind == "crosscoder":
        return Amortised(n_code=32, activation=ReLU(), decoder=BiasedDictionary(sites=True), terms=terms)
    return Amortised(n_code=32, activation=TopK(k=4), normaliser=Standardise(mean=0.2, std=2.0), terms=terms)


def directly(home: Path, model: Any, batch: Batch, kind: str, spec: EndToEnd) -> Tensor:
    """The same loss by hooks written here, on a host loaded here, from the tokens of the batch alone."""
    host = GPT2LMHeadModel.from_pretrained(home / "gpt").eval()
    there = batch.host
    ids = there._batch.ids
    names, target = SITES[kind]
    at = torch.zeros(ids.shape, dtype=torch.bool)
    at[there.span, there.column] = True
    values: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, _args, out: values.__setitem__(name, out[0] if isinstance(out, tuple) else out)

    handles = [host.get_submodule(name).register_forward_hook(keep(name)) for name in {*names, *spec.layers}]
    with torch.no_grad():
        clean = host(input_ids=ids).logits
    for handle in handles:
        handle.remove()
    before = dict(values)
    rows = torch.stack([before[name][at] for name in names if name != target], dim=1).squeeze(1)
    torch.testing.assert_close(rows, batch.x, rtol=0, atol=1e-5)
    restored = model.output(rows, model.encode(rows))
    replaced = (target,) if target else names

    def put(name: str, new: Tensor) -> Any:
        def hook(_module: nn.Module, _args: Any, out: Any) -> Any:
            x = (out[0] if isinstance(out, tuple) else out).clone()
            x[at] = new
            return (x, *out[1:]) if isinstance(out, tuple) else x

        return hook

    each = restored.unbind(1) if kind == "crosscoder" else (restored,)
    for name, new in zip(replaced, each, strict=True):
        host.get_submodule(name).register_forward_hook(put(name, new))
    for name in spec.layers:
        host.get_submodule(name).register_forward_hook(keep(name))
    logits = host(input_ids=ids).logits
    p, q = clean[at].log_softmax(1), logits[at].log_softmax(1)
    if spec.loss == "kl":
        loss = (p.exp() * (p - q)).sum() / len(p)
    else:
        follows = at[:, :-1]
        loss = cross_entropy(logits[:, :-1][follows], ids[:, 1:][follows])
    errors = [(values[name][at] - before[name][at]).square().sum(1).mean() for name in spec.layers]
    downstream = torch.stack(errors).mean() * spec.downstream if errors else 0.0
    target_rows = batch.x if batch.target is None else batch.target
    normalised = (model.normaliser if target is None else model.predict.normaliser)((restored - target_rows).flatten(1))
    zero = (model.normaliser if target is None else model.predict.normaliser)(torch.zeros_like(target_rows.flatten(1)))
    fidelity = (normalised - zero).square().sum(1).mean()
    return spec.weight * loss + downstream + spec.reconstruction * fidelity


@pytest.mark.parametrize("kind", SITES)
@pytest.mark.parametrize(
    "spec",
    [
        EndToEnd(),
        EndToEnd(loss="cross_entropy", weight=0.5, reconstruction=0.0),
        EndToEnd(weight=2.0, layers=("transformer.h.2", "transformer.ln_f"), downstream=0.3, reconstruction=0.1),
    ],
    ids=["kl", "cross-entropy alone", "downstream"],
)
def test_loss_and_gradients_are_those_of_a_direct_computation(home: Path, kind: str, spec: EndToEnd) -> None:
    names, target = SITES[kind]
    splits = source(home, hook_point=names, target=target, shuffle="spans", skip_first=1).load()
    ((_, batch),) = batches(splits.training, 22, 0, 2, 3)  # two spans and parts of others
    model = model_of(kind, spec).build(splits.shape, 0, splits.target_shape)
    model.initialise_(splits.train.x, splits.train.target)
    loss = model.loss(batch, 0, Stream(0, 0))
    params = [param for param in model.parameters() if param.requires_grad]
    own = torch.autograd.grad(loss.total, params, allow_unused=True)
    expected = directly(home, model, batch, kind, spec)
    torch.testing.assert_close(loss.total, expected, rtol=1e-5, atol=1e-6)
    theirs = torch.autograd.grad(expected, params, allow_unused=True)
    assert sum(bool(each.any()) for each in own if isinstance(each, Tensor)) >= 3
    pairs: list[tuple[Any, Any]] = list(zip(own, theirs, strict=True))
    for one, other in pairs:
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    assert set(loss.stats) >= {"kl", "cross_entropy"}


def test_the_gradient_is_the_slope(home: Path) -> None:
    splits = source(home, shuffle="spans").load()
    ((_, batch),) = batches(splits.training, 24, 0, 0, 1)
    model: Any = model_of("autoencoder", EndToEnd(reconstruction=0.0)).build(splits.shape, 0)
    atoms = model.decoder.atoms
    (slope,) = torch.autograd.grad(model.loss(batch, 0, Stream(0, 0)).total, atoms)
    direction = slope / slope.norm()
    values: list[float] = []
    for sign in (1, -1):
        with torch.no_grad():
            atoms.add_(sign * 0.02 * direction)
            values.append(float(model.loss(batch, 0, Stream(0, 0)).total))
            atoms.sub_(sign * 0.02 * direction)
    assert (values[0] - values[1]) / 0.04 == pytest.approx(float(slope.norm()), rel=0.03)


def test_host_weights_stay_and_batches_cover_every_row_once(home: Path) -> None:
    splits = source(home, shuffle="spans").load()
    host: Any = splits.stream.rows.host.network  # pyright: ignore
    before = {name: value.clone() for name, value in host.state_dict().items()}
    spec = model_of("autoencoder", EndToEnd(weight=5.0))
    fitted = sc.fit(spec, splits, epochs=3, batch_size=24, progress=False, figures=False, device="cpu")
    assert all(torch.equal(value, before[name]) for name, value in host.state_dict().items())
    kl = [record["kl"] for record in fitted.history if "kl" in record]
    assert kl[-1] < kl[0]
    places: list[tuple[int, ...]] = []
    steps = splits.training.n // 25
    for _, batch in batches(splits.training, 25, 0, 0, steps):
        ids = batch.host._batch
        group = ids.group[batch.host.span]
        places += list(zip(group.tolist(), batch.host.column.tolist(), strict=True))
    assert len(set(places)) == len(places) == 25 * steps


def test_without_a_host_it_is_refused(home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs the network that the samples are from"):
        sc.fit(model_of("autoencoder", EndToEnd()), torch.randn(200, 8), epochs=1, progress=False, device="cpu")
    with pytest.raises(ValueError, match="data 'host' with shuffle 'spans'"):
        sc.fit(model_of("autoencoder", EndToEnd()), source(home), epochs=1, progress=False, device="cpu")
    with pytest.raises(ValueError, match="layers is a, a; expected each once"):
        model_of("autoencoder", EndToEnd(layers=("a", "a")))
    assert (
        main(["train", "digits-topk", "--set", "model.terms.end_to_end=end_to_end", "--out", str(tmp_path / "run")])
        == 1
    )
    assert "choose data 'host'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run" / "config.json").exists()
