"""`Amortised`: an encoder computes the code; encoder and decoder learn together."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sparsecode.losses.control import TargetL0
from sparsecode.losses.matryoshka import Matryoshka
from sparsecode.losses.revival import AuxK, Revival, RevivalModule, auxiliary_error, depth, directions
from sparsecode.losses.sparsity import KL, L0, Sparsity, build_sparsity
from sparsecode.losses.variance import squared_error
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.sparse_step import Arithmetic, Step, sparse_step
from sparsecode.nn.activations import Activation, BatchTopK, Gated, JumpReLU, JumpReLUModule, ReLU, Satlin, Sigmoid
from sparsecode.nn.affine import Affine, AffineModule, BiasedDictionary
from sparsecode.nn.corruptions import Corrupted, Corruption, Span
from sparsecode.nn.encoders import LISTA, LISTAModule
from sparsecode.nn.normalisers import Identity, Normaliser
from sparsecode.ops.collective import mean_over_ranks
from sparsecode.ops.streams import Stream, generator
from sparsecode.schedules import PositiveSchedule, at
from sparsecode.specs import Spec
from sparsecode.types import Batch, Code, Loss

__all__ = ["Amortised", "AmortisedModel"]

SATURATED = 0.01  # of the active codes, near enough to their threshold for a derivative


class Amortised(Spec, tag="amortised"):
    """z = activation(encoder(corruption(x))), x and its reconstruction decode(z) in model space.

    Training loss, mean over the batch: |x - decode(z)|^2 + weight * penalty(z), summed over features and codes, and
    what `revival` and `Gated` add. A penalty may see z_j times the norm of atom j (`norm_weighted`), so that small codes
    with long atoms do not escape it; `target_l0` moves the weight until that many codes are active. Codes of data not seen
    in training have other counts: thresholds (of `batch_topk`, and of `jumprelu` and `gated` under a target) are therefore moved
    at the end, together, until validation samples have the wanted one, unless `calibrate` is off.
    Sources: KL-sparse and denoising autoencoders (Ng 2011; Vincent et al., JMLR 2010); the sparse autoencoders of
    interpretability, each cited by its activation.
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
    encoder: Affine | LISTA = Affine()
    decoder: BiasedDictionary = BiasedDictionary()
    arithmetic: Annotated[
        Arithmetic,
        Meta(description="of training on CPUs: dense codes, or sparse ones found by float32 or bfloat16 products"),
    ] = "bf16"

    def __post_init__(self) -> None:
        super().__post_init__()
        for problem in self._problems():
            raise ValueError(f"Amortised: {problem}")

    def _problems(self) -> list[str]:
        found: list[str] = []
        activation, penalty = self.activation, self.penalty
        if isinstance(penalty, L0) and not isinstance(activation, JumpReLU):
            found.append("penalty is 'l0', which has a derivative for 'jumprelu' alone; choose that, or 'l1'")
        if isinstance(penalty, KL) and not isinstance(activation, Sigmoid | Satlin):
            found.append("penalty is 'kl', which needs codes in [0, 1]; choose activation 'sigmoid' or 'satlin'")
        if isinstance(penalty, KL | L0) and self.norm_weighted:
            found.append("norm_weighted is set, and penalties 'kl' and 'l0' do not know sizes; leave it out")
        if self.target_l0 is not None and penalty is None:
            found.append("target_l0 is set, and there is no penalty whose weight it could move; choose a penalty")
        if self.target_l0 is not None and isinstance(activation, Sigmoid) and not self.target_l0.theta:
            found.append(
                "target_l0.theta is 0, and sigmoid codes are never 0; set theta to the level that counts as active"
            )
        if isinstance(activation, Gated) and not (isinstance(self.encoder, Affine) and not self.encoder.bias):
            found.append("activation is 'gated', which has biases of its own; choose encoder 'affine' with bias false")
        if isinstance(self.encoder, LISTA):
            if not isinstance(activation, ReLU) or not self.encoder.positive:
                found.append(
                    "encoder is 'lista', whose codes are rectified already; choose positive and activation 'relu'"
                )
            if self.revival is not None:
                found.append("encoder is 'lista', whose codes do not revive one by one; leave revival out")
        if self.matryoshka is not None and self.matryoshka.sizes[-1] >= self.n_code:
            found.append(f"matryoshka.sizes ends at {self.matryoshka.sizes[-1]}; expected below n_code, {self.n_code}")
        if self.decoder.output != "linear" and (isinstance(self.revival, AuxK) or isinstance(activation, Gated)):
            found.append(f"decoder.output is {self.decoder.output!r}; 'auxk' and 'gated' need a linear one")
        return found

    def build(self, shape: tuple[int, ...], seed: int) -> AmortisedModel:
        """A fresh model for samples of `shape`; weights are a function of the seed."""
        return AmortisedModel(self, shape, seed)


class AmortisedModel(AbstractSparseModel):
    """The weights of an `Amortised`."""

    def __init__(self, spec: Amortised, shape: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self._spec = spec
        self.shape = shape
        n_features = math.prod(shape)
        self.normaliser = spec.normaliser.build(n_features)
        self.decoder = spec.decoder.build(spec.n_code, n_features, generator(seed, "decoder"))
        rng = generator(seed, "encoder")
        self.encoder = (
            spec.encoder.build(self.decoder, rng)
            if isinstance(spec.encoder, Affine)
            else spec.encoder.build(spec.n_code, n_features, rng)
        )
        self.activation = spec.activation.build(spec.n_code)
        self.penalty = None if spec.penalty is None else build_sparsity(spec.penalty, spec.n_code)
        self.control = spec.target_l0 and spec.target_l0.build()
        self.revival = None if spec.revival is None else RevivalModule(spec.revival, spec.n_code)
        self.register_buffer("span", torch.zeros(2, dtype=torch.float64))
        self.span: Tensor
        self.register_buffer("weight", torch.tensor(at(spec.weight, 0), dtype=torch.float64))
        self.weight: Tensor
        self._renewed: tuple[Tensor, Tensor] | None = None  # dead codes and their new atoms, until the step is done

    @property
    def spec(self) -> Amortised:
        return self._spec

    def normalise(self, x: Tensor) -> Tensor:
        return self.normaliser(x.flatten(1))

    def denormalise(self, x: Tensor) -> Tensor:
        return self.normaliser.undo(x).reshape(len(x), *self.shape)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        return self.activation.infer(self._pre(self.normalise(x)))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder.mean(z)

    def corrupt(self, x: Tensor, rng: torch.Generator) -> Corrupted | None:
        how = self.spec.corruption
        if how is None:
            return None
        return how.apply(x, self.shape, Span(float(self.span[0]), float(self.span[1])), rng)

    @torch.no_grad()
    def energy(self, x: Tensor, z: Tensor) -> Tensor:
        """|x - decode(z)|^2 [B] in model space, plus weight * penalty(z) where the penalty is of single samples' codes."""
        error = squared_error(self.decode(z), self.normalise(x))
        if self.penalty is None or isinstance(self.spec.penalty, KL):
            return error
        code = Code(self._weighed(z), active=(z != 0).to(z.dtype))
        return error + float(self.weight) * self.penalty(code, moving=False)

    def loss(self, batch: Batch, step: int, rng: Stream) -> Loss:
        moving = self.training
        target = self.normalise(batch.x)
        corrupted = self.corrupt(target, rng("corruption"))
        x = target if corrupted is None else corrupted.x
        taken = sparse_step(
            self.encoder,
            self.activation,
            self.decoder,
            self.penalty,
            x,
            step,
            moving=moving,
            arithmetic="dense" if self.spec.matryoshka else self.spec.arithmetic,
            norm_weighted=self.spec.norm_weighted,
            theta=self._theta,
        )
        if taken is None:
            taken = self._dense_step(x, target, step, moving)
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
        stats = {"l0": taken.l0}
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

    def initialise_(self, sample: Tensor) -> None:
        self.normaliser.initialise_(sample.flatten(1))
        rows = self.normalise(sample)
        self.span.copy_(torch.stack([rows.amin(), rows.amax()]))
        self.decoder.initialise_(rows)

    @torch.no_grad()
    def calibrate_(self, x: Tensor) -> bool:
        wanted = None if self.control is None else self.control.spec.l0
        if isinstance(self.spec.activation, BatchTopK) and isinstance(self.spec.activation.k, float):
            wanted = self.spec.activation.k
        if not self.spec.calibrate or wanted is None:
            return False
        self.activation.calibrate_(self._pre(self.normalise(x)), wanted)
        return True

    @torch.no_grad()
    def warnings(self, x: Tensor) -> list[str]:
        z = self.encode(x)
        found = [] if self.control is None else self.control.warnings(z)
        if isinstance(self.activation, JumpReLUModule) and isinstance(self.spec.penalty, L0):
            near = self.activation.near(self._pre(self.normalise(x)))
            if near < SATURATED * max(float((z != 0).sum(dim=1).double().mean()), 1.0):
                found.append(
                    f"the weight of 'l0' is saturated: {near:.2g} codes per sample are within activation.bandwidth of their "
                    "threshold, so that it moves nothing; widen the bandwidth"
                )
        return found

    def project_grads_(self) -> None:
        self.decoder.project_grads_()

    @torch.no_grad()
    def constrain_(self) -> None:
        if self._renewed is not None and self.revival is not None and isinstance(self.encoder, AffineModule):
            rows, atoms = self._renewed
            self.decoder.atoms[rows] = atoms
            self.encoder.renew_(rows, atoms, self.revival.spec.scale)  # pyright: ignore - a Resample, or nothing is renewed
            self.activation.revive_(rows)
            self.revival.silent[rows] = 0
            self._renewed = None
        self.decoder.constrain_()
        if isinstance(self.encoder, LISTAModule):
            self.encoder.constrain_()

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        parts = {"encoder": self.encoder, "activation": self.activation, "decoder": self.decoder}
        return {
            f"{part}.{name}": params for part, leaf in parts.items() for name, params in leaf.param_groups().items()
        }

    @property
    def _theta(self) -> float:
        return 0.0 if self.control is None else self.control.spec.theta

    def _dense_step(self, x: Tensor, target: Tensor, step: int, moving: bool) -> Step:
        code = self.activation.train_code(self._pre(x), step, moving)
        out, fidelity = self._fidelity(code.z, target)
        gate_fidelity = penalty = None
        if code.gate is not None:
            # the gate alone must reconstruct, too; decoder held fixed, so that only the encoder learns from it
            gated = torch.addmm(self.decoder.bias.detach(), code.gate, self.decoder.atoms.detach())
            gate_fidelity = squared_error(gated, target)
        if self.penalty is not None:
            weighed = code._replace(
                z=self._weighed(code.z), gate=code.gate if code.gate is None else self._weighed(code.gate)
            )
            penalty = self.penalty(weighed, moving).mean()
        fired = code.z.detach() > self._theta
        return Step(out, penalty, fired.any(dim=0), fired.sum(dim=1).double().mean(), fidelity, gate_fidelity)

    def _pre(self, x: Tensor) -> Tensor:
        return self.encoder(x, self.decoder) if isinstance(self.encoder, AffineModule) else self.encoder(x)

    def _weighed(self, z: Tensor) -> Tensor:
        return z * torch.linalg.vector_norm(self.decoder.atoms, dim=1) if self.spec.norm_weighted else z

    def _fidelity(self, z: Float[Tensor, "b k"], target: Tensor) -> tuple[Tensor, Tensor]:
        """The reconstruction from all codes, and the error per sample: the mean over all prefixes, if there are any."""
        if self.spec.matryoshka is not None:
            return self.spec.matryoshka.fidelity(z, self.decoder, target)
        out = self.decode(z)
        return out, squared_error(out, target)

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
            explained = auxiliary_error(error, pre, self.decoder.atoms[dead], k).mean()
            raised = depth(pre) * torch.linalg.vector_norm(error, dim=1).mean()
            return {"auxk": how.weight * (explained + raised)}
        if self.training and step % how.every == how.every - 1 and len(dead):
            self._renewed = dead, directions(error, dead, rng("resample"))
        return {}
