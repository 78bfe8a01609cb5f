"""Make the pictures of the README and the docs anew, from a run of the demo's recipe."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from sparsecode import RECIPES, run

PICTURES = Path(__file__).parent / "pictures"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for figure in run(RECIPES["photos-sdl"](), Path(folder) / "photos-sdl").figures:
            if figure.stem in ("atoms", "denoising"):
                shutil.copy(figure, PICTURES / figure.name)
