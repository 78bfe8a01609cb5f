"""Which parts of an autoencoder do not go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsecode.losses.revival import AuxK
from sparsecode.losses.sparsity import KL, L0
from sparsecode.losses.task import Classify
from sparsecode.nn.activations import Gated, JumpReLU, ReLU, Satlin, Sigmoid
from sparsecode.nn.affine import Affine, BiasedDictionary
from sparsecode.nn.encoders import LISTA

if TYPE_CHECKING:
    from sparsecode.models.amortised import Amortised

__all__ = ["problems"]


def problems(spec: Amortised) -> list[str]:
    """Each names the fields, what they are, and what to choose instead."""
    return [*_of_penalties(spec), *_of_encoders(spec), *_of_decoders(spec)]


def _of_penalties(spec: Amortised) -> list[str]:
    found: list[str] = []
    activation, penalty = spec.activation, spec.penalty
    if isinstance(penalty, L0) and not isinstance(activation, JumpReLU):
        found.append("penalty is 'l0', which has a derivative for 'jumprelu' alone; choose that, or 'l1'")
    if isinstance(penalty, KL) and not isinstance(activation, Sigmoid | Satlin):
        found.append("penalty is 'kl', which needs codes in [0, 1]; choose activation 'sigmoid' or 'satlin'")
    if isinstance(penalty, KL | L0) and spec.norm_weighted:
        found.append("norm_weighted is set, and penalties 'kl' and 'l0' do not know sizes; leave it out")
    if spec.target_l0 is not None and penalty is None:
        found.append("target_l0 is set, and there is no penalty whose weight it could move; choose a penalty")
    if spec.target_l0 is not None and isinstance(activation, Sigmoid) and not spec.target_l0.theta:
        found.append(
            "target_l0.theta is 0, and sigmoid codes are never 0; set theta to the level that counts as active"
        )
    return found


def _of_encoders(spec: Amortised) -> list[str]:
    found: list[str] = []
    activation = spec.activation
    if isinstance(activation, Gated) and not (isinstance(spec.encoder, Affine) and not spec.encoder.bias):
        found.append("activation is 'gated', which has biases of its own; choose encoder 'affine' with bias false")
    if isinstance(spec.encoder, LISTA) and (not isinstance(activation, ReLU) or not spec.encoder.positive):
        found.append("encoder is 'lista', whose codes are rectified already; choose positive and activation 'relu'")
    if not isinstance(spec.encoder, Affine) and spec.revival is not None:
        kind = type(spec.encoder).__name__.lower()
        found.append(f"encoder is {kind!r}, whose codes do not revive one by one; leave revival out")
    return found


def _of_decoders(spec: Amortised) -> list[str]:
    found: list[str] = []
    if spec.matryoshka is not None and spec.matryoshka.sizes[-1] >= spec.n_code:
        found.append(f"matryoshka.sizes ends at {spec.matryoshka.sizes[-1]}; expected below n_code, {spec.n_code}")
    linear = isinstance(spec.decoder, BiasedDictionary) and spec.decoder.output == "linear"
    if not linear and (isinstance(spec.revival, AuxK) or isinstance(spec.activation, Gated)):
        kind = spec.decoder.output if isinstance(spec.decoder, BiasedDictionary) else "perceptron"
        found.append(f"decoder.output is {kind!r}; 'auxk' and 'gated' need a linear one")
    what = ""
    if isinstance(spec.task, Classify):
        what = "task is 'classify'"
        if isinstance(spec.decoder, BiasedDictionary) and spec.decoder.output != "linear":
            found.append(f"task is 'classify' and decoder.output {spec.decoder.output!r}; logits need 'linear'")
    elif not isinstance(spec.decoder, BiasedDictionary):
        what = "decoder is 'perceptron'"
    if what:
        needs = {
            "revival": spec.revival is not None,
            "matryoshka": spec.matryoshka is not None,
            "norm_weighted": spec.norm_weighted,
            "activation 'gated'": isinstance(spec.activation, Gated),
            "encoder.centred": isinstance(spec.encoder, Affine) and spec.encoder.centred,
            "encoder.tied": isinstance(spec.encoder, Affine) and spec.encoder.tied,
            "encoder.start 'atoms'": isinstance(spec.encoder, Affine) and spec.encoder.start == "atoms",
        }
        found += [f"{what}, and {name} needs atoms in data space; leave it out" for name, set_ in needs.items() if set_]
    return found
