"""Autoencoders, transcoders and crosscoders as graphs of torch.export, for batches of any size."""

from typing import Any

import pytest
import torch

from sparsecode.losses import Predict
from sparsecode.models import Amortised
from sparsecode.nn import (
    Affine,
    BatchTopK,
    BiasedDictionary,
    Gated,
    JumpReLU,
    ReLU,
    Standardise,
    SubtractTopK,
    TopK,
)
from sparsecode.schedules import Linear

SPECS: dict[str, Any] = {
    "topk": Amortised(n_code=32, activation=TopK(k=4)),
    "batch_topk": Amortised(n_code=32, activation=BatchTopK(k=4)),
    "jumprelu": Amortised(n_code=32, activation=JumpReLU(threshold=0.5)),
    "gated": Amortised(n_code=32, activation=Gated(), encoder=Affine(bias=False)),
    "relu": Amortised(n_code=32, activation=ReLU(), decoder=BiasedDictionary(bias="zero")),
    "subtract_topk": Amortised(n_code=32, activation=SubtractTopK(k=4)),
    "scheduled": Amortised(n_code=32, activation=TopK(k=Linear(start=8, stop=4, length=10))),
    "crosscoder": Amortised(n_code=32, activation=TopK(k=4), decoder=BiasedDictionary(sites=True)),
    "transcoder": Amortised(
        n_code=32,
        activation=TopK(k=4),
        encoder=Affine(centred=False, start="uniform"),
        task=Predict(skip=True, normaliser=Standardise()),
    ),
}


@pytest.mark.parametrize("kind", list(SPECS))
def test_exported_graph_gives_the_same_numbers_for_other_batch_sizes(kind: str) -> None:
    model = SPECS[kind].build((4, 4), seed=0, target=(3, 2)).eval()
    rng = torch.Generator().manual_seed(0)
    batch = torch.export.Dim("batch", min=2, max=1024)
    with torch.no_grad():
        for param in model.parameters():
            param += 0.1 * torch.randn(param.shape, generator=rng)
    graph = torch.export.export(model, (torch.rand(5, 4, 4, generator=rng),), dynamic_shapes=({0: batch},)).module()
    for n in (5, 9):
        x = torch.rand(n, 4, 4, generator=rng)
        torch.testing.assert_close(graph(x), model(x), rtol=1e-6, atol=1e-6)
        assert graph(x).shape == (n, *(model.target_shape or (4, 4)))
