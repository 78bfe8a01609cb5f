"""Observed entries of a sample with missing ones, gathered; and products of what is gathered."""

from __future__ import annotations

from typing import Any

from sparsecode.kernels.jit import compiled

__all__ = ["dot", "gather", "observed_columns", "products"]

_jit = compiled()


@_jit
def observed_columns(observed: Any, columns: Any) -> Any:
    """Write the indices of `observed` entries to `columns`; how many they are."""
    n = 0
    for m in range(len(observed)):
        columns[n] = m
        n += observed[m]
    return n


@_jit
def gather(row: Any, columns: Any, out: Any) -> None:
    """out_m = row[columns_m]."""
    for m in range(len(out)):
        out[m] = row[columns[m]]


@_jit
def dot(a: Any, b: Any) -> Any:
    """The scalar product of two vectors of one length, at least 1."""
    total = a[0] - a[0]
    for m in range(len(a)):
        total += a[m] * b[m]
    return total


@_jit
def products(rows: Any, vector: Any, out: Any) -> None:
    """out_j = rows_j . vector."""
    for j in range(len(out)):
        out[j] = dot(rows[j], vector)
