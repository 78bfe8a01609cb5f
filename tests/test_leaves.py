"""Parts of models that users bring: accepted by what they can do, recorded by name, read back where their classes are given."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsecode.models.amortised import Amortised
from sparsecode.models.iterative import Iterative
from sparsecode.models.portable import load_model, save_model
from sparsecode.nn.activations import ActivationModule
from sparsecode.specs import Spec

pytestmark = pytest.mark.usefixtures("unchecked")


class SoftModule(ActivationModule):
    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def shape(self, pre: Tensor) -> Tensor:
        return torch.nn.functional.softshrink(pre, self.threshold)


class Soft(Spec):
    threshold: float = 0.1

    def build(self, n_code: int) -> SoftModule:
        return SoftModule(self.threshold)


@dataclasses.dataclass(frozen=True)
class Twice:
    positive: bool = True

    def value(self, z: Tensor) -> Tensor:
        return 2 * z.abs().sum(dim=1)

    def prox(self, v: Tensor, t: Any) -> Tensor:
        return torch.relu(v - 2 * t)


@pytest.mark.parametrize(
    ("spec", "field", "leaf"),
    [
        (Iterative(n_code=10, weight=0.1, penalty=Twice()), "penalty", Twice),
        (Amortised(n_code=10, activation=Soft(0.2)), "activation", Soft),
    ],
    ids=["penalty", "activation"],
)
def test_a_leaf_is_saved_by_name_and_read_where_its_class_is_given(
    spec: Any, field: str, leaf: type, tmp_path: Path
) -> None:
    model = spec.build((8,), 0)
    save_model(model, tmp_path, {})
    name = f"{leaf.__module__}.{leaf.__qualname__}"
    with pytest.raises(ValueError, match=rf"{field} was saved with {name}, .* pass leaves=\[{leaf.__name__}\]$"):
        load_model(tmp_path)
    again = load_model(tmp_path, leaves=[leaf])
    assert again.spec == spec
    x = torch.randn(5, 8)
    assert torch.equal(again.encode(x), model.encode(x))


def test_what_is_no_such_part_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"^Iterative\.penalty is Soft.*; expected l1, .* or an object with value, which"
    ):
        Iterative(n_code=10, weight=0.1, penalty=Soft())  # pyright: ignore[reportArgumentType] - it is refused
