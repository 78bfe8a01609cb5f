"""Reconstruction errors and sparsity."""
