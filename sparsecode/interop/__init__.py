"""Sparse autoencoders in other libraries' files: reading, conversion and writing, with a numerical comparison."""

from sparsecode.interop.affine_sae import AffineSAE, CannotExpressError
from sparsecode.interop.conversion import Converted, convert
from sparsecode.interop.equivalence import Proof, compare, probes
from sparsecode.interop.formats import FORMATS, Format, detect, read, read_any, write
from sparsecode.interop.jumprelu import to_jumprelu
from sparsecode.interop.native import from_model, to_model
from sparsecode.interop.sparse_coder import Lista, SparseCoderRecord

__all__ = [
    "FORMATS",
    "AffineSAE",
    "CannotExpressError",
    "Converted",
    "Format",
    "Lista",
    "Proof",
    "SparseCoderRecord",
    "compare",
    "convert",
    "detect",
    "from_model",
    "probes",
    "read",
    "read_any",
    "to_jumprelu",
    "to_model",
    "write",
]
