"""`Amortised`: an encoder computes the code; encoder and decoder learn together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.losses import Term
from sparsecode.losses.target_l0 import TargetL0Module
from sparsecode.losses.task import Classify, Predict, Reconstruct, Task
from sparsecode.losses.term import Forward, Terms
from sparsecode.losses.variance import squared_error
from sparsecode.models.after_training import calibrated_, warnings_of
from sparsecode.models.amortised_parts import Decoder, Encoder, encoder_of
from sparsecode.models.base import AbstractSparseModel, grouped
from sparsecode.models.compiled_step import CompiledSteps
from sparsecode.models.dense_step import dense_step
from sparsecode.models.earlier import renamed
from sparsecode.models.inputs import takes_samples
from sparsecode.models.needs import brought, problems
from sparsecode.models.sparse_start import ENTRIES, start_at_
from sparsecode.models.sparse_step import Arithmetic, Step, sparse_step, warn_of_dense_steps
from sparsecode.nn.activations import Activation
from sparsecode.nn.adversarial import PGD
from sparsecode.nn.affine import Affine, AffineModule, BiasedDictionary, BiasedDictionaryModule
from sparsecode.nn.corruptions import Corrupted, Corruption, Corruptor
from sparsecode.nn.normalisers import Identity, Normaliser
from sparsecode.nn.projection import Projection
from sparsecode.ops.low_precision import bf16_products
from sparsecode.ops.rng import Stream, generator
from sparsecode.records import Batch, Code, Loss
from sparsecode.specs import Spec

__all__ = ["Amortised", "AmortisedModel"]


class Amortised(Spec, tag="amortised"):
    """z = activation(encoder(corruption(x))), x and its reconstruction decode(z) in model space.

    Training loss, mean over the batch: |x - decode(z)|^2 (or what the `task` says), and what each of the `terms` adds: a
    sparsity penalty, say, or the error that dead codes could explain (sums over features and codes). Activations with a
    gate, or with a random draw, bring terms of their own. What a term needs of the other parts is checked.
    Sources: KL-sparse and denoising autoencoders (Ng 2011; Vincent et al., JMLR 2010); the sparse autoencoders of
    interpretability, each cited by its activation; networks trained with input noise (Bricken et al., ICML 2023).
    """

    n_code: Annotated[int, Meta(ge=1, description="number of codes")]
    activation: Activation
    terms: Annotated[tuple[Term, ...], Meta(description="terms of the loss besides the fidelity")] = ()
    corruption: Annotated[Corruption | PGD | None, Meta(description="of training inputs; targets stay clean")] = None
    normaliser: Normaliser = Identity()
    encoder: Encoder = Affine()
    decoder: Annotated[Decoder, Meta(description="with hidden layers, all but the first, which is the code")] = (
        BiasedDictionary()
    )
    task: Annotated[
        Task, Meta(description="what decode(z) predicts: the clean sample, its target, or the logits of its label")
    ] = Reconstruct()
    projection: Annotated[Projection | None, Meta(description="a linear map of the input")] = None
    arithmetic: Annotated[
        Arithmetic,
        Meta(description="of training on CPUs: dense codes, or sparse ones by products in float32 or faster numbers"),
    ] = "bf16"

    def __post_init__(self) -> None:
        super().__post_init__()
        for problem in problems(self):
            raise ValueError(f"Amortised: {problem}")

    @property
    def objective(self) -> str:
        """A description of `energy`; for models that classify, with the cross-entropy instead of the error."""
        added = [words for term in self.terms if (words := getattr(term, "objective", None))]
        space = "" if isinstance(self.task, Classify) else " in model space"
        return " + ".join([self.task.error_words, *dict.fromkeys(added)]) + space

    def build(self, shape: tuple[int, ...], seed: int, target: tuple[int, ...] | None = None) -> AmortisedModel:
        """A fresh model for samples of `shape`, with targets of shape `target`; weights are a function of the seed."""
        return AmortisedModel(self, shape, seed, target)


class AmortisedModel(AbstractSparseModel):
    """The model of an `Amortised` config."""

    def __init__(self, spec: Amortised, shape: tuple[int, ...], seed: int, target: tuple[int, ...] | None) -> None:
        super().__init__()
        self._spec = spec
        self.shape, out = shape, shape
        self.predict = None
        if isinstance(spec.task, Classify):
            self.n_classes = spec.task.n_classes
            out = (self.n_classes,)
        elif isinstance(spec.task, Predict):
            self.predict = spec.task.build(shape, target)
            self.target_shape = out = self.predict.shape
        self.normaliser = spec.normaliser.build(shape)
        self.decoder = spec.decoder.build(spec.n_code, out, generator(seed, "decoder"))
        self.n_sites = self._atoms.n_sites if self._atoms is not None else 1
        self.encoder = encoder_of(spec.encoder, spec.n_code, shape, generator(seed, "encoder"), self.dictionary)
        self.projection = spec.projection and spec.projection.build(shape, generator(seed, "projection"))
        self.activation = spec.activation.build(spec.n_code)
        self.terms = Terms(spec.terms, brought(spec), spec.n_code)
        self.corruption = None if spec.corruption is None else Corruptor(spec.corruption, shape)
        self._said = False  # that terms make the steps dense
        self.in_bf16 = False  # products of dense training steps
        self.compiled: CompiledSteps | None = None  # dense training steps by torch.compile

    @property
    def spec(self) -> Amortised:
        return self._spec

    @property
    def n_code(self) -> int:
        return self._spec.n_code

    @property
    def dictionary(self) -> BiasedDictionaryModule | None:
        """The decoder if it is a dictionary of samples, else None."""
        return self._atoms if self.reconstructs else None

    @property
    def _atoms(self) -> BiasedDictionaryModule | None:
        """The decoder if it is a dictionary of samples or targets, else None."""
        return self.decoder if isinstance(self.decoder, BiasedDictionaryModule) and not self.n_classes else None

    @property
    def control(self) -> TargetL0Module | None:
        """The controller of the first term with `target_l0`, else None."""
        controls = (getattr(term, "control", None) for term in self.terms.each())
        return next((control for control in controls if isinstance(control, TargetL0Module)), None)

    def normalise(self, x: Tensor) -> Tensor:
        return self.normaliser(x.flatten(1))

    def denormalise(self, x: Tensor) -> Tensor:
        return self.normaliser.undo(x).reshape(x.shape[0], *self.shape)  # len(x) would fix the size of exported graphs

    def output(self, x: Tensor, z: Tensor) -> Tensor:
        return self._restored(self._decode(z), None if self.predict is None else self._inputs(x))

    def _restored(self, out: Tensor, x: Tensor | None) -> Tensor:
        """Decoded values [B, f] in data space; x: the encoder's input, for models that predict."""
        return self.denormalise(out) if self.predict is None or x is None else self.predict.output(out, x)

    def _encode(self, x: Tensor) -> Tensor:
        return self.activation.infer(self.pre(self._inputs(x)))

    @takes_samples
    def pre_activations(self, x: Tensor) -> Tensor:
        """The pre-activations [B, n_code] of clean samples x [B, *F] in data space; the codes themselves for LISTA."""
        return self.pre(self._inputs(x))

    def _inputs(self, x: Tensor) -> Tensor:
        """The encoder's input [B, n_features] for clean samples x [B, *F] in data space."""
        rows = self.normalise(x)
        return rows if self.projection is None else self.projection(rows)

    def respond(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """decode(z) [B, n_out] of samples x [B, *F], differentiable with respect to x; `rng` adds the noise of the end of training."""
        rows = self._projected(self.normalise(x), before_noise=True)
        noisy = None if rng is None else self.corrupt(rows, rng)
        return self.answer(rows if noisy is None else noisy.x)

    def answer(self, x: Tensor) -> Tensor:
        """decode(z) [B, n_out] of inputs x [B, f] where noise is added to them, differentiable with respect to x."""
        return self.decoder.mean(self.activation.infer(self.pre(self._projected(x, before_noise=False))))

    def error(self, x: Tensor, batch: Batch) -> Tensor:
        """The task's error [B] of `answer(x)`, for the labels, targets or clean samples of a batch; differentiable in x."""
        return self._error(self.answer(x), self._projected(x, before_noise=False), batch)

    def _error(self, out: Tensor, x: Tensor, batch: Batch) -> Tensor:
        if isinstance(self.spec.task, Classify):
            return self.spec.task.error(out, batch.label)
        if self.predict is not None:
            return self.predict.error(out, x, batch.target)
        return squared_error(out, self.normalise(batch.x))

    def _decode(self, z: Tensor) -> Tensor:
        return self.decoder.mean(z)

    def corrupt(self, x: Tensor, rng: torch.Generator) -> Corrupted | None:
        return None if self.corruption is None else self.corruption(x, rng)

    @torch.no_grad()
    def energy(self, x: Tensor, z: Tensor) -> Tensor:
        """|x - decode(z)|^2 [B] in model space, plus what the terms add for single samples' codes.

        0 in place of the error for models that classify or predict: `objective` is what takes labels or targets.
        """
        energy = squared_error(self.decoder.mean(z), self.normalise(x)) if self.reconstructs else z.new_zeros(len(z))
        added = (term.energy(z, self.decoder) for term in self.terms.each())
        return sum((part for part in added if part is not None), energy)

    @torch.no_grad()
    def objective(self, batch: Batch, z: Tensor) -> Tensor:
        energy = self.energy(batch.x, z).double()
        return energy if self.reconstructs else energy + self._error(self.decoder.mean(z), self._inputs(batch.x), batch)

    def loss(self, batch: Batch, step: int, rng: Stream) -> Loss:
        forward = self._forward(batch, step, rng)
        with bf16_products(forward.x.device, self.in_bf16 and isinstance(forward.code, Code)):
            added, stats = self.terms.of(forward)
        if isinstance(self.spec.task, Classify) and batch.label is not None:
            stats = {"accuracy": self.spec.task.hits(forward.out, batch.label).mean(), **stats}
        parts = {"fidelity": forward.fidelity.mean(), **added}
        return Loss(torch.stack(list(parts.values())).sum(), parts, {"l0": forward.l0, **stats})

    def _forward(self, batch: Batch, step: int, rng: Stream) -> Forward:
        """Codes and reconstruction of a step, by sparse codes where the arithmetic and all terms allow them."""
        clean = self.normalise(batch.x)
        if self.corruption is not None and self.training:
            self.corruption.advance_(step)
        x = self._projected(clean, before_noise=True)
        corrupted = self.corruption and self.corruption(x, rng("corruption"), lambda x: self.error(x, batch))
        x = self._projected(x if corrupted is None else corrupted.x, before_noise=False)
        # the codes explain the target less the output of the skip connection
        target = clean if self.predict is None else self.predict.wanted(batch.target) - self.predict.linear(x)
        computed = None if self._atoms is None else self._sparse_step(self._atoms, x, target, step)
        if computed is None:
            dense = self.compiled if self.compiled is not None and self.training else dense_step
            with bf16_products(x.device, self.in_bf16):
                computed = dense(self, x, target, batch.label, step, rng)
        return Forward(
            *computed, x=x, target=target, encoder=self.encoder, activation=self.activation, decoder=self.decoder,
            step=step, rng=rng, training=self.training, restore=lambda out: self._restored(out, x), host=batch.host,
        )  # fmt: skip

    def initialise_(self, sample: Tensor, target: Tensor | None = None) -> None:
        self.normaliser.initialise_(sample.flatten(1))
        rows = self.normalise(sample)
        if self.corruption is not None:
            self.corruption.initialise_(rows)
        if self.predict is not None:
            if target is not None:
                self.predict.normaliser.initialise_(target.flatten(1))
            rows = self.predict.wanted(target)
        if self._atoms is not None:
            self._atoms.initialise_(rows)
        if self.control is not None and not self.control.spec.theta:
            pre = self.pre_activations(sample[: max(1, ENTRIES // self.n_code)])
            start_at_(self.control.spec.l0, self.encoder, self.activation, pre)

    def calibrate_(self, x: Tensor) -> float | None:
        return calibrated_(self.activation, self.terms, self._in_blocks(x), len(x))

    def warnings(self, x: Tensor) -> list[str]:
        return warnings_of(self.activation, self.terms, lambda: self._in_blocks(x))

    def _in_blocks(self, x: Tensor) -> Iterator[Tensor]:
        """Pre-activations of x, in bounded memory."""
        return map(self.pre_activations, x.split(max(1, ENTRIES // self.n_code)))

    def renamed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return renamed(tensors, list(self.state_dict()))

    def project_grads_(self) -> None:
        if isinstance(self.decoder, BiasedDictionaryModule):
            self.decoder.project_grads_()

    @torch.no_grad()
    def constrain_(self) -> None:
        for term in self.terms.each():
            term.after_step_(self.encoder, self.activation, self.decoder)
        if isinstance(self.decoder, BiasedDictionaryModule):
            self.decoder.constrain_()
        self.encoder.constrain_()
        self.activation.constrain_()

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return grouped({
            "encoder": self.encoder, "activation": self.activation, "decoder": self.decoder,
            "projection": self.projection, "skip": self.predict, "terms": self.terms,
        })  # fmt: skip

    def _projected(self, x: Tensor, before_noise: bool) -> Tensor:
        settings = self.spec.projection
        if settings is None or self.projection is None or settings.before_noise != before_noise:
            return x
        return self.projection(x)

    def _sparse_step(self, dictionary: BiasedDictionaryModule, x: Tensor, target: Tensor, step: int) -> Step | None:
        encoder, arithmetic = self.encoder, self.spec.arithmetic
        if not self._said and self.training:
            self._said = True
            warn_of_dense_steps(encoder, self.activation, dictionary, self.terms, x, arithmetic)
        return sparse_step(
            encoder, self.activation, dictionary, self.terms,
            encoder.prepared(x, self.decoder) if isinstance(encoder, AffineModule) else x, target, step,
            training=self.training, arithmetic=arithmetic,
        )  # fmt: skip

    def pre(self, x: Tensor) -> Tensor:
        """The pre-activations [B, n_code] of the encoder's input x [B, n]."""
        return self.encoder(x, self.decoder) if isinstance(self.encoder, AffineModule) else self.encoder(x)
