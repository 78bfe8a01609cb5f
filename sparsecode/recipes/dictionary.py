"""Online dictionary learning from running statistics, without gradients on the atoms."""

from __future__ import annotations

from sparsecode import Evaluate, Run
from sparsecode.data import Photos
from sparsecode.models import Inference, Iterative
from sparsecode.nn import LISTA, OnlineDictionary, Whiten
from sparsecode.penalties import L1
from sparsecode.schedules import Linear
from sparsecode.train import Adam, Optim, Train

__all__ = ["photos_olshausen_field"]


def photos_olshausen_field() -> Run:
    """Receptive fields of simple cells from photographs: signed codes of whitened 12x12 patches, 192 atoms.

    Olshausen & Field, Nature 1996: they minimise sum (I - sum_i a_i phi_i)^2 + lambda sum_i S(a_i / sigma) on 12x12
    patches with 192 functions, with S one of -exp(-x^2), log(1 + x^2) and |x|; |x| here. Halved, as our energies are,
    it has weight = lambda / (2 sigma); their lambda / sigma = 0.14 leaves the scale of the pixels open, so the weight
    here is chosen for some 10 % active codes, on patches with a standard deviation of at least 0.05 (of pixels in [0, 1]): more
    than half of these photographs is plain, and its codes are 0. They whiten the frequencies f by f exp(-(f / 200)^4), flat for
    natural images up to a cut-off; the patches' own covariance with a floor does the same in whatever units, and can be
    undone. Their atoms learn by gradient steps and are rescaled until the codes' variances agree; here they fit running
    statistics, with norm 1. The encoder predicts the codes and learns beside them; it does not touch the atoms.
    """
    return Run(
        data=Photos(size=12, min_std=0.05),
        model=Iterative(
            n_code=192,
            weight=1.2,
            normaliser=Whiten(floor=0.3),
            encoder=LISTA(n_iter=3, positive=False),
            decoder=OnlineDictionary(forgetting=Linear(0.8, 0.99, length=0.5, unit="fraction")),
            penalty=L1(positive=False),
            inference=Inference(start="zero", tol=1e-2),
        ),
        optim=Optim(groups={"encoder": Adam(lr=1e-3)}),
        train=Train(epochs=4, batch_size=250, select="encode/objective"),
        evaluate=Evaluate(sigmas=(15 / 255, 25 / 255, 50 / 255), unit="range", noise_weight=0.8),
        seed=0,
    )
