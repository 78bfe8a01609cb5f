"""The encoders and decoders of `Amortised`: those that JSON and the command line know, and the protocols of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsecode.leaves import opened
from sparsecode.nn.affine import Affine, BiasedDictionary
from sparsecode.nn.decoders import DecoderLike
from sparsecode.nn.encoders import LISTA, EncoderLike
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.trunks import ConvMixer, ResNet50

__all__ = ["Decoder", "Encoder"]

KnownEncoder = Affine | LISTA | ConvMixer | ResNet50
KnownDecoder = BiasedDictionary | Perceptron
if TYPE_CHECKING:
    Encoder = KnownEncoder | EncoderLike
    Decoder = KnownDecoder | DecoderLike
else:
    Encoder = opened(KnownEncoder, EncoderLike)
    Decoder = opened(KnownDecoder, DecoderLike)
