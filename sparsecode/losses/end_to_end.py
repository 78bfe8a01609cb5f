"""End-to-end loss: what the host of the activations predicts with reconstructions in their place."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta
from torch import Tensor
from torch.nn.functional import kl_div

from sparsecode.losses.term import Forward, TermModule, TrainingTerm
from sparsecode.losses.variance import squared_error
from sparsecode.specs import NonNegative

__all__ = ["NO_HOST", "EndToEnd"]

NO_HOST = "needs the network that the samples are from, with each batch; choose data 'host' with shuffle 'spans', or leave the term out"


class EndToEnd(TrainingTerm, tag="end_to_end"):
    """How the predictions of the host change with reconstructions in the place of activations, and later layers with them.

    weight * L + downstream / n_layers * sum_l |a_l - a'_l|^2, means over the rows of a batch.
    The host runs once as it is and once with the rows of its hook point replaced by the reconstructions, in data space; of a transcoder
    the rows of the hook point that it predicts, of a crosscoder those of all sites. With p and q the predictions of the next token, at the
    positions of the rows, L is KL(p || q) in nats ("kl"), or -log q of the token that follows ("cross_entropy", without rows at the end of
    a span). a_l and a'_l are the rows of the submodule l in `layers`, after the hook point, in its own units, summed over features. All that is
    behind the hook point is differentiated through; the host's weights are fixed.

    `reconstruction` weighs the model's own fidelity: 1 beside the end-to-end loss, 0 in its place. Every step runs the host twice
    forward and once backward.
    Source: Braun, Taylor, Goldowsky-Dill & Sharkey, "Identifying functionally important features with end-to-end sparse dictionary learning",
    NeurIPS 2024: "kl" with reconstruction 0, without (SAE_e2e) or with (SAE_e2e+ds) `layers`.
    """

    loss: Literal["kl", "cross_entropy"] = "kl"
    weight: NonNegative = 1.0
    layers: Annotated[
        tuple[str, ...],
        Meta(description="submodules of the host after the hook point whose outputs are to stay the same"),
    ] = ()
    downstream: Annotated[NonNegative, Meta(description="weight of the error at these layers")] = 1.0
    reconstruction: Annotated[NonNegative, Meta(description="weight of the fidelity")] = 1.0
    needs_host: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[str, ...]:
        return ("regression",)

    def problems(self, n_code: int) -> list[str]:  # noqa: ARG002 - the contract
        if len(set(self.layers)) < len(self.layers):
            return [f"layers is {', '.join(self.layers)}; expected each once"]
        return []

    def build(self, n_code: int) -> TermModule:  # noqa: ARG002 - the contract
        return _EndToEnd(self) if self.reconstruction == 1 else _Weighing(self)


class _EndToEnd(TermModule):
    def __init__(self, spec: EndToEnd) -> None:
        super().__init__()
        self.spec = spec
        self._stats: dict[str, Tensor] = {}

    def value(self, forward: Forward) -> Tensor:
        host = forward.host
        if host is None:
            raise ValueError(f"terms.end_to_end {NO_HOST}")
        spec, rows = self.spec, forward.restored
        clean, before = host.clean(spec.layers)
        logits, after = host.replaced(rows, spec.layers)
        p, q = (each.float().log_softmax(dim=1) for each in (clean, logits))
        kl = kl_div(q, p, reduction="none", log_target=True).sum(dim=1)
        has_next = host.has_next.to(q.device)
        share = has_next.float().mean().clamp(min=1e-12)
        entropy = -q.gather(1, host.next_token.to(q.device)[:, None])[:, 0] * has_next / share
        loss = spec.weight * (kl if spec.loss == "kl" else entropy)
        self._stats = {"kl": kl.detach().mean(), "cross_entropy": entropy.detach().mean()}
        for name in spec.layers:
            error = squared_error(after[name].flatten(1), before[name].flatten(1)).to(loss)
            loss = loss + spec.downstream / len(spec.layers) * error
        return loss.to(forward.out)

    def stats(self) -> dict[str, Tensor]:
        return self._stats


class _Weighing(_EndToEnd):
    """The same, with another weight of the fidelity than 1."""

    def fidelity(self, z: Tensor, decoder: Any, target: Tensor) -> tuple[Tensor, Tensor]:
        out = decoder.mean(z)
        return out, self.spec.reconstruction * squared_error(out, target)
