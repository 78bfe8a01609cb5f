"""Running statistics of codes and data: without the zeros of sparse codes they are those of dense products."""

from __future__ import annotations

import pytest
import torch

from sparsecode.nn.online import FEW, Statistics, gather_


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("share", [0.0, FEW / 4, FEW, 2 * FEW, 1.0])
@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
def test_statistics_are_the_products_of_codes_and_data(
    dtype: torch.dtype, share: float, turned: bool, rng: torch.Generator
) -> None:
    z, x = (torch.randn(60, n, generator=rng, dtype=dtype) for n in (40, 24))
    if turned:  # numbers of a column are neighbours
        z, x = (part.T.contiguous().T for part in (z, x))
    order = torch.rand(z.shape, generator=rng).flatten().argsort().view(z.shape)
    z *= order < round(share * z.numel())
    state = Statistics.of(torch.randn(40, 24, generator=rng, dtype=dtype))
    state.codes.normal_(generator=rng)
    state.cross.normal_(generator=rng)
    codes, cross = 0.9 * state.codes + z.T @ z, 0.9 * state.cross + z.T @ x
    gather_(state, x, z, 0.9)
    torch.testing.assert_close(state.codes, codes)
    torch.testing.assert_close(state.cross, cross)
    assert torch.equal(state.idle == 0, (z != 0).any(dim=0))
