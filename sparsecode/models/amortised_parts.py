"""The encoders and decoders of `Amortised`: those that JSON and the command line know, and the protocols of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sparsecode.leaves import opened
from sparsecode.nn.affine import Affine, AffineModule, BiasedDictionary, BiasedDictionaryModule
from sparsecode.nn.decoders import DecoderLike
from sparsecode.nn.encoders import LISTA, EncoderLike, EncoderModule
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.trunks import ConvMixer, ResNet50, TrunkModule

__all__ = ["Decoder", "Encoder", "encoder_of"]

KnownEncoder = Affine | LISTA | ConvMixer | ResNet50
KnownDecoder = BiasedDictionary | Perceptron
if TYPE_CHECKING:
    Encoder = KnownEncoder | EncoderLike
    Decoder = KnownDecoder | DecoderLike
else:
    Encoder = opened(KnownEncoder, EncoderLike)
    Decoder = opened(KnownDecoder, DecoderLike)


def encoder_of(
    spec: Encoder, n_code: int, shape: tuple[int, ...], rng: torch.Generator, dictionary: BiasedDictionaryModule | None
) -> AffineModule | EncoderModule | TrunkModule:
    """The module of an encoder; an affine one may share weights with the dictionary or start from it."""
    if isinstance(spec, Affine):
        return spec.build(n_code, shape, rng, dictionary)
    return spec.build(n_code, shape, rng)
