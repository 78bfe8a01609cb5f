"""Autoencoders as graphs of torch.export, for batches of any size."""

from typing import Any

import pytest
import torch

from sparsecode.models import Amortised
from sparsecode.nn import BatchTopK, Gated, JumpReLU, ReLU, TopK
from sparsecode.nn.affine import Affine, BiasedDictionary

SPECS: dict[str, Any] = {
    "topk": Amortised(n_code=32, activation=TopK(k=4)),
    "batch_topk": Amortised(n_code=32, activation=BatchTopK(k=4)),
    "jumprelu": Amortised(n_code=32, activation=JumpReLU(threshold=0.5)),
    "gated": Amortised(n_code=32, activation=Gated(), encoder=Affine(bias=False)),
    "relu": Amortised(n_code=32, activation=ReLU(), decoder=BiasedDictionary(bias="zero")),
}


@pytest.mark.parametrize("kind", list(SPECS))
def test_exported_graph_gives_the_same_numbers_for_other_batch_sizes(kind: str) -> None:
    model = SPECS[kind].build((4, 4), seed=0).eval()
    rng = torch.Generator().manual_seed(0)
    batch = torch.export.Dim("batch", min=2, max=1024)
    graph = torch.export.export(model, (torch.rand(5, 4, 4, generator=rng),), dynamic_shapes=({0: batch},)).module()
    for n in (5, 9):
        x = torch.rand(n, 4, 4, generator=rng)
        torch.testing.assert_close(graph(x), model(x), rtol=1e-6, atol=1e-6)
        assert graph(x).shape == x.shape
