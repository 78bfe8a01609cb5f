"""Many autoencoders of one shape, trained side by side: their weights and gradients are slices of stacked tensors."""

from __future__ import annotations

from collections.abc import Sequence
from threading import local
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsecode.losses.sparsity import Hoyer, SparsityModule
from sparsecode.losses.sparsity import Tanh as TanhPenalty
from sparsecode.losses.variance import squared_error
from sparsecode.models.amortised import Amortised, AmortisedModel
from sparsecode.models.sparse_step import Step, sparse_step
from sparsecode.nn.activations import ELU, GELU, ReLU, Satlin, Sigmoid, Tanh
from sparsecode.nn.affine import Affine, AffineModule, BiasedDictionary, BiasedDictionaryModule
from sparsecode.nn.corruptions import Span, corrupt
from sparsecode.nn.noises import Gaussian, amount
from sparsecode.ops.products import onednn_is_faster, product, transposed_product
from sparsecode.ops.streams import Stream
from sparsecode.penalties import L1, LogSum
from sparsecode.schedules import at
from sparsecode.specs import Spec
from sparsecode.types import Batch, Code, Loss

__all__ = ["Drawn", "Stacked", "obstacle", "shared"]

ACTIVATIONS = (ReLU, GELU, ELU, Tanh, Sigmoid, Satlin)  # entry by entry, without weights
PENALTIES = (L1, LogSum, TanhPenalty, Hoyer)  # sums over codes, without state
SPARSE = 256  # codes from which sparse ones may pay
AGAIN = 20  # steps until codes that were too crowded are looked at again
OWN = ("weight", "corruption", "calibrate")  # what members may each have their own of
CHECKED = ("n_code", "activation", "penalty", "normaliser", "encoder", "decoder", "arithmetic", *OWN)


def obstacle(spec: Spec) -> str | None:
    """Why a model cannot be trained in a stack; None if it can."""
    if not isinstance(spec, Amortised):
        return f"model is {type(spec).__name__}, and only Amortised stacks"
    if not isinstance(spec.activation, ACTIVATIONS):
        return f"model.activation is {_tag(spec.activation)}, which is not a plain function of each pre-activation"
    if spec.penalty is not None and not isinstance(spec.penalty, PENALTIES):
        return f"model.penalty is {_tag(spec.penalty)}, which is not a sum over single samples"
    encoder, decoder = spec.encoder, spec.decoder
    if not isinstance(encoder, Affine):
        return f"model.encoder is {_tag(encoder)}"
    changed = [name for name in ("tied", "shared_bias", "cosine", "positive") if getattr(encoder, name)]
    if changed or not encoder.bias:
        return f"model.encoder has {changed[0] if changed else 'no bias'}"
    if not isinstance(decoder, BiasedDictionary) or decoder.frozen:
        return f"model.decoder is {_tag(decoder)}" + (" and frozen" if isinstance(decoder, BiasedDictionary) else "")
    defaults = Amortised(n_code=spec.n_code, activation=spec.activation)
    for name in spec.__struct_fields__:  # fields to come are obstacles until somebody has thought about them
        if name not in CHECKED and getattr(spec, name) != getattr(defaults, name):
            return f"model.{name} is set"
    return None


def shared(spec: Amortised) -> tuple[Any, ...]:
    """What members of one stack must have in common."""
    return tuple(getattr(spec, name) for name in CHECKED if name not in OWN)


def _tag(spec: Spec) -> str:
    return repr(spec.__struct_config__.tag)


class Drawn(NamedTuple):
    """What one step needs of a seed: its batch, and standard normal noise [B, n_features] if a member asks for it."""

    batch: Batch
    normal: Tensor | None


class Stacked:
    """Members whose parameters and gradients are slices [m] of tensors with a leading member axis.

    They stay ordinary models: optimisers, constraints, validation and saving work on each of them. Raises ValueError for members
    that do not stack.
    """

    def __init__(self, members: Sequence[AmortisedModel]) -> None:
        if not members:
            raise ValueError("members is empty; expected at least one model")
        for member in members:
            if reason := obstacle(member.spec):
                raise ValueError(f"members: {reason}; train it by itself")
            if shared(member.spec) != shared(members[0].spec) or member.shape != members[0].shape:
                raise ValueError(f"members differ in more than {', '.join(OWN)}; expected one kind of model")
        self.members = tuple(members)
        self.tensors: dict[str, Tensor] = {}
        self.grads: dict[str, Tensor] = {}
        own = [dict(member.named_parameters()) for member in members]
        for name in own[0]:
            self.tensors[name] = torch.stack([params[name].detach() for params in own])
            self.grads[name] = torch.zeros_like(self.tensors[name])
            for i, params in enumerate(own):
                params[name].data = self.tensors[name][i]
                params[name].grad = self.grads[name][i]
        weights = self.tensors["encoder.weight"]
        self._onednn = weights.device.type == "cpu" and weights.dtype == torch.float32 and onednn_is_faster()
        self._sparse = [False] * len(members)
        self._memory = local()  # of each thread

    def normal_seeds(self, seeds: Sequence[int]) -> set[int]:
        """The seeds whose members want normal noise."""
        return {s for s, m in zip(seeds, self.members, strict=True) if isinstance(m.spec.corruption, Gaussian)}

    def learn(self, i: int, drawn: Drawn, step: int, rng: Stream, watched: bool = True) -> Loss:
        """The loss of one member, its gradients put in place; `stats` only if `watched`. By hand-written products on CPUs.

        Different members may learn in different threads at once.
        """
        member = self.members[i]
        target, x = self._inputs(i, drawn, step, rng)
        weight = at(member.spec.weight, step)
        if member.penalty is not None:
            member.weight.fill_(weight)
        if (self._sparse[i] or step % AGAIN == 0) and member.spec.n_code >= SPARSE and x.device.type == "cpu":
            taken = self._sparse_step(member, x, step)
            self._sparse[i] = taken is not None
            if taken is not None:
                return self._autograd(member, taken, target, weight)
        return self._dense_step(member, x, target, weight, watched)

    def losses(self, drawn: Sequence[Drawn], step: int, streams: Sequence[Stream]) -> list[Loss]:
        """The losses of all members, their gradients put in place, by batched products: for GPUs, and the reference."""
        inputs = [self._inputs(i, d, step, rng) for i, (d, rng) in enumerate(zip(drawn, streams, strict=True))]
        target, x = torch.stack([t for t, _ in inputs]), torch.stack([x for _, x in inputs])
        weights = [at(member.spec.weight, step) for member in self.members]
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
        if first.penalty is not None:
            for member, weight in zip(self.members, weights, strict=True):
                member.weight.fill_(weight)
            penalty = first.penalty(Code(z.flatten(0, 1)), moving=False).view(len(x), -1).mean(dim=1)
            parts["penalty"] = torch.tensor(weights, dtype=torch.float64).to(penalty) * penalty
        total = torch.stack(list(parts.values())).sum(dim=0)
        names = list(leaf)
        for name, grad in zip(names, torch.autograd.grad(total.sum(), [leaf[n] for n in names]), strict=True):
            self.grads[name].copy_(grad)
        l0 = (z.detach() != 0).sum(dim=2).double().mean(dim=1)
        return [
            Loss(total[i].detach(), {name: part[i].detach() for name, part in parts.items()}, {"l0": l0[i]})
            for i in range(len(x))
        ]

    @torch.no_grad()
    def _inputs(self, i: int, drawn: Drawn, step: int, rng: Stream) -> tuple[Tensor, Tensor]:
        """A batch in model space, and as it is corrupted."""
        member = self.members[i]
        target, how = member.normalise(drawn.batch.x), member.spec.corruption
        buffers = dict(member.named_buffers())
        if "noise_step" in buffers:
            buffers["noise_step"].fill_(step)
        if how is None:
            return target, target
        span = Span(float(member.span[0]), float(member.span[1]))
        if not isinstance(how, Gaussian) or drawn.normal is None:
            return target, corrupt(how, target, member.shape, span, rng("corruption"), step).x
        sigma = amount(how, span.low, span.high, step)
        return target, target + sigma * drawn.normal if sigma else target

    def _sparse_step(self, member: AmortisedModel, x: Tensor, step: int) -> Step | None:
        assert isinstance(member.decoder, BiasedDictionaryModule)
        return sparse_step(
            member.encoder,
            member.activation,
            member.decoder,
            member.penalty,
            x,
            step,
            moving=True,
            arithmetic=member.spec.arithmetic,
            norm_weighted=False,
            theta=0.0,
            wide=SPARSE,
        )

    def _autograd(self, member: AmortisedModel, taken: Step, target: Tensor, weight: float) -> Loss:
        parts = {"fidelity": squared_error(taken.out, target).mean()}
        if taken.penalty is not None:
            parts["penalty"] = weight * taken.penalty
        total = torch.stack(list(parts.values())).sum()
        params = list(member.parameters())
        for param, grad in zip(params, torch.autograd.grad(total, params), strict=True):
            assert param.grad is not None
            param.grad.copy_(grad)
        return Loss(total.detach(), {name: part.detach() for name, part in parts.items()}, {"l0": taken.l0})

    @torch.no_grad()
    def _dense_step(self, member: AmortisedModel, x: Tensor, target: Tensor, weight: float, watched: bool) -> Loss:
        encoder, decoder = member.encoder, member.decoder
        assert isinstance(encoder, AffineModule)
        assert isinstance(decoder, BiasedDictionaryModule)
        assert encoder.weight is not None
        assert encoder.bias is not None
        w, b, atoms = encoder.weight.detach(), encoder.bias.detach(), decoder.atoms.detach()
        n, fast = len(x), self._onednn
        centred = x - decoder.bias if encoder.spec.centred else x
        pre = product(centred, w, self._scratch("pre", x, (n, len(w))), fast).add_(b)
        rectified = isinstance(member.spec.activation, ReLU)
        z, penalty, by_penalty = torch.relu_(pre) if rectified else member.activation.shape(pre), None, None
        if isinstance(member.penalty, SparsityModule):
            with torch.enable_grad():
                leaf = z.detach().requires_grad_()
                penalty = member.penalty(Code(leaf), moving=False).mean()
                (by_penalty,) = torch.autograd.grad(penalty, leaf)
        out = product(z, atoms.T, self._scratch("out", x, tuple(x.shape)), fast).add_(decoder.bias)
        fidelity, by_out = _error(decoder, out, target)
        slope = product(by_out, atoms, self._scratch("slope", x, tuple(pre.shape)), fast)
        if by_penalty is not None:
            slope.add_(by_penalty, alpha=weight)
        if rectified:
            torch.ops.aten.threshold_backward.grad_input(slope, z, 0, grad_input=slope)
        else:
            with torch.enable_grad():
                leaf = pre.detach().requires_grad_()
                slope = torch.autograd.grad(member.activation.shape(leaf), leaf, slope)[0]
        grads = {name: param.grad for name, param in member.named_parameters()}
        by_weight, by_bias, by_atoms, by_shift = (
            grads[name] for name in ("encoder.weight", "encoder.bias", "decoder.atoms", "decoder.bias")
        )
        assert by_weight is not None
        assert by_bias is not None
        assert by_atoms is not None
        assert by_shift is not None
        transposed_product(slope, centred, by_weight, fast)
        transposed_product(z, by_out, by_atoms, fast)
        torch.sum(slope, dim=0, out=by_bias)
        torch.sum(by_out, dim=0, out=by_shift)
        if encoder.spec.centred:
            by_shift.sub_(by_bias @ w)
        parts = {"fidelity": fidelity} if penalty is None else {"fidelity": fidelity, "penalty": weight * penalty}
        stats = {"l0": (z != 0).sum(dim=1).double().mean()} if watched else dict[str, Tensor]()
        return Loss(torch.stack(list(parts.values())).sum(), parts, stats)

    def _scratch(self, name: str, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        """An uninitialised tensor that this thread uses again at every step: fresh ones cost page faults."""
        kept: dict[str, Tensor] = self._memory.__dict__
        if name not in kept or kept[name].shape != shape or kept[name].dtype != like.dtype:
            kept[name] = like.new_empty(shape)
        return kept[name]


def _error(decoder: BiasedDictionaryModule, linear: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The mean squared error of f(linear), and its gradient by `linear`, whose memory it may take."""
    n = len(target)
    if decoder.spec.output == "linear":
        error = linear.sub_(target)
        return error.square().sum(dim=1).mean(), error.mul_(2 / n)
    with torch.enable_grad():
        leaf = linear.detach().requires_grad_()
        fidelity = squared_error(decoder.output(leaf), target).mean()
        (grad,) = torch.autograd.grad(fidelity, leaf)
    return fidelity.detach(), grad
