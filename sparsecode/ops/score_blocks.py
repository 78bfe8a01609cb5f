"""Scores x W^T + b of samples, a block of rows at a time in reused memory, and which entries of a block are active.

Where the processor multiplies integers or bfloat16 numbers faster than float32, these find the entries that may be active,
whose values are then computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, Protocol

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.ops.scratch import borrowed

__all__ = [
    "CHUNK",
    "Products",
    "ScoreBlock",
    "bf16_is_fast",
    "fastest_products",
    "int8_is_exact",
    "int8_is_fast",
    "score_blocks",
    "scores_of",
]

Products = Literal["exact", "int8", "int16", "bf16"]
"""How scores are computed: in the weights' precision, or in integers or bfloat16 where they only select codes (values stay exact)."""

TILE = 32  # bfloat16 numbers in a row of a matrix unit's tile
PROBE = 128  # samples that show whether codes are sparse
CHUNK, CHUNK_INTEGERS = 1024, 255  # samples whose scores are in memory at a time
ERROR = (
    2.0**-11
)  # of |x| |w|: what bfloat16 scores may be off by and still be looked at; six standard deviations for 384 features


@cache
def bf16_is_fast() -> bool:
    """Whether this processor has fast bfloat16 units and ATEN_CPU_CAPABILITY does not turn them off.

    AVX512-BF16 is fast on AMD's processors alone: on Intel's without matrix units its products take twice the time of float32's.
    """
    known = _capabilities()
    if known.get("amx_bf16") or (known.get("avx512_bf16") and "Intel" not in str(known.get("cpu_name"))):
        return torch.backends.cpu.get_cpu_capability() == "AVX512"
    return bool(known.get("bf16"))


@cache
def int8_is_fast() -> bool:
    """Whether this processor has units for products of 8-bit integers that neither ATEN_CPU_CAPABILITY nor ONEDNN_MAX_CPU_ISA turns off."""
    known = _capabilities()
    able = known.get("avx512_vnni") or known.get("amx_int8")
    return bool(able) and torch.backends.cpu.get_cpu_capability() == "AVX512" and int8_is_exact()


def fastest_products() -> Products:
    """The arithmetic that finds active codes in the least time on this processor.

    16-bit integers, whose products are those of `kernels.pair_products`, are where registers have 256 bits and no unit for fewer bits is.
    """
    if int8_is_fast():
        return "int8"
    if bf16_is_fast():
        return "bf16"
    return "int16" if torch.backends.cpu.get_cpu_capability() == "AVX2" else "exact"


@cache
def int8_is_exact() -> bool:
    """Whether torch's products of 8-bit integers are right: without VNNI they add pairs in 16 bits, which overflow."""
    if not hasattr(torch, "_int_mm"):
        return False
    rng = torch.Generator().manual_seed(0)
    left, right = (torch.randint(100, 128, (size, 256), dtype=torch.int8, generator=rng) for size in (128, 512))
    return torch.equal(torch._int_mm(left, right.T).double(), left.double() @ right.double().T)  # pyright: ignore - its only name


def _capabilities() -> Mapping[str, Any]:
    return getattr(torch.cpu, "get_capabilities", dict[str, Any])()


class ScoreBlock(Protocol):
    """Scores [r, m] of r samples; arrays that are written have one row for each."""

    def top(self, k: int, indices: Tensor, values: Tensor, counts: Tensor) -> None:
        """The k largest positive entries of each row into `indices` and `values` [r, k], and their number into `counts` [r]."""
        ...

    def above(
        self, threshold: Tensor, indices: Tensor, values: Tensor, counts: Tensor, *, counted: bool = False
    ) -> None:
        """The entries above `threshold` [m], at the front of each row of `indices` and `values` [r, m]; if `counted` an
        upper bound of their number alone.
        """
        ...


class _Floats(NamedTuple):
    """Scores in float32, float64 or bfloat16 (read as int16)."""

    scores: NDArray[Any]
    x: NDArray[Any]
    weight: NDArray[Any]
    bias: NDArray[Any]
    margin: NDArray[Any]

    def top(self, k: int, indices: Tensor, values: Tensor, counts: Tensor) -> None:
        from sparsecode.kernels.selection import top_rows  # numba is slow to import

        written = indices.numpy(), values.numpy(), counts.numpy()
        top_rows(self.scores, self.x, self.weight, self.bias, k, self.margin, *written, torch.get_num_threads())

    def above(
        self, threshold: Tensor, indices: Tensor, values: Tensor, counts: Tensor, *, counted: bool = False
    ) -> None:
        from sparsecode.kernels.selection import above_rows  # numba is slow to import

        written = indices.numpy(), values.numpy(), counts.numpy()
        level = _array(threshold)
        above_rows(
            self.scores, self.x, self.weight, self.bias, level, self.margin, *written, torch.get_num_threads(), counted
        )


class _Integers(NamedTuple):
    """Products of integers [r, m]; times `factor` [r] and `unit` [m] they are off by less than `slack` [r] `reach` [m],
    all but surely (see `kernels.quantised`).
    """

    products: NDArray[Any]
    x: NDArray[Any]
    weight: NDArray[Any]
    bias: NDArray[Any]
    factor: NDArray[Any]
    unit: NDArray[Any]
    slack: NDArray[Any]
    reach: NDArray[Any]

    def top(self, k: int, indices: Tensor, values: Tensor, counts: Tensor) -> None:
        from sparsecode.kernels.quantised import top_quantised  # numba is slow to import

        top_quantised(self, k, indices.numpy(), values.numpy(), counts.numpy(), torch.get_num_threads())

    def above(
        self, threshold: Tensor, indices: Tensor, values: Tensor, counts: Tensor, *, counted: bool = False
    ) -> None:
        from sparsecode.kernels.quantised import above_quantised  # numba is slow to import

        written = indices.numpy(), values.numpy(), counts.numpy()
        above_quantised(self, _array(threshold), *written, torch.get_num_threads(), counted)


def score_blocks(
    x: Float[Tensor, "b f"],
    weight: Float[Tensor, "k f"],
    bias: Float[Tensor, " k"],
    products: Products,
    *,
    probe: bool = False,
) -> Iterator[tuple[slice, ScoreBlock]]:
    """Scores x W^T + b, some rows at a time, few at first if `probe`; a block is overwritten by the next."""
    table, shift = _array(weight), _array(bias)
    if products in ("int8", "int16"):
        yield from _integer_blocks(x, table, shift, products == "int16", PROBE if probe else CHUNK_INTEGERS)
        return
    longest = torch.linalg.vector_norm(weight.detach(), dim=1).amax()
    margin = ERROR * longest * torch.linalg.vector_norm(x.detach(), dim=1)
    for rows, scores in scores_of(x, weight, bias, products, first=PROBE if probe else CHUNK):
        yield rows, _Floats(scores, x[rows].numpy(), table, shift, margin[rows].numpy())


def _integer_blocks(
    x: Tensor, weight: NDArray[Any], bias: NDArray[Any], pairs: bool, first: int
) -> Iterator[tuple[slice, ScoreBlock]]:
    from sparsecode.kernels import pair_products as of_pairs  # numba is slow to import
    from sparsecode.kernels.rounding import Quantised, coarseness, quantise, quantise_pairs, quantise_panels, slack_of

    n, threads, samples, (m, width) = len(x), torch.get_num_threads(), x.numpy(), weight.shape
    block = borrowed((of_pairs.padded(min(CHUNK_INTEGERS, n)), m), torch.int32)
    if pairs:
        panels = borrowed((-(-m // of_pairs.COLUMNS), (width + 1) // 2, of_pairs.COLUMNS), torch.int32)
        table = quantise_panels(weight, 1, threads, panels.numpy())
    else:
        table = quantise(weight, 1, threads)
    coarse = coarseness(table)
    whole = (quantise_pairs if pairs else quantise)(samples, 0, threads)
    for start in (0, *range(min(first, n), n, CHUNK_INTEGERS)):
        part = slice(start, min(start + (CHUNK_INTEGERS if start else first), n))
        rows = Quantised(whole.integers[part], whole.step[part], whole.norm[part])
        if pairs:
            out = block[: of_pairs.padded(len(rows.step))].numpy()
            of_pairs.pair_products(whole.integers[start:], table.integers, out, threads)
        else:
            left, right = torch.from_numpy(rows.integers), torch.from_numpy(table.integers).T
            torch._int_mm(left, right, out=block[: len(left)])  # pyright: ignore - its only name
        slack = slack_of(rows, coarse, width)
        products = block[: len(slack)].numpy()
        yield part, _Integers(products, samples[part], weight, bias, rows.step, table.step, slack, table.norm)


def scores_of(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    products: Products,
    out: Tensor | None = None,
    first: int = CHUNK,
    size: int = CHUNK,
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """x W^T + b, `size` rows at a time (`first` at first), in reused memory or in `out`; bfloat16 read as int16.

    Without a bias 0 takes its place.
    """
    n, width = x.shape
    kind = weight.dtype
    if (
        products == "bf16"
    ):  # the bias as two more features, at little cost, where adding it takes as long as the products
        kind, padded = torch.bfloat16, (width + 2 + TILE - 1) // TILE * TILE
        left, right = x.new_zeros(n, padded, dtype=kind), borrowed((len(weight), padded), kind)
        left[:, :width], right[:, :width] = x, weight
        left[:, width : width + 2] = 1
        shift = weight.new_zeros(len(weight)) if bias is None else bias
        right[:, width] = shift
        right[:, width + 1] = shift - right[:, width]
        right[:, width + 2 :] = 0
    else:
        left, right = x, weight
    block = borrowed((min(size, n), len(weight)), kind) if out is None else out
    for start in (0, *range(min(first, n), n, size)):
        rows = slice(start, min(start + (size if start else first), n))
        part = block[: rows.stop - start] if out is None else block[rows]
        if products == "bf16":
            yield rows, torch.mm(left[rows], right.T, out=part).view(torch.int16).numpy()
        elif bias is None:
            yield rows, torch.mm(left[rows], right.T, out=part).numpy()
        else:
            yield rows, torch.addmm(bias, left[rows], right.T, out=part).numpy()


def _array(x: Tensor) -> NDArray[Any]:
    return x.detach().contiguous().numpy()
