"""The fixtures: files of the real packages, and what these packages compute from them."""

from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file
from torch import Tensor

__all__ = ["READABLE", "REFUSED", "Case", "expected"]

FIXTURES = Path(__file__).parent / "fixtures"


class Case(NamedTuple):
    format: str
    name: str

    @property
    def path(self) -> Path:
        model = FIXTURES / self.format / self.name / "model"
        return model / "autoencoder.pt" if self.format == "openai" else model

    def __str__(self) -> str:
        return f"{self.format}/{self.name}"


class Expected(NamedTuple):
    x: Tensor
    codes: Tensor
    outputs: Tensor


def expected(case: Case) -> Expected:
    result = load_file(FIXTURES / case.format / case.name / "expected.safetensors")
    return Expected(result["x"], result["codes"], result["outputs"])


ALL = [Case(path.parent.name, path.name) for path in sorted(FIXTURES.glob("*/*"))]
REFUSED = [case for case in ALL if case.name.startswith("refused")]
READABLE = [case for case in ALL if case not in REFUSED]
