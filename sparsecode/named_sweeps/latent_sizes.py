"""Named sweeps over the number of codes of variational models."""

from __future__ import annotations

from sparsecode.named_sweeps.experiment import Experiment

__all__ = ["LATENT_SIZES"]

SIZES = "8,16,24,32,48,64,96,128,160,200"


def _latents(*recipes: str, sizes: str) -> Experiment:
    """A question to Tonolini, Jensen & Murray-Smith, UAI 2019, as its replication put it."""
    return Experiment(
        title="The bound against the number of codes",
        about="Replication of Tonolini et al., UAI 2019: test bound in nats per sample with hard gates (theirs are relaxed, which gives no bound); theirs every 8 codes.",
        recipes=recipes,
        over=(f"model.n_code={sizes}",),
        x="model.n_code",
        y="elbo.hard|exact.elbo",
    )


LATENT_SIZES: dict[str, Experiment] = {
    "digits-latents": _latents("digits-vae", "digits-vsc", sizes="2,4,8,16,32"),
    "mnist-latents": _latents("mnist-vae", "mnist-vsc-50", "mnist-vsc-20", "mnist-vsc-1", sizes=SIZES),
    "fashion-latents": _latents("fashion-vae", "fashion-vsc-50", "fashion-vsc-20", "fashion-vsc-1", sizes=SIZES),
}
