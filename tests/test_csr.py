"""Codes in compressed sparse rows: those of the dense result, without the dense array."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sparsecode import SparseAutoencoder, SparseCoder, omp_encode, sparse_encode
from sparsecode.ops.csr import CSRRows

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 6))
D = RNG.normal(size=(10, 6))
X[7] = 0  # a row without codes


@pytest.mark.parametrize(
    "encode",
    [lambda x, **rest: sparse_encode(x, D, 1.0, **rest), lambda x, **rest: omp_encode(x, D, 2, **rest)],
    ids=["sparse", "omp"],
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_functions_give_the_dense_codes_as_csr(encode: Any, dtype: str) -> None:
    tensor = torch.tensor(X).to(getattr(torch, dtype))
    sparse = encode(tensor, out="csr", chunk=4)
    assert (sparse.layout, sparse.dtype, sparse.device) == (torch.sparse_csr, tensor.dtype, tensor.device)
    assert torch.equal(sparse.to_dense(), encode(tensor, chunk=4))
    assert int(sparse.values().count_nonzero()) == sparse._nnz() > 0  # no zeros are stored
    if dtype == "bfloat16":
        return
    array = X.astype(dtype)
    codes = encode(array, out="csr", chunk=4)
    assert isinstance(codes, csr_array)
    assert codes.shape == (30, 10)
    assert codes.has_canonical_format
    assert codes.dtype == ("float32" if dtype == "float16" else dtype)
    assert codes.indices.dtype == codes.indptr.dtype == np.int32
    assert codes[[7]].nnz == 0
    np.testing.assert_array_equal(codes.toarray().astype(dtype), encode(array, chunk=4))
    assert encode(array[:0], out="csr").shape == (0, 10)


def test_a_solution_holds_the_sparse_codes_and_certifies_them() -> None:
    dense = sparse_encode(X, D, 1.0, return_solution=True)
    sparse = sparse_encode(X, D, 1.0, out="csr", return_solution=True)
    np.testing.assert_array_equal(sparse.z.toarray(), dense.z)
    np.testing.assert_array_equal(sparse.gap, dense.gap)


def test_missing_entries_are_left_out_of_sparse_codes_too() -> None:
    x = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
    dense = sparse_encode(x, D, 1.0, missing="nan")
    np.testing.assert_array_equal(sparse_encode(x, D, 1.0, missing="nan", out="csr").toarray(), dense)


@pytest.mark.parametrize(
    "encode", [lambda out: sparse_encode(X, D, 1.0, out=out), lambda out: omp_encode(X, D, 2, out=out)]
)
def test_another_word_than_csr_is_refused(encode: Any) -> None:
    with pytest.raises(ValueError, match="out is 'csc'; expected 'csr' or an array to write to"):
        encode("csc")


def test_estimators_give_sparse_codes_without_dense_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.normal(size=(5000, 6)).astype(np.float32)
    coders = [SparseCoder(D, alpha=1.0), SparseCoder(D, n_nonzero=2), SparseAutoencoder(10, k=2, epochs=0.1)]
    dense = [coder.fit(x).transform(x) for coder in coders]
    sizes: list[int] = []
    append = CSRRows.append

    def counted(self: CSRRows, z: torch.Tensor) -> torch.Tensor:
        sizes.append(len(z))
        return append(self, z)

    monkeypatch.setattr(CSRRows, "append", counted)
    for coder, expected in zip(coders, dense, strict=True):
        sizes.clear()
        codes = coder.set_params(sparse_output=True).transform(x)
        assert isinstance(codes, csr_array)
        assert codes.dtype == expected.dtype
        assert sizes == [2048, 2048, 904]
        np.testing.assert_allclose(codes.toarray(), expected, rtol=1e-5, atol=1e-6)


MEMORY = """
import resource, sys
import numpy as np
from sparsecode import omp_encode
rng = np.random.default_rng(0)
x, D = rng.normal(size=(60_000, 16)).astype(np.float32), rng.normal(size=(4096, 16)).astype(np.float32)
omp_encode(x[:2100], D, 2, out="csr")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
codes = omp_encode(x, D, 2, out="csr")
assert codes.nnz == 120_000, codes.nnz
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_no_dense_array_of_codes_is_made() -> None:
    """Dense codes would take 983 MB."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert int(done.stdout) / 1024 < 150
