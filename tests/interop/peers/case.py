"""One case of the fixtures: its folder, its random numbers, and what is expected of its reading."""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["HERE", "Case", "D", "K", "M", "N"]

HERE = Path(__file__).parents[1] / "fixtures"
D, M, K, N = 12, 32, 4, 32


class Case:
    """A folder under fixtures/: `model/`, and `expected.safetensors` with x, codes and outputs."""

    def __init__(self, format_: str, name: str) -> None:
        self.format, self.name = format_, name
        self.folder = HERE / format_ / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.model = self.folder / "model"
        self.model.mkdir(parents=True)
        self.rng = torch.Generator().manual_seed(sum(map(ord, format_ + name)))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.rng)

    @torch.no_grad()
    def fill(self, module: torch.nn.Module) -> None:
        """Weights, biases and thresholds of a trained model's order: none is zero, atoms have different norms."""
        for name, value in module.named_parameters():
            if "threshold" in name:
                value.copy_(0.2 + self.normal(*value.shape).abs())
            else:
                value.copy_(self.normal(*value.shape) * (0.5 if value.ndim == 2 else 0.3))

    @torch.no_grad()
    def expect(self, run, path: Path | None = None, x: Tensor | None = None) -> None:
        """Store what `run(path, x)` gives as codes and outputs, for noise or for the x given."""
        x = self.normal(N, D) if x is None else x
        codes, outputs = run(path or self.model, x)
        assert codes.shape[0] == N
        assert 0 < (codes != 0).float().mean() < 1, self.folder
        save_file(
            {"x": x, "codes": codes.contiguous().clone(), "outputs": outputs.contiguous().clone()},
            self.folder / "expected.safetensors",
        )
