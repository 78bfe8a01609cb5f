"""Names of tensors in files of earlier formats."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["renamed"]


def renamed(tensors: dict[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of an autoencoder of format 1 under their present `names`; those of later formats unchanged.

    Format 1 had one penalty (its state `penalty.*`), one `weight`, whether used or not, one controller (`control.*`) and one
    way to revive codes (`revival.silent`); these are state of terms now.
    """
    if "weight" not in tensors:
        return tensors
    before = {_before(name): name for name in names if name.startswith("terms.")}
    return {before.get(name, name): value for name, value in tensors.items() if name in before or name != "weight"}


def _before(name: str) -> str:
    """The name in format 1 of a tensor of a term."""
    rest = name.split(".", 2)[2]
    if rest == "weight" or rest.startswith("control."):
        return rest
    return f"revival.{rest}" if rest == "silent" else f"penalty.{rest}"
