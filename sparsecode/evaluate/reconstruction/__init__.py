"""The errors of reconstructions, and the sparsity that they cost."""
