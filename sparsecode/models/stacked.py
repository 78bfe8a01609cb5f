"""Many autoencoders of one shape, trained side by side: their weights and gradients are slices of stacked tensors."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecode.losses.penalty_term import SparsityTerm
from sparsecode.losses.variance import squared_error
from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.sparse_step import Step, sparse_step
from sparsecode.models.stackable import OWN, obstacle, shared
from sparsecode.nn.activations import ReLU
from sparsecode.nn.affine import Affine, AffineModule, BiasedDictionaryModule
from sparsecode.nn.noises import GaussianNoise
from sparsecode.nn.normalisers import Identity
from sparsecode.ops.dense_codes import numbers
from sparsecode.ops.matmul import onednn_is_faster, product
from sparsecode.ops.rng import Stream
from sparsecode.ops.score_blocks import bf16_is_fast
from sparsecode.ops.scratch import Scratch
from sparsecode.records import Batch, Loss
from sparsecode.specs import name_of

__all__ = ["WIDE", "Drawn", "Stacked"]

WIDE = 256  # codes from which sparse ones, bfloat16 products and compiled passes may pay
AGAIN = 20  # steps until a member with too many active codes tries sparse ones again


class Drawn(NamedTuple):
    """Inputs shared by all members with one seed: the batch, optional Gaussian noise [B, n_features], and the transposes of both."""

    batch: Batch
    normal: Tensor | None
    turned: Tensor
    turned_normal: Tensor | None

    @classmethod
    def of(cls, batch: Batch, normal: Tensor | None) -> Drawn:
        return cls(batch, normal, batch.x.flatten(1).T.contiguous(), None if normal is None else normal.T.contiguous())


class Stacked:
    """Members whose parameters and gradients are slices [m] of tensors with a leading member axis.

    Each remains an ordinary model for optimisers, constraints, validation and saving. Raises ValueError for members that cannot
    be stacked.
    """

    def __init__(self, members: Sequence[AbstractSparseModel]) -> None:
        if not members:
            raise ValueError("members is empty; expected at least one model")
        for member in members:
            if reason := obstacle(member.spec):
                raise ValueError(f"members: {reason}; train it by itself")
            if shared(member.spec) != shared(members[0].spec) or member.shape != members[0].shape:
                raise ValueError(f"members differ in more than {', '.join(OWN)}; expected one kind of model")
        self.members = tuple(
            member for member in members if isinstance(member, AmortisedModel)
        )  # a narrowing for the type checker: all are
        self.tensors: dict[str, Tensor] = {}
        self.grads: dict[str, Tensor] = {}
        by_member = [dict(member.named_parameters()) for member in self.members]
        for name in by_member[0]:
            self.tensors[name] = torch.stack([params[name].detach() for params in by_member])
            self.grads[name] = torch.zeros_like(self.tensors[name])
            for i, params in enumerate(by_member):
                params[name].data = self.tensors[name][i]
                params[name].grad = self.grads[name][i]
        weights = self.tensors["encoder.weight"]
        plain = weights.device.type == "cpu" and weights.dtype == torch.float32
        first = self.members[0].spec
        self._rough = plain and first.arithmetic == "bf16" and first.n_code >= WIDE and bf16_is_fast()
        self._onednn = plain and not self._rough and onednn_is_faster()
        self._sparse = [False] * len(members)
        self._scratch = Scratch()

    def normal_seeds(self, seeds: Sequence[int]) -> set[int]:
        """The seeds with at least one member that uses Gaussian noise."""
        return {s for s, m in zip(seeds, self.members, strict=True) if isinstance(m.spec.corruption, GaussianNoise)}

    def learn(self, i: int, drawn: Drawn, step: int, rng: Stream, watched: bool = True) -> Loss:
        """The loss of one member; its gradients are written in place, `stats` only if `watched`. Hand-written products on CPUs.

        May be called for different members from different threads at once.
        """
        member = self.members[i]
        weights = [term.weigh_(step) for term in _terms(member)]
        if (
            (self._sparse[i] or step % AGAIN == 0)
            and member.spec.n_code >= WIDE
            and isinstance(member.spec.activation, ReLU)
        ):
            target, x = self._inputs(i, drawn, step, rng)
            made = self._sparse_step(member, x, target, step)
            self._sparse[i] = made is not None
            if made is not None:
                return self._autograd(member, made, weights)
        return self._dense_step(member, *self._turned_inputs(i, drawn, step, rng), weights, watched)

    def losses(self, drawn: Sequence[Drawn], step: int, streams: Sequence[Stream]) -> list[Loss]:
        """The losses of all members by batched products; gradients are written in place. For GPUs, and as the reference."""
        inputs = [self._inputs(i, d, step, rng) for i, (d, rng) in enumerate(zip(drawn, streams, strict=True))]
        target, x = torch.stack([t for t, _ in inputs]), torch.stack([x for _, x in inputs])
        first = self.members[0]
        assert isinstance(first.decoder, BiasedDictionaryModule)
        leaf = {name: tensor.detach().requires_grad_() for name, tensor in self.tensors.items()}
        shift = leaf["decoder.bias"][:, None]
        centred = x - shift if isinstance(first.spec.encoder, Affine) and first.spec.encoder.centred else x
        pre = torch.baddbmm(leaf["encoder.bias"][:, None], centred, leaf["encoder.weight"].mT)
        z = first.activation.shape(pre.flatten(0, 1)).view_as(pre)
        out = first.decoder.output(torch.baddbmm(shift, z, leaf["decoder.atoms"]))
        fidelity = squared_error(out.flatten(0, 1), target.flatten(0, 1)).view(len(x), -1).mean(dim=1)
        parts = {"fidelity": fidelity}
        for terms in zip(*(_terms(member) for member in self.members), strict=True):  # one of all members at a time
            penalty = terms[0].per_sample(z.flatten(0, 1)).view(len(x), -1).mean(dim=1)
            weights = [term.weigh_(step) for term in terms]
            parts[_name(parts, terms[0])] = torch.tensor(weights, dtype=torch.float64).to(penalty) * penalty
        total = torch.stack(list(parts.values())).sum(dim=0)
        for name, grad in zip(leaf, torch.autograd.grad(total.sum(), list(leaf.values())), strict=True):
            self.grads[name].copy_(grad)
        l0 = (z.detach() != 0).sum(dim=2).double().mean(dim=1)
        return [
            Loss(total[i].detach(), {name: part[i].detach() for name, part in parts.items()}, {"l0": l0[i]})
            for i in range(len(x))
        ]

    @torch.no_grad()
    def _inputs(self, i: int, drawn: Drawn, step: int, rng: Stream) -> tuple[Tensor, Tensor]:
        """A batch in model space, and its corrupted version, [B, n_features] each."""
        member = self.members[i]
        target, corruption = member.normalise(drawn.batch.x), member.corruption
        if corruption is None:
            return target, target
        corruption.advance_(step)
        if not isinstance(corruption.spec, GaussianNoise) or drawn.normal is None:
            return target, corruption(target, rng("corruption")).x
        return target, target + corruption.sigma * drawn.normal if corruption.sigma else target

    @torch.no_grad()
    def _turned_inputs(self, i: int, drawn: Drawn, step: int, rng: Stream) -> tuple[Tensor, Tensor]:
        """The same with samples in columns; reuses the shared transposes if the member does not normalise."""
        member = self.members[i]
        corruption = member.corruption
        if (
            drawn.turned_normal is None
            or corruption is None
            or not isinstance(corruption.spec, GaussianNoise)
            or not isinstance(member.spec.normaliser, Identity)
        ):
            target, x = self._inputs(i, drawn, step, rng)
            turned = target.T.contiguous()
            return turned, turned if x is target else x.T.contiguous()
        corruption.advance_(step)
        if not corruption.sigma:
            return drawn.turned, drawn.turned
        x = self._scratch("noisy", drawn.turned.dtype, tuple(drawn.turned.shape))
        return drawn.turned, torch.add(drawn.turned, drawn.turned_normal, alpha=corruption.sigma, out=x)

    def _sparse_step(self, member: AmortisedModel, x: Tensor, target: Tensor, step: int) -> Step | None:
        assert isinstance(member.decoder, BiasedDictionaryModule)
        return sparse_step(
            member.encoder,
            member.activation,
            member.decoder,
            member.terms,
            x,
            target,
            step,
            training=True,
            arithmetic=member.spec.arithmetic,
            wide=WIDE,
            crowded=False,
        )

    def _autograd(self, member: AmortisedModel, made: Step, weights: list[float]) -> Loss:
        parts = {"fidelity": made.fidelity.mean()}
        for term, weight in zip(_terms(member), weights, strict=True):
            parts[_name(parts, term)] = weight * term.mean(made.code, member.decoder)
        total = torch.stack(list(parts.values())).sum()
        params = list(member.parameters())
        for param, grad in zip(params, torch.autograd.grad(total, params), strict=True):
            assert param.grad is not None
            param.grad.copy_(grad)
        return Loss(total.detach(), {name: part.detach() for name, part in parts.items()}, {"l0": made.l0})

    @torch.no_grad()
    def _dense_step(
        self, member: AmortisedModel, target: Tensor, x: Tensor, weights: list[float], watched: bool
    ) -> Loss:
        """Samples are columns; every product then has factors with contiguous rows."""
        encoder, decoder = member.encoder, member.decoder
        assert isinstance(encoder, AffineModule)
        assert isinstance(decoder, BiasedDictionaryModule)
        assert encoder.weight is not None
        assert encoder.bias is not None
        n, kind = x.shape[1], torch.bfloat16 if self._rough else x.dtype
        w, atoms = self._as(kind, "w", encoder.weight), self._as(kind, "atoms", decoder.atoms)
        centred = self._as(kind, "x", x - decoder.bias[:, None] if encoder.spec.centred else x)
        pre = self._product(w, centred.T, self._scratch("pre", kind, (len(w), n)))
        lean = _passes() if len(w) >= WIDE else None
        rectified, terms = isinstance(member.spec.activation, ReLU), _terms(member)
        if lean and rectified:
            lean.rectify(numbers(pre), numbers(encoder.bias))
            z = pre
        else:
            z = member.activation.shape(pre.add_(encoder.bias.to(kind)[:, None]).T).T.contiguous()
        penalties: list[tuple[Tensor, Tensor]] = []  # each with its gradient with respect to the codes
        for term in terms:
            with torch.enable_grad():
                leaf = z.to(x.dtype).requires_grad_()
                penalty = term.per_sample(leaf.T).mean()
                penalties.append((penalty, torch.autograd.grad(penalty, leaf)[0]))
        linear = self._product(self._turned(atoms), z.T, self._scratch("out", kind, tuple(x.shape)))
        grads = {name: _grad_of(param) for name, param in member.named_parameters()}
        by_bias, by_shift = grads["encoder.bias"], grads["decoder.bias"]
        if lean and decoder.spec.output == "linear":
            right = self._scratch("right", kind, tuple(x.shape))
            error = lean.differ(*map(numbers, (linear, decoder.bias, target, right, by_shift)))
            fidelity = x.new_tensor(error)
        else:
            fidelity, by_out = _error(decoder, linear.to(x.dtype).add_(decoder.bias[:, None]), target)
            right = self._as(kind, "right", by_out)
            torch.sum(by_out, dim=1, out=by_shift)
        slope = self._product(atoms, right.T, self._scratch("slope", kind, tuple(pre.shape)))
        for (_, by_code), weight in zip(penalties, weights, strict=True):
            slope.add_(by_code.to(kind), alpha=weight)
        if lean and rectified:
            l0 = lean.gate(*map(numbers, (slope, z, by_bias))) / n
        else:
            l0 = float((z != 0).sum(dim=0).double().mean()) if watched else 0.0
            with torch.enable_grad():
                leaf = pre.detach().requires_grad_()
                (slope,) = torch.autograd.grad(member.activation.shape(leaf.T).T, leaf, slope)
            by_bias.copy_(slope.sum(dim=1))
        self._into(grads["encoder.weight"], slope, centred)
        self._into(grads["decoder.atoms"], z, right)
        if encoder.spec.centred:
            by_shift.sub_(by_bias @ encoder.weight)
        parts = {"fidelity": fidelity}
        for term, (penalty, _), weight in zip(terms, penalties, weights, strict=True):
            parts[_name(parts, term)] = weight * penalty
        stats = {"l0": torch.tensor(l0, dtype=torch.float64)} if watched else dict[str, Tensor]()
        return Loss(torch.stack(list(parts.values())).sum(), parts, stats)

    def _turned(self, atoms: Tensor) -> Tensor:
        """Atoms in columns; a copy for libraries that are slower with rows that are not contiguous."""
        if self._onednn or self._rough:
            return self._scratch("turned", atoms.dtype, (atoms.shape[1], len(atoms))).copy_(atoms.T)
        return atoms.T

    def _product(self, left: Tensor, right: Tensor, out: Tensor) -> Tensor:
        return product(left, right, out, self._onednn and out.dtype == torch.float32)

    def _into(self, grad: Tensor, left: Tensor, right: Tensor) -> None:
        """left right^T as a gradient."""
        if left.dtype == grad.dtype:
            self._product(left, right, grad)
        else:
            grad.copy_(self._product(left, right, self._scratch("grad", left.dtype, tuple(grad.shape))))

    def _as(self, kind: torch.dtype, name: str, x: Tensor) -> Tensor:
        """x, or a copy of it, in the products' precision."""
        return x.detach() if x.dtype == kind else self._scratch(name, kind, tuple(x.shape)).copy_(x)


def _terms(member: AmortisedModel) -> list[SparsityTerm]:
    return [term for term in member.terms.each() if isinstance(term, SparsityTerm)]


def _name(parts: dict[str, Tensor], term: SparsityTerm) -> str:
    return term.part if term.part not in parts else name_of(term.spec)


def _passes() -> ModuleType:
    from sparsecode.kernels import relu_passes

    return relu_passes


def _grad_of(param: Tensor) -> Tensor:
    assert param.grad is not None
    return param.grad


def _error(decoder: BiasedDictionaryModule, linear: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over samples, in columns, of |f(linear) - target|^2, and its gradient with respect to `linear`."""
    n = target.shape[1]
    with torch.enable_grad():
        leaf = linear.detach().requires_grad_()
        fidelity = (decoder.output(leaf) - target).square().sum() / n
        (grad,) = torch.autograd.grad(fidelity, leaf)
    return fidelity.detach(), grad
