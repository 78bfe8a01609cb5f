"""Terms of a training objective: the protocol, its defaults, and the view of a training step that terms get.

A term is a config (or any object) with a method `value(forward)`: its share of the loss of a batch, weight included, as one
number or per sample [B], of which the mean counts. What it needs of the model it names in `needs`, words of
`sparsecode.models.needs`. A term with state builds a `TermModule`, whose buffers are saved with the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sparsecode.nn.activations import ActivationModule
from sparsecode.ops.rng import Stream
from sparsecode.records import Code, SparseCode
from sparsecode.specs import Spec, name_of

__all__ = ["CodeBlocks", "CodeSums", "Forward", "HostRun", "TermLike", "TermModule", "Terms", "TrainingTerm"]

CodeBlocks = Callable[[], Iterable[tuple[Tensor, Tensor]]]


class CodeSums(NamedTuple):
    """Sums per sample [B] of codes that are not stored: `size`, of magnitudes, and `active`, of `Code.active`."""

    size: Tensor
    active: Tensor


class HostRun(Protocol):
    """A pass of the network that the rows of a batch are from, in which these may be replaced: `sparsecode.data.host_pass.HostPass`."""

    next_token: Tensor  # [B], that follows each row
    has_next: Tensor  # [B], whether there is one

    def clean(self, read: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B, V] at the rows and, of the submodules in `read`, their rows, without gradients."""
        ...

    def replaced(self, values: Tensor, read: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The same with the rows replaced by values in data space, differentiable with respect to them."""
        ...


class Forward(NamedTuple):
    """A training step before its terms: what was computed, by which modules, and the step's number and random streams.

    `x` [B, n] what the encoder got, `target` and its reconstruction `out` [B, f], all in model space; `fidelity` [B]; `code`
    the codes, in a form that every term of the model `reads`; which codes `fired` [k], their mean count `l0`. State may change
    only if `training`. `restore` maps `out` to data space; `host` is the network that the samples are from, if the data have one.
    """

    code: Code | SparseCode | CodeSums
    out: Float[Tensor, "b f"]
    fidelity: Float[Tensor, " b"]
    fired: Bool[Tensor, " k"]
    l0: Tensor
    pre: Float[Tensor, "b k"] | None
    x: Float[Tensor, "b n"]
    target: Float[Tensor, "b f"]
    encoder: Any
    activation: ActivationModule
    decoder: Any
    step: int
    rng: Stream
    training: bool
    restore: Callable[[Tensor], Tensor] | None = None
    host: HostRun | None = None

    @property
    def restored(self) -> Tensor:
        """The reconstruction or prediction [B, *G] in data space."""
        assert self.restore is not None, "a model gives what its terms need"
        return self.restore(self.out)

    @property
    def dense(self) -> Code:
        """The codes with zeros, for terms that read only `Code`."""
        assert isinstance(self.code, Code), "a term gets codes in a form that it reads"
        return self.code

    @property
    def z(self) -> Float[Tensor, "b k"]:
        """The codes."""
        return self.dense.z

    @property
    def gate(self) -> Float[Tensor, "b k"]:
        """The gate of the codes, for activations that have one (need "gate")."""
        return _there(self.dense.gate, "gate")

    @property
    def indicator(self) -> Float[Tensor, "b k"]:
        """1 where a code is active, else 0, with an estimated gradient (need "indicator")."""
        return _there(self.dense.active, "indicator")

    @property
    def logp(self) -> Float[Tensor, " b"]:
        """The log density of the activation's random draw, up to a constant (need "logp")."""
        return _there(self.dense.logp, "logp")

    @property
    def pre_activations(self) -> Float[Tensor, "b k"]:
        """The pre-activations, for terms that read only `Code`."""
        assert self.pre is not None, "sparse steps have no pre-activations; a term that needs them reads Code alone"
        return self.pre

    @property
    def atoms(self) -> Float[Tensor, "k f"]:
        """The atoms, in model space (need "atoms")."""
        return self.decoder.atoms


def _there(value: Tensor | None, need: str) -> Tensor:
    if value is None:
        raise ValueError(
            f"a term used forward.{need}, which this activation does not give; name {need!r} in its `needs`"
        )
    return value


class TermModule(nn.Module):
    """A term of one model; its buffers are saved, its parameters trained as the group `terms.NAME`.

    `reads`: the forms of codes that `value` works on. A term that reads `Code` alone makes every step compute all codes,
    zeros too. `theta`: above which magnitude it wants codes to count as active. `wanted`: the mean number of active codes that
    thresholds are to be moved to after training, if it wants one.
    """

    reads: ClassVar[tuple[type, ...]] | tuple[type, ...] = (Code,)
    theta: float = 0.0
    norm_weighted: bool = False

    @property
    def part(self) -> str | None:
        """The name of its value in metrics; default: the term's name."""
        return None

    @property
    def wanted(self) -> float | None:
        return None

    def value(self, forward: Forward) -> Tensor | None:
        """The term's part of the loss: a scalar or [B]; None if it adds nothing at this step."""
        raise NotImplementedError

    def fidelity(self, z: Tensor, decoder: Any, target: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ARG002 - the contract
        """A replacement of decode(z) [B, f] and its error [B], or None; at most one term of a model may return one."""
        return None

    def sparse_fidelity(self, code: SparseCode, decoder: Any, target: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ARG002 - the contract
        """The same as `fidelity` of codes without zeros, of terms that read them."""
        return None

    def observe_(self, forward: Forward) -> None:
        """Update state from a training step, after the values of all terms."""

    def stats(self) -> dict[str, Tensor]:
        """Statistics to log besides the loss."""
        return {}

    def after_step_(self, encoder: Any, activation: ActivationModule, decoder: Any) -> None:
        """Modify weights after the optimiser's step."""

    def energy(self, z: Tensor, decoder: Any) -> Tensor | None:  # noqa: ARG002 - the contract
        """Its part of the energy of single codes [B]; None for terms that are not functions of one code."""
        return None

    def warnings(self, blocks: CodeBlocks, activation: ActivationModule) -> list[str]:  # noqa: ARG002 - the contract
        """Warnings about the trained model; `blocks()` yields codes and pre-activations [b, n_code] of samples, some at a time."""
        return []


@runtime_checkable
class TermLike(Protocol):
    """The protocol of a term: `value`, its part of the loss, a scalar. `TrainingTerm` has defaults for all else."""

    def value(self, forward: Forward) -> Tensor | None: ...


class TrainingTerm(Spec):
    """The defaults of a term's config: a subclass needs `value`, or `build` if it has state.

    `needs_host`: whether it runs the network that the samples are from, which the data have to give with each batch.
    """

    needs_host: ClassVar[bool] = False

    @property
    def needs(self) -> tuple[str, ...] | dict[str, str]:
        """Its requirements of the model, as words of `sparsecode.models.needs`, or each word with the field that needs it."""
        return ()

    @property
    def objective(self) -> str | None:
        """A description of its part of `energy`."""
        return None

    def problems(self, n_code: int) -> list[str]:  # noqa: ARG002 - the contract
        """The problems of this config in a model with `n_code` codes."""
        return []

    def value(self, forward: Forward) -> Tensor | None:
        """The term's part of the loss: see `TermModule.value`."""
        raise NotImplementedError

    def build(self, n_code: int) -> TermModule:  # noqa: ARG002 - the contract
        """The term of one model."""
        return PlainTerm(self)


class PlainTerm(TermModule):
    """A term without state: its config's `value`."""

    def __init__(self, spec: Any) -> None:
        super().__init__()
        self.spec = spec
        self.reads = getattr(spec, "reads", (Code,))

    def value(self, forward: Forward) -> Tensor | None:
        return self.spec.value(forward)


class Terms(nn.ModuleDict):
    """The terms of one model by name: `first`, which no config names, and those of `specs`, objects without `build` by their `value`.

    Raises ValueError if two compute the fidelity.
    """

    def __init__(self, specs: tuple[Any, ...], first: Sequence[TermModule], n_code: int) -> None:
        terms = {str(term.part): term for term in first}
        terms |= {name_of(spec): spec.build(n_code) if hasattr(spec, "build") else PlainTerm(spec) for spec in specs}
        super().__init__(terms)
        double = [name for name, term in self.all() if type(term).fidelity is not TermModule.fidelity]
        if len(double) > 1:
            raise ValueError(f"terms {' and '.join(double)} both compute the fidelity; expected one of them")

    def all(self) -> list[tuple[str, TermModule]]:
        """Names and terms."""
        return [(name, term) for name, term in self.items() if isinstance(term, TermModule)]

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of terms that have any."""
        return {name: params for name, term in self.all() if (params := list(term.parameters()))}

    def each(self) -> list[TermModule]:
        return [term for _, term in self.all()]

    @property
    def theta(self) -> float:
        """The magnitude above which codes count as active."""
        return max([0.0, *(term.theta for term in self.each())])

    def of(self, forward: Forward) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The parts of the loss besides the fidelity, and statistics; updates state in training."""
        parts, stats = dict[str, Tensor](), dict[str, Tensor]()
        for name, term in self.all():
            value = term.value(forward)
            if value is not None:
                parts[_free(parts, term.part or name, name)] = value if value.ndim == 0 else value.mean()
        for name, term in self.all():
            if forward.training:
                term.observe_(forward)
            stats |= {_free(stats, what, f"{name}.{what}"): value for what, value in term.stats().items()}
        return parts, stats


def _free(known: dict[str, Tensor], wanted: str, other: str) -> str:
    """`wanted`, or `other` if that name is already in use."""
    return other if wanted in known else wanted
