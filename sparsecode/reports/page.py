"""Interactive page of a variational model: a slider per used code, decoding in the browser, no network."""

from __future__ import annotations

import json
from base64 import b64encode
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sparsecode.files import printable
from sparsecode.models.variational import VariationalModel
from sparsecode.nn.convnet import ConvDecoder
from sparsecode.nn.likelihoods import ContinuousBernoulli, Normal
from sparsecode.nn.normalisers import WhitenModule
from sparsecode.nn.perceptron import PerceptronModule
from sparsecode.reports.codes import Subject

__all__ = ["PLAYER", "Bits", "inside_script", "interactive_page", "n_weights", "page_data", "text_of"]

DRAWN = 60  # from the prior; after the last the first comes again
CHECKED = 4  # samples, and draws of the prior, whose decodings the page compares with the model's
SLIDERS = 40
Bits = Literal[16, 8]

PLAYER = ("decoder.js", "player.js")  # scripts, in order

Json = dict[str, Any]


def interactive_page(subject: Subject, seed: int, bits: Bits = 16) -> str:
    """An HTML page that holds the decoder, its weights as integers of 16 or 8 bits with a scale for each row, and samples to start from.

    It compares itself with the model: the largest difference of its decodings of codes given with it, as a share of the
    data range, is `data-difference` of its root element, and said at its foot.
    """
    parts = {
        "style": text_of("player.css"),
        "player": text_of("player.html"),
        "script": "\n".join(text_of(name) for name in PLAYER),
        "data": inside_script(page_data(subject, seed, bits)),
    }
    page = text_of("play.html")
    for name, part in parts.items():
        page = page.replace(f"{{{{{name}}}}}", part)
    return page


def page_data(subject: Subject, seed: int, bits: Bits = 16) -> Json:
    """What the scripts of such a page are given: the decoder's weights, samples and their codes, draws of the prior."""
    model = subject.model
    prior = subject.prior_codes(DRAWN, seed)
    probes = torch.cat([subject.z[:CHECKED], prior[:CHECKED]])
    return {
        "title": printable(subject.name),
        "shape": [model.shape[0] if len(model.shape) == 3 else 1, *model.shape[-2:]],
        "span": subject.span,
        "n_code": model.spec.n_code,
        "rows": subject.rows,
        "samples": _floats(subject.x.flatten(1)),
        "codes": _floats(subject.z),
        "prior": _floats(prior),
        "probes": _floats(probes),
        "expected": _floats(torch.from_numpy(subject.decoded(probes)).flatten(1)),
        "used": len(subject.used()),
        "sliders": subject.used()[:SLIDERS],
        "layers": _layers(model, bits),
        "bits": bits,
        "weights": n_weights(model),
        "mean": _mean(model),
        **_back_to_data_space(model, bits),
    }


def text_of(name: str) -> str:
    """A file of this room: markup, style or script."""
    return files("sparsecode.reports").joinpath(name).read_text(encoding="utf-8")


def n_weights(model: VariationalModel) -> int:
    """The number of weights that a page holds as integers."""
    undo = model.normaliser.inverse.numel() if isinstance(model.normaliser, WhitenModule) else 0
    return undo + sum(parameter.numel() for parameter in model.decoder.parameters() if parameter.ndim > 1)


def inside_script(data: Json) -> str:
    """JSON in ASCII without `<`, `>` and `&`: nothing in it begins or ends an element, a comment or an entity."""
    text = json.dumps(data, separators=(",", ":"))
    return text.translate({ord(character): f"\\u{ord(character):04x}" for character in "<>&"})


def _layers(model: VariationalModel, bits: Bits) -> list[Json]:
    """The layers of the decoder, in order."""
    decoder = model.decoder
    if isinstance(decoder, PerceptronModule):
        return _affine_maps(decoder, bits)
    assert isinstance(decoder, ConvDecoder)
    top = _affine_maps(decoder.top, bits)
    top[-1]["activation"] = "relu"
    side = decoder.maps[1]
    blocks: list[Json] = []
    for kernel, offset in zip(decoder.kernels, decoder.offsets, strict=True):
        last = len(blocks) == len(decoder.kernels) - 1
        blocks.append(
            {
                "kind": "transposed",
                "maps": list(kernel.shape[:2]),
                "side": side,
                "weight": _integers(kernel.flatten(1), bits),
                "bias": _floats(offset),
                "activation": "linear" if last else "relu",
            }
        )
        side *= 2
    return [*top, *blocks]


def _affine_maps(net: PerceptronModule, bits: Bits) -> list[Json]:
    last = len(net.weights) - 1
    return [
        {
            "kind": "affine",
            "weight": _integers(weight, bits),
            "bias": _floats(bias),
            "activation": net.spec.activation if i < last else "linear",
        }
        for i, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True))
    ]


def _mean(model: VariationalModel) -> str:
    likelihood = model.spec.likelihood
    if isinstance(likelihood, ContinuousBernoulli):
        return "continuous"
    return "linear" if isinstance(likelihood, Normal) and likelihood.output == "linear" else "sigmoid"


def _back_to_data_space(model: VariationalModel, bits: Bits) -> Json:
    """The normaliser's inverse: an affine map, or a scale and a shift for each feature."""
    leaf = model.normaliser
    if isinstance(leaf, WhitenModule):
        return {
            "undo": {
                "kind": "affine",
                "weight": _integers(leaf.inverse.T, bits),
                "bias": _floats(leaf.shift),
                "activation": "linear",
            }
        }
    return {"scale": _floats(leaf.scale), "shift": _floats(leaf.shift)}


def _floats(values: Tensor) -> str:
    return b64encode(values.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes()).decode()


def _integers(rows: Tensor, bits: Bits) -> Json:
    """weight[i, j] ~ scale[i] integer[i, j], off by at most half a scale: 1 / 65 534 of the row's largest weight, or 1 / 254."""
    values = rows.detach().cpu().double().numpy()
    scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / (2 ** (bits - 1) - 1)
    integers = np.rint(values / scale).astype(f"<i{bits // 8}")
    return {"integers": b64encode(integers.tobytes()).decode(), "scale": _floats(torch.from_numpy(scale))}
