"""Models of activations spliced into the network whose activations they explain: codes read, ablated, added to and clamped while it runs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparsecode.data.hooks import Inputs, evaluating, forward, hooked
from sparsecode.models.base import AbstractSparseModel

__all__ = ["Ablate", "Add", "Clamp", "Edit", "Splice", "attributions", "spliced"]


class Clamp(NamedTuple):
    """Code number `code` has this value at every position."""

    code: int
    value: float


class Add(NamedTuple):
    """`value` is added to code number `code` at every position."""

    code: int
    value: float


class Ablate(NamedTuple):
    """Code number `code` is 0 at every position."""

    code: int


Edit = Clamp | Add | Ablate | Callable[[Tensor], Tensor]  # a function maps codes [n, n_code] to new ones


class Splice:
    """What a model computes within a forward pass of its host: `codes` [..., n_code] of the latest pass, and after the edits `edited`."""

    def __init__(
        self,
        model: AbstractSparseModel,
        hook_points: tuple[str, ...],
        edits: Sequence[Edit],
        keep_error: bool,
        keep: Tensor | None,
        leaf: bool,
    ) -> None:
        self.model, self.hook_points, self.edits = model, hook_points, tuple(edits)
        self.keep_error, self.keep, self.leaf = keep_error, keep, leaf
        self._codes: Tensor | None = None
        self._edited: Tensor | None = None

    @property
    def codes(self) -> Tensor:
        """Raises ValueError before the first forward pass."""
        return _known(self._codes)

    @property
    def edited(self) -> Tensor:
        """Raises ValueError before the first forward pass."""
        return _known(self._edited)

    def computed(self, x: Tensor) -> Tensor:
        """decode(z') - decode(z) in data space [..., *G] for the values x [..., *F] that the model reads; decode(z') without the error."""
        shape = self.model.shape
        lead = x.shape[: x.ndim - len(shape)]
        if tuple(x.shape[len(lead) :]) != shape:
            raise ValueError(
                f"hook_point {self.hook_points[0]!r}: gives rows of shape {list(x.shape)}; expected {list(shape)} at the end, "
                "as the model's samples have"
            )
        weights = next(self.model.parameters())
        rows = x.reshape(-1, *shape).to(weights.device, weights.dtype)
        if self.leaf:
            with torch.no_grad():
                z = self.model.encode(rows)
            z = z.detach().requires_grad_()
        else:
            z = self.model.encode(rows)
        new = edited(z, self.edits)
        self._codes, self._edited = (each if self.leaf else each.unflatten(0, lead) for each in (z, new))
        out = self.model.output(rows, new)
        if self.keep_error:  # exactly 0 where nothing is edited
            before = self.model.output(rows, z)
            out = out - (before.detach() if self.leaf else before)
        return out.unflatten(0, lead)

    def put(self, value: Tensor, y: Tensor) -> Tensor:
        """y [..., *G] with what was `computed` in its place, where `keep` says so."""
        value = value.to(y).reshape(y.shape)
        out = y + value if self.keep_error else value
        if self.keep is None:
            return out
        mask = self.keep.to(y.device, torch.bool)
        return torch.where(mask.reshape(*mask.shape, *(1,) * (y.ndim - mask.ndim)), out, y)


def _known(codes: Tensor | None) -> Tensor:
    if codes is None:
        raise ValueError("no codes yet; expected a forward pass of the host within the context")
    return codes


def edited(z: Tensor, edits: Sequence[Edit]) -> Tensor:
    """Codes [n, n_code] after the edits, one after another. Raises ValueError naming a code that the model does not have."""
    for edit in edits:
        if not isinstance(edit, (Clamp, Add, Ablate)):
            z = edit(z)
            continue
        if not 0 <= edit.code < z.shape[1]:
            raise ValueError(f"{type(edit).__name__}.code is {edit.code}; expected 0 to {z.shape[1] - 1}")
        column = torch.zeros(z.shape[1], dtype=torch.bool, device=z.device)
        column[edit.code] = True
        if isinstance(edit, Add):
            z = z + column * edit.value
        else:
            value = edit.value if isinstance(edit, Clamp) else 0.0
            z = torch.where(column, torch.full_like(z, value), z)
    return z


@contextmanager
def spliced(
    host: nn.Module,
    model: AbstractSparseModel,
    hook_points: str | Sequence[str],
    edits: Sequence[Edit] = (),
    *,
    keep_error: bool = True,
    keep: Tensor | None = None,
    at: Sequence[str] | None = None,
    leaf: bool = False,
) -> Generator[Splice]:
    """While this holds, the outputs of submodules of `host` are what `model` makes of them, its codes edited.

    With codes z of the activations x and edited codes z': x + decode(z') - decode(z), in data space, or decode(z') without
    `keep_error`. With the error kept, a splice without edits changes nothing, so that all effects are those of the edits.

    Parameters
    ----------
    model: an autoencoder of the activations at one hook point; a transcoder, whose hook points are (where it reads, where it
        predicts); or a crosscoder, with a hook point for each of its sites. A crosscoder reads all sites before it changes the first, for
        which the host runs twice.
    hook_points: submodules of `host`, in any spelling that `extract` takes.
    edits: `Clamp(code, value)`, `Add(code, value)`, `Ablate(code)`, or functions of codes [n, n_code], one after another.
    keep: which positions are replaced, a mask with the leading axes of the activations, such as [batch, tokens]; default all.
    at: of a crosscoder, the hook points whose values are replaced; default all.
    leaf: codes are leaves of the graph, so that gradients with respect to `Splice.codes` [n, n_code] exist.

    Returns
    -------
    A context with a `Splice`, whose `codes` and `edited` [..., n_code] are those of the latest forward pass.

    Raises
    ------
    ValueError naming `hook_points` if there is no such submodule, or for another number than the model has sites; in the forward pass
    for codes that the model does not have.

    Examples
    --------
    >>> import torch
    >>> from sparsecode.interventions import Ablate, spliced
    >>> from sparsecode.models import Amortised
    >>> from sparsecode.nn import TopK
    >>> host = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> sae = Amortised(n_code=16, activation=TopK(k=2)).build((8,), seed=0).eval()
    >>> x = torch.ones(3, 4)
    >>> with spliced(host, sae, "1") as splice:
    ...     unchanged = host(x)
    >>> torch.equal(unchanged, host(x)), splice.codes.shape
    (True, torch.Size([3, 16]))
    >>> strongest = int(splice.codes[0].argmax())
    >>> with spliced(host, sae, "1", [Ablate(strongest)]):
    ...     changed = host(x)
    """
    names = (hook_points,) if isinstance(hook_points, str) else tuple(hook_points)
    wanted = 2 if model.target_shape is not None else model.n_sites
    if len(names) != wanted or len({*names}) < wanted:
        what = "where it reads and where it predicts" if model.target_shape is not None else "one for each site"
        raise ValueError(f"hook_points are {', '.join(names) or 'none'}; expected {wanted} for this model: {what}")
    if at is not None and (wrong := [name for name in at if name not in names]):
        raise ValueError(f"at has {wrong[0]}; choose from {', '.join(names)}")
    splice = Splice(model, names, edits, keep_error, keep, leaf)
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        if model.target_shape is not None:
            _at_two(host, splice, stack)
        elif wanted > 1:
            _at_many(host, splice, set(names if at is None else at), stack)
        else:
            stack.enter_context(hooked(host, names[0], lambda x: splice.put(splice.computed(x), x)))
        yield splice


def _at_two(host: nn.Module, splice: Splice, stack: ExitStack) -> None:
    read: list[Tensor] = []

    def watch(x: Tensor) -> Tensor:
        read[:] = [x]
        return x

    def change(y: Tensor) -> Tensor:
        if not read:
            raise ValueError(
                f"hook_points are {', '.join(splice.hook_points)}; expected the first to come before the second in the forward pass"
            )
        return splice.put(splice.computed(read.pop()), y)

    stack.enter_context(hooked(host, splice.hook_points[0], watch))
    stack.enter_context(hooked(host, splice.hook_points[1], change))


def _at_many(host: nn.Module, splice: Splice, at: set[str], stack: ExitStack) -> None:
    """A pass before each pass reads all sites; the second one puts their new values in place."""
    read: dict[str, Tensor] = {}
    values: dict[str, Tensor] = {}
    reading = False

    def change(name: str, x: Tensor) -> Tensor:
        if not reading:
            return splice.put(values[name], x) if name in at else x
        read[name] = x
        return x

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal reading
        if reading:
            return
        reading = True
        try:
            module(*args, **kwargs)
        finally:
            reading = False
        if missing := [name for name in splice.hook_points if name not in read]:
            raise ValueError(f"hook_points: the forward pass of {type(host).__name__} never calls {missing[0]}")
        x = torch.stack([read[name] for name in splice.hook_points], dim=-2)
        computed = splice.computed(x)
        values.update({name: computed[..., i, :] for i, name in enumerate(splice.hook_points)})
        read.clear()

    handle = host.register_forward_pre_hook(before, with_kwargs=True)
    stack.callback(handle.remove)
    for name in splice.hook_points:
        stack.enter_context(hooked(host, name, partial(change, name)))


def attributions(
    host: nn.Module,
    inputs: Inputs,
    model: AbstractSparseModel,
    hook_points: str | Sequence[str],
    target: Callable[[Any], Tensor],
) -> Tensor:
    """z_j dt/dz_j [..., n_code] of every code at every position: the first-order effect on a number t of setting it to 0, negated.

    `target` gives t, a tensor of one element, of the host's output, such as the logit of a token: `lambda out: out.logits[0, -1, 42]`. The
    reconstruction error is kept. Exact where t is linear in the activations; else an approximation, which `Ablate` checks.
    Source: attribution patching, Nanda 2023; for sparse autoencoders Marks et al., "Sparse feature circuits", ICLR 2025.

    Raises ValueError if `target` gives another number of elements than one, and as `spliced`.
    """
    with torch.enable_grad(), evaluating(host), spliced(host, model, hook_points, leaf=True) as splice:
        lead: list[int] = []
        names = (hook_points,) if isinstance(hook_points, str) else tuple(hook_points)

        def watch(x: Tensor) -> Tensor:
            per_site = model.shape[1:] if model.n_sites > 1 else model.shape
            lead[:] = x.shape[: x.ndim - len(per_site)]
            return x

        with hooked(host, names[0], watch):
            output = forward(host, inputs)
        value = target(output)
        if value.numel() != 1:
            raise ValueError(f"target gives shape {list(value.shape)}; expected one number, such as one logit")
        codes = splice.codes
        (gradient,) = torch.autograd.grad(value.sum(), codes)
    return (codes.detach() * gradient).unflatten(0, tuple(lead))
