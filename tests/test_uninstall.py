"""What is left of an installation: nothing in the environment, one folder in the user's cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from installing import Environment, borrowed, built


@pytest.mark.slow
def test_uninstalling_leaves_nothing_but_the_cache_folder(tmp_path: Path) -> None:
    wheel = built("wheel", tmp_path / "wheel")
    place = Environment(tmp_path, borrowed())
    root = place.python.parents[1]
    before = sorted(root.rglob("*"))
    place.pip("install", "--no-deps", "--no-index", wheel)

    packages = str(place.packages)
    place.call(place.python, "-c", f"import sparsecode; assert sparsecode.__file__.startswith({packages!r})")
    place.command("train", "digits-sdl", "--help")
    place.command("train", "digits-sdl", "--train.epochs", "1", "--out", "run")
    place.command("encode", "run", "--split", "test", "--out", "codes.npz")
    assert (place.packages / "sparsecode" / "__pycache__").is_dir()

    place.pip("uninstall", "--yes", "sparsecode")
    assert sorted(root.rglob("*")) == before
    assert {path.name for path in (place.home / ".cache" / "sparsecode").iterdir()} == {"kernels", "options"}
    ours = [path for path in place.home.rglob("*sparsecode*") if path != place.home / ".cache" / "sparsecode"]
    assert not ours
