"""Files made of scikit-learn's two photographs, for tests of sources that read images."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def photographs() -> list[NDArray[np.uint8]]:
    """The two photographs [427, 640, 3]."""
    from sklearn.datasets import load_sample_images

    return [np.asarray(photo) for photo in load_sample_images().images]


def tiles(side: int = 100) -> list[NDArray[np.uint8]]:
    """48 colour pictures [side, side, 3] that do not overlap, 24 of each photograph."""
    return [
        photo[top : top + side, left : left + side]
        for photo in photographs()
        for top in range(0, 400, 100)
        for left in range(0, 600, 100)
    ]


def save(path: Path, image: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def tile_folder(folder: Path, n: int = 48, suffix: str = ".png") -> Path:
    """A folder with the first n tiles, some of them in folders of their own."""
    for i, tile in enumerate(tiles()[:n]):
        save(folder / ("deeper" if i % 3 == 0 else "") / f"tile{i:02d}{suffix}", tile)
    return folder


def zipped(folder: Path, path: Path) -> Path:
    """A zip file of all files below a folder."""
    with ZipFile(path, "w") as file:
        for item in sorted(folder.rglob("*.*")):
            file.write(item, item.relative_to(folder))
    return path
