"""Transcoders and crosscoders: codes that map between two places of a network, or that are shared by several.

Their data here are activations of one layer at successive tokens, which are in the file that `MiniLM` reads. For those of two
layers, or before and after an MLP, let `sparsecode extract` write shards with two hook points, and give them in place of it:
`--set 'data={"type":"shards","path":"mlp","sites":["encoder.layer.2.attention"],"target":"encoder.layer.2.output.dense"}'`.
"""

from __future__ import annotations

from sparsecode import Evaluate, Run
from sparsecode.data import MiniLM
from sparsecode.losses import AuxK, Predict, Sparsity, TargetL0
from sparsecode.models import Amortised
from sparsecode.nn import Affine, BiasedDictionary, Centre, Free, ReLU, TopK
from sparsecode.penalties import L1
from sparsecode.schedules import Linear
from sparsecode.train import Adam, Clip, Group, Optim, Train

__all__ = ["acts_crosscoder", "acts_skip_transcoder", "acts_transcoder"]


def _run(data: MiniLM, model: Amortised, epochs: float, *more: str) -> Run:
    """`more`: groups of weights beside those of encoder and decoder."""
    adam = Adam(lr=Linear(start=1e-3, stop=0.0, length=0.3, delay=0.7, unit="fraction"), beta2=0.99)
    groups: dict[str, Group] = dict.fromkeys(("encoder", "decoder", *more), adam)
    return Run(
        data=data,
        model=model,
        optim=Optim(groups=groups, clip=Clip(norm=1.0)),
        train=Train(epochs=epochs, batch_size=256, select="last", evaluate_every=2, checkpoint_every=2),
        evaluate=Evaluate(sigmas=()),
        seed=0,
    )


def _transcoder(skip: bool) -> Run:
    model = Amortised(
        n_code=384,  # more, or longer training, overfit the 13 000 samples
        activation=TopK(k=16),
        terms=(AuxK(dead_after=50_000),),
        normaliser=Centre(),
        encoder=Affine(centred=False, start="uniform"),
        decoder=BiasedDictionary(bias="zero"),
        task=Predict(normaliser=Centre(), skip=skip),
    )
    return _run(MiniLM(window=2, predict=True), model, 10, *(("skip",) if skip else ()))


def acts_transcoder() -> Run:
    """A TopK transcoder: a layer's activations at the next token from those at a token, by 16 of 384 codes.

    Dunefsky, Chlenski & Nanda, "Transcoders find interpretable LLM feature circuits", NeurIPS 2024, whose targets are
    outputs of an MLP, and whose codes are held sparse by L1.
    """
    return _transcoder(skip=False)


def acts_skip_transcoder() -> Run:
    """`acts-transcoder` with a linear skip connection beside the codes.

    Paulo, Shabalin & Belrose, "Transcoders beat sparse autoencoders for interpretability", 2025.
    """
    return _transcoder(skip=True)


def acts_crosscoder() -> Run:
    """A crosscoder: activations at two successive tokens from 32 of 768 codes in common, L1 times the sum of decoder norms.

    Lindsey et al., "Sparse crosscoders for cross-layer features and model diffing", Transformer Circuits, October 2024, whose
    sites are layers, or models.
    """
    model = Amortised(
        n_code=768,
        activation=ReLU(),
        terms=(Sparsity(L1(positive=True), norm_weighted=True, target_l0=TargetL0(l0=32)),),
        normaliser=Centre(sites=True),
        encoder=Affine(centred=False),
        decoder=BiasedDictionary(constraint=Free(), bias="zero", sites=True),
    )
    return _run(MiniLM(window=2), model, 20)
