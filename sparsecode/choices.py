"""Words that several rooms and the command line choose from; nothing is imported, so that help needs nothing else."""

from __future__ import annotations

from typing import Literal

__all__ = ["Accelerator", "AtomsAt", "Classifier", "DType", "NoiseUnit", "Part", "Thresholds", "WrittenFormat"]

Accelerator = Literal["auto", "cpu", "cuda"]
Part = Literal["train", "valid", "test"]
NoiseUnit = Literal["input", "range"]
Classifier = Literal["linear", "mlp"]
AtomsAt = Literal["maximum", "unit"]
Thresholds = Literal["codes", "global"]
DType = Literal["float16", "bfloat16", "float32"]
WrittenFormat = Literal["sparsecode", "saelens", "dictionary_learning", "sparsify", "openai", "evtimova"]
