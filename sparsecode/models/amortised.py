"""`Amortised`: an encoder computes the code; encoder and decoder learn together."""

from __future__ import annotations

from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.losses.control import TargetL0
from sparsecode.losses.matryoshka import Matryoshka
from sparsecode.losses.revival import AuxK, Revival, RevivalModule, auxiliary_error, depth, directions
from sparsecode.losses.sparsity import KL, L0, Sparsity, build_sparsity
from sparsecode.losses.task import Classify, Reconstruct, Task
from sparsecode.losses.variance import squared_error
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.dense_step import dense_step, weighed
from sparsecode.models.inputs import takes_samples
from sparsecode.models.pairings import problems
from sparsecode.models.sparse_step import Arithmetic, Step, sparse_step
from sparsecode.nn.activations import Activation, BatchTopK, JumpReLUModule
from sparsecode.nn.affine import Affine, AffineModule, BiasedDictionary, BiasedDictionaryModule
from sparsecode.nn.corruptions import Corrupted, Corruption, Corruptor
from sparsecode.nn.encoders import LISTA
from sparsecode.nn.normalisers import Identity, Normaliser
from sparsecode.nn.perceptron import Perceptron
from sparsecode.nn.projection import Projection
from sparsecode.nn.trunks import ConvMixer, ResNet50
from sparsecode.ops.collective import mean_over_ranks
from sparsecode.ops.streams import Stream, generator
from sparsecode.schedules import PositiveSchedule, at
from sparsecode.specs import Spec
from sparsecode.types import Batch, Code, Loss

__all__ = ["Amortised", "AmortisedModel"]

SATURATED = 0.01  # of the active codes, near enough to their threshold for a derivative


class Amortised(Spec, tag="amortised"):
    """z = activation(encoder(corruption(x))), x and its reconstruction decode(z) in model space.

    Training loss, mean over the batch: |x - decode(z)|^2 (or what the `task` says) + weight * penalty(z), summed over
    features and codes, and what `revival` and `Gated` add. A penalty may see z_j times the norm of atom j (`norm_weighted`), so that small codes
    with long atoms do not escape it; `target_l0` moves the weight until that many codes are active. Codes of data not seen
    in training have other counts: thresholds (of `batch_topk`, and of `jumprelu` and `gated` under a target) are therefore moved
    at the end, together, until validation samples have the wanted one, unless `calibrate` is off.
    Sources: KL-sparse and denoising autoencoders (Ng 2011; Vincent et al., JMLR 2010); the sparse autoencoders of
    interpretability, each cited by its activation; networks trained with input noise (Bricken et al., ICML 2023).
    """

    n_code: Annotated[int, Meta(ge=1, description="number of codes")]
    activation: Activation
    penalty: Sparsity | None = None
    weight: Annotated[PositiveSchedule, Meta(description="penalty weight beside |.|^2")] = 1.0
    norm_weighted: Annotated[bool, Meta(description="penalise z_j |atom_j|")] = False
    target_l0: TargetL0 | None = None
    revival: Revival | None = None
    matryoshka: Matryoshka | None = None
    corruption: Annotated[Corruption | None, Meta(description="of training inputs; targets stay clean")] = None
    calibrate: Annotated[
        bool, Meta(description="after training, move thresholds so that validation samples have the wanted L0")
    ] = True
    normaliser: Normaliser = Identity()
    encoder: Affine | LISTA | ConvMixer | ResNet50 = Affine()
    decoder: Annotated[
        BiasedDictionary | Perceptron, Meta(description="with hidden layers, all but the first, which is the code")
    ] = BiasedDictionary()
    task: Annotated[
        Task, Meta(description="what decode(z) is to give: the clean sample, or the logits of its label")
    ] = Reconstruct()
    projection: Annotated[Projection | None, Meta(description="a linear map of the input")] = None
    arithmetic: Annotated[
        Arithmetic,
        Meta(description="of training on CPUs: dense codes, or sparse ones found by float32 or bfloat16 products"),
    ] = "bf16"

    def __post_init__(self) -> None:
        super().__post_init__()
        for problem in problems(self):
            raise ValueError(f"Amortised: {problem}")

    @property
    def objective(self) -> str:
        """What `energy` is, in words; of models that classify, with the cross-entropy in place of the error."""
        weighed = "" if self.penalty is None or isinstance(self.penalty, KL) else " + weight * penalty(z)"
        if isinstance(self.task, Classify):
            return f"cross-entropy in nats{weighed}"
        return f"|x - decode(z)|^2{weighed} in model space"

    def build(self, shape: tuple[int, ...], seed: int) -> AmortisedModel:
        """A fresh model for samples of `shape`; weights are a function of the seed."""
        return AmortisedModel(self, shape, seed)


class AmortisedModel(AbstractSparseModel):
    """The weights of an `Amortised`."""

    def __init__(self, spec: Amortised, shape: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self._spec = spec
        self.shape = shape
        if isinstance(spec.task, Classify):
            self.n_classes = spec.task.n_classes
        self.normaliser = spec.normaliser.build(shape)
        self.decoder = spec.decoder.build(
            spec.n_code, (self.n_classes,) if self.n_classes else shape, generator(seed, "decoder")
        )
        rng = generator(seed, "encoder")
        self.encoder = (
            spec.encoder.build(spec.n_code, shape, rng, self.dictionary)
            if isinstance(spec.encoder, Affine)
            else spec.encoder.build(spec.n_code, shape, rng)
        )
        self.projection = spec.projection and spec.projection.build(shape, generator(seed, "projection"))
        self.activation = spec.activation.build(spec.n_code)
        self.penalty = None if spec.penalty is None else build_sparsity(spec.penalty, spec.n_code)
        self.control = spec.target_l0 and spec.target_l0.build()
        self.revival = None if spec.revival is None else RevivalModule(spec.revival, spec.n_code)
        self.corruption = spec.corruption and Corruptor(spec.corruption, shape)
        self.register_buffer("weight", torch.tensor(at(spec.weight, 0), dtype=torch.float64))
        self.weight: Tensor
        self._renewed: tuple[Tensor, Tensor] | None = None  # dead codes and their new atoms, until the step is done

    @property
    def spec(self) -> Amortised:
        return self._spec

    @property
    def n_code(self) -> int:
        return self._spec.n_code

    @property
    def dictionary(self) -> BiasedDictionaryModule | None:
        """The decoder, where it is a dictionary of data."""
        return self.decoder if isinstance(self.decoder, BiasedDictionaryModule) and not self.n_classes else None

    @property
    def _atoms(self) -> Tensor:
        """Only for what `pairings` allows with a dictionary alone."""
        assert isinstance(self.decoder, BiasedDictionaryModule)
        return self.decoder.atoms

    def normalise(self, x: Tensor) -> Tensor:
        return self.normaliser(x.flatten(1))

    def denormalise(self, x: Tensor) -> Tensor:
        return self.normaliser.undo(x).reshape(len(x), *self.shape)

    def _encode(self, x: Tensor) -> Tensor:
        return self.activation.infer(self._pre_activations(x))

    @takes_samples
    def pre_activations(self, x: Tensor) -> Tensor:
        """What the activation gets [B, n_code] for clean samples x [B, *F] in data space. (LISTA's are codes already.)"""
        return self._pre_activations(x)

    def _pre_activations(self, x: Tensor) -> Tensor:
        rows = self.normalise(x)
        return self._pre(rows if self.projection is None else self.projection(rows))

    def respond(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """decode(z) [B, n_out] of samples x [B, *F], differentiable by x; with the noise of training's end if there is an rng."""
        rows = self._projected(self.normalise(x), before_noise=True)
        noisy = None if rng is None else self.corrupt(rows, rng)
        rows = self._projected(rows if noisy is None else noisy.x, before_noise=False)
        return self.decoder.mean(self.activation.infer(self._pre(rows)))

    def _decode(self, z: Tensor) -> Tensor:
        return self.decoder.mean(z)

    def corrupt(self, x: Tensor, rng: torch.Generator) -> Corrupted | None:
        return None if self.corruption is None else self.corruption(x, rng)

    @torch.no_grad()
    def energy(self, x: Tensor, z: Tensor) -> Tensor:
        """|x - decode(z)|^2 [B] in model space, plus weight * penalty(z) where the penalty is of single samples' codes.

        0 in place of the error for models that classify: it would take labels.
        """
        error = z.new_zeros(len(z)) if self.n_classes else squared_error(self.decoder.mean(z), self.normalise(x))
        if self.penalty is None or isinstance(self.spec.penalty, KL):
            return error
        code = Code(weighed(z, self.decoder) if self.spec.norm_weighted else z, active=(z != 0).to(z.dtype))
        return error + float(self.weight) * self.penalty(code, moving=False)

    def loss(self, batch: Batch, step: int, rng: Stream) -> Loss:
        moving = self.training
        target = self.normalise(batch.x)
        if self.corruption is not None and moving:
            self.corruption.advance_(step)
        x = self._projected(target, before_noise=True)
        corrupted = self.corrupt(x, rng("corruption"))
        x = self._projected(x if corrupted is None else corrupted.x, before_noise=False)
        plain = self.dictionary is None or self.spec.matryoshka is not None
        taken = None if plain else self._sparse_step(x, step, moving)
        if taken is None:
            taken = dense_step(
                self._pre(x),
                self.activation,
                self.decoder,
                self.penalty,
                target,
                batch.label,
                step,
                rng,
                moving=moving,
                task=self.spec.task,
                matryoshka=self.spec.matryoshka,
                norm_weighted=self.spec.norm_weighted,
                theta=self._theta,
            )
        out, fired = taken.out, taken.fired
        parts = {"fidelity": (squared_error(out, target) if taken.fidelity is None else taken.fidelity).mean()}
        if taken.gate_fidelity is not None:
            parts["gate_fidelity"] = taken.gate_fidelity.mean()
        if taken.penalty is not None:
            factor = 1.0 if self.control is None else self.control.factor
            weight = at(self.spec.weight, step) * factor
            if moving:
                self.weight.fill_(weight)
            parts["penalty"] = weight * taken.penalty
        if taken.surrogate is not None:
            parts["reinforce"] = taken.surrogate
        stats = {"l0": taken.l0}
        if isinstance(self.spec.task, Classify) and batch.label is not None:
            stats["accuracy"] = self.spec.task.hits(out, batch.label).mean()
        if self.revival is not None:
            parts |= self._revive(x, target, out, step, rng)
            if moving:
                self.revival.observe_(fired, len(x))
            stats["dead"] = self.revival.dead.double().sum()
        if self.control is not None:
            stats["weight"] = self.weight.clone()
            if moving:
                self.control.move_(float(mean_over_ranks(stats["l0"])))
        return Loss(torch.stack(list(parts.values())).sum(), parts, stats)

    def initialise_(self, sample: Tensor, target: Tensor | None = None) -> None:  # noqa: ARG002 - the contract
        self.normaliser.initialise_(sample.flatten(1))
        rows = self.normalise(sample)
        if self.corruption is not None:
            self.corruption.initialise_(rows)
        if self.dictionary is not None:
            self.dictionary.initialise_(rows)

    @torch.no_grad()
    def calibrate_(self, x: Tensor) -> float | None:
        wanted = None if self.control is None else self.control.spec.l0
        if isinstance(self.spec.activation, BatchTopK) and isinstance(self.spec.activation.k, float):
            wanted = self.spec.activation.k
        if not self.spec.calibrate or wanted is None or not self.activation.calibrate_(self.pre_activations(x), wanted):
            return None
        return wanted

    @torch.no_grad()
    def warnings(self, x: Tensor) -> list[str]:
        z = self.encode(x)
        found = [] if self.control is None else self.control.warnings(z)
        if isinstance(self.activation, JumpReLUModule) and isinstance(self.spec.penalty, L0):
            near = self.activation.near(self.pre_activations(x))
            if near < SATURATED * max(float((z != 0).sum(dim=1).double().mean()), 1.0):
                found.append(
                    f"the weight of 'l0' is saturated: {near:.2g} codes per sample are within activation.bandwidth of their "
                    "threshold, so that it moves nothing; widen the bandwidth"
                )
        return found

    def project_grads_(self) -> None:
        if isinstance(self.decoder, BiasedDictionaryModule):
            self.decoder.project_grads_()

    @torch.no_grad()
    def constrain_(self) -> None:
        if self._renewed is not None and self.revival is not None and isinstance(self.encoder, AffineModule):
            rows, atoms = self._renewed
            self._atoms[rows] = atoms
            self.encoder.renew_(rows, atoms, self.revival.spec.scale)  # pyright: ignore - a Resample, or nothing is renewed
            self.activation.revive_(rows)
            self.revival.silent[rows] = 0
            self._renewed = None
        if isinstance(self.decoder, BiasedDictionaryModule):
            self.decoder.constrain_()
        self.encoder.constrain_()
        self.activation.constrain_()

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        parts = {
            "encoder": self.encoder,
            "activation": self.activation,
            "decoder": self.decoder,
            "projection": self.projection,
        }
        groups = {part: {} if leaf is None else leaf.param_groups() for part, leaf in parts.items()}
        return {f"{part}.{name}": params for part, leaf in groups.items() for name, params in leaf.items()}

    @property
    def _theta(self) -> float:
        return 0.0 if self.control is None else self.control.spec.theta

    def _projected(self, x: Tensor, before_noise: bool) -> Tensor:
        how = self.spec.projection
        return x if how is None or self.projection is None or how.before_noise != before_noise else self.projection(x)

    def _sparse_step(self, x: Tensor, step: int, moving: bool) -> Step | None:
        assert self.dictionary is not None
        return sparse_step(
            self.encoder,
            self.activation,
            self.dictionary,
            self.penalty,
            self.encoder.prepared(x, self.decoder) if isinstance(self.encoder, AffineModule) else x,
            step,
            moving=moving,
            arithmetic=self.spec.arithmetic,
            norm_weighted=self.spec.norm_weighted,
            theta=self._theta,
        )

    def _pre(self, x: Tensor) -> Tensor:
        return self.encoder(x, self.decoder) if isinstance(self.encoder, AffineModule) else self.encoder(x)

    def _revive(self, x: Tensor, target: Tensor, out: Tensor, step: int, rng: Stream) -> dict[str, Tensor]:
        revival = self.revival
        assert revival is not None
        assert isinstance(self.encoder, AffineModule)
        dead = revival.dead.nonzero()[:, 0]
        how = revival.spec
        if isinstance(how, AuxK) and not len(dead):
            return {"auxk": out.new_zeros(())}
        error = (target - out).detach()
        if isinstance(how, AuxK):
            pre = self.activation.drive(self.encoder.some(x, self.decoder, dead), dead)
            k = how.k or max(1, target.shape[1] // 2)
            explained = auxiliary_error(error, pre, self._atoms[dead], k).mean()
            raised = depth(pre) * torch.linalg.vector_norm(error, dim=1).mean()
            return {"auxk": how.weight * (explained + raised)}
        if self.training and step % how.every == how.every - 1 and len(dead):
            self._renewed = dead, directions(error, dead, rng("resample"))
        return {}
