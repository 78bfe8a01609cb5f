from .coder import SparseCoder as SparseCoder
from .dictionary import SparseDictionary as SparseDictionary
from .noise_network import NoiseSparseNetwork as NoiseSparseNetwork
from .sparse_autoencoder import SparseAutoencoder as SparseAutoencoder
from .variational_coder import VariationalSparseCoder as VariationalSparseCoder

__all__ = ["NoiseSparseNetwork", "SparseAutoencoder", "SparseCoder", "SparseDictionary", "VariationalSparseCoder"]
