"""Our files in the real packages: loaded by them, their codes and outputs are those of the source. `make test-interop`."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from interop.cases import READABLE, expected
from safetensors.torch import load_file, save_file

from sparsecode.interop import CannotExpressError, from_model, read, write
from sparsecode.losses import Predict
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.nn import activations
from sparsecode.nn.affine import Affine
from sparsecode.nn.normalisers import Centre, Standardise, Whiten

SCRIPT = Path(__file__).parent / "peers" / "run.py"
PEERS = os.environ.get("SPARSECODE_PEERS")
WRITTEN = ("saelens", "dictionary_learning", "sparsify", "openai")
TOLERANCE = 1e-5  # of the largest value, in float32
pytestmark = pytest.mark.slow


def shaken(model: AmortisedModel, rng: torch.Generator) -> AmortisedModel:
    """The model with weights like trained ones."""
    with torch.no_grad():
        for value in model.parameters():
            value += 0.2 * torch.randn(value.shape, generator=rng)
        if isinstance(model.activation, activations.BatchTopKModule):
            model.activation.threshold.fill_(0.7)
    return model.eval()


def models() -> dict[str, AmortisedModel]:
    """Models of ours of every kind and normaliser, and transcoders."""
    rng = torch.Generator().manual_seed(5)
    mixing = torch.randn(12, 12, generator=rng)
    sample = 1.5 + torch.randn(500, 12, generator=rng) @ mixing
    result: dict[str, AmortisedModel] = {}
    kinds = (
        activations.ReLU(),
        activations.TopK(4),
        activations.BatchTopK(4),
        activations.JumpReLU(),
        activations.Gated(),
    )
    for kind in kinds:
        for normaliser in (Standardise(), Centre(), Whiten()):
            encoder = Affine(bias=not isinstance(kind, activations.Gated))
            model = Amortised(n_code=32, activation=kind, normaliser=normaliser, encoder=encoder).build((12,), seed=0)
            model.initialise_(sample)
            result[f"sparsecode-{type(kind).__name__}-{type(normaliser).__name__}"] = shaken(model, rng)
    for kind in (activations.ReLU(), activations.TopK(4), activations.JumpReLU()):
        for skip in (False, True):
            task = Predict(normaliser=Standardise(), skip=skip)
            encoder = Affine(centred=False, start="uniform")
            spec = Amortised(n_code=32, activation=kind, normaliser=Standardise(), encoder=encoder, task=task)
            model = spec.build((12,), seed=0, target=(12,))
            model.initialise_(sample, 2 - sample @ mixing)
            result[f"transcoder-{type(kind).__name__}-{'skip' if skip else 'plain'}"] = shaken(model, rng)
    return result


@pytest.mark.skipif(
    PEERS is None, reason="SPARSECODE_PEERS names no python with the real packages; run make test-interop"
)
def test_real_packages_compute_what_the_source_computes(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    sources = {str(case).replace("/", "-"): (read(case.path), expected(case).x) for case in READABLE}
    rng = torch.Generator().manual_seed(6)
    ours = models()
    sources |= {name: (from_model(model), 3 * torch.randn(64, 12, generator=rng)) for name, model in ours.items()}
    lines: list[str] = []
    written: set[tuple[str, str]] = set()
    for source, (sae, x) in sources.items():
        save_file({"x": x}, tmp_path / f"{source}.inputs")
        for to in WRITTEN:
            out = tmp_path / to / (f"{source}.pt" if to == "openai" else source)
            try:
                write(sae, out, to)
            except CannotExpressError:
                continue
            written.add((source, to))
            lines.append(
                "\t".join([to, str(out), str(tmp_path / f"{source}.inputs"), str(tmp_path / f"{to}-{source}.out")])
            )
    assert len(lines) > 150
    for skip in ("plain", "skip"):
        transcoders = {f"transcoder-{kind}-{skip}": kind for kind in ("ReLU", "TopK", "JumpReLU")}
        places = {(name, "sparsify" if kind == "TopK" else "saelens") for name, kind in transcoders.items()}
        assert {(name, to) for name, to in written if name in transcoders} == places
    done = subprocess.run(
        [str(PEERS), "-B", str(SCRIPT)],
        input="\n".join(lines), capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    worst: dict[str, tuple[float, float]] = {}
    wrong: list[str] = []
    for line in lines:
        to, out = line.split("\t")[:2]
        source = Path(out).name.removesuffix(".pt")
        sae, x = sources[source]
        theirs = load_file(tmp_path / f"{to}-{source}.out")
        outputs = ours[source].reconstruct(x).detach() if source in ours else sae.reconstruct(x)
        pairs = (theirs["codes"], sae.encode(x)), (theirs["outputs"], outputs)
        result = tuple(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
        if max(result) > TOLERANCE:
            wrong.append(f"{source} to {to}: codes {result[0]:.1e}, outputs {result[1]:.1e}")
        key = f"{type(sae.activation).__name__} to {to}"
        old = worst.get(key, (0.0, 0.0))
        worst[key] = max(old[0], result[0]), max(old[1], result[1])
    record_testsuite_property(
        "largest relative differences", {key: f"{a:.1e} {b:.1e}" for key, (a, b) in sorted(worst.items())}
    )
    assert not wrong, "\n".join(wrong)
