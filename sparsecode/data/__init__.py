"""Data sources: each is a spec whose `load()` gives train, valid and test splits."""

from sparsecode.data.arrays import Arrays
from sparsecode.data.embedded import Digits, Photos
from sparsecode.data.idx import MNIST, FashionMNIST
from sparsecode.data.splits import Split, Splits

__all__ = ["MNIST", "Arrays", "Data", "Digits", "FashionMNIST", "Photos", "Split", "Splits"]

Data = Digits | Photos | MNIST | FashionMNIST | Arrays
