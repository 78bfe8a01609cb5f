"""Patches of photographs, built once and memory-mapped."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sparsecode.data.cache import built, cached, key_of, mapped, require_space, written
from sparsecode.data.images import (
    PARTS,
    Background,
    ImageFiles,
    SkipUnreadable,
    White,
    find_images,
    progress,
    readable,
    reader,
    warn_of_skipped,
    workers,
)
from sparsecode.data.local_contrast import LCN, Contrast
from sparsecode.data.pictures import RULES
from sparsecode.data.splits import Split, Splits
from sparsecode.files import is_own, write_atomic
from sparsecode.ops.rng import generator
from sparsecode.specs import Count, Seed, Spec, pack, to_json
from sparsecode.version import __version__

__all__ = ["PatchSet", "Patches"]

Grey = NDArray[np.uint8] | NDArray[np.float32]  # 0 to 255, or [0, 1] where the file has more than 8 bits

FORMAT = b"1"  # format of the cache: raise it to rebuild all entries
META = "meta.json"
BATCH = 250  # crops prepared together: the original's batch, which `LCN(floor="batch")` depends on
LEVEL_BATCHES = 10
PASSES, CROPS_PER_PATCH = 10, 20
KEPT_BYTES = 256 * 2**20  # of decoded images kept in memory for the next pass
MOST_PIXELS = 2**27  # of a resized image
EDGES = (0.0, 0.6, 0.8, 1.0)  # of the strips of embedded photographs


class _Pool(NamedTuple):
    """The images of one split: their number, and image i in grey [h, w]."""

    n: int
    read: Callable[[int], Grey]


class PatchSet(NamedTuple):
    """What `Patches.write` has built: numbers of `images` for train, valid and test, the `floor` of LCN's deviations, and whether
    it is `new`.
    """

    images: list[int]
    floor: float | None
    new: bool


class Patches(Spec, tag="patches"):
    """Grey patches [1, size, size] from random places of images, less their mean or normalised by local contrast.

    The images lie below a folder or in a .zip file, and are read as those of `image_folder`; by default they are the two
    photographs in scikit-learn's package.
    Each is resized so that its shorter side is `resize` pixels, and gives one crop in turn until there are enough
    patches. `seed` draws which images are for train, valid and test (in proportion to the patches asked for; no image
    is in two splits; the two photographs are cut into vertical strips of 60, 20 and 20 %) and where crops lie.

    The arrays are built once into the cache (`$SPARSECODE_CACHE`) under a name made of this spec and of the files'
    names, sizes and times. Memory in use does not grow with the number of patches. LCN needs crops of size + 2 (kernel -
    1) pixels and keeps `Split.ctx`, so that PSNR and pictures are in pixels; `meta.json` beside the arrays records its
    floor. Raises ValueError if a split has not enough patches after 20 crops per patch and ten per image.

    The setting of Evtimova & LeCun, TMLR 2022: ILSVRC's train folder, size 28, resize 256, 200 000, 20 000 and 20 000
    patches by LCN.
    """

    images: Annotated[
        Annotated[str, Meta(min_length=1)] | None, Meta(description="a folder, with all below it, or a .zip file")
    ] = None
    size: Annotated[int, Meta(ge=2, description="width and height of a patch in pixels")] = 28
    resize: Annotated[Count, Meta(description="length of an image's shorter side in pixels, before cropping")] = 256
    preprocess: Contrast = LCN()
    n_train: Count = 50_000
    n_valid: Count = 5_000
    n_test: Count = 5_000
    seed: Seed = 0
    skip_unreadable: SkipUnreadable = False
    white: White = None
    background: Background = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images is not None:  # the run must find the same files from wherever it is resumed
            msgspec.structs.force_setattr(self, "images", str(Path(self.images).absolute()))
        if self._crop > self.resize:
            raise ValueError(
                f"Patches: size {self.size} by {type(self.preprocess).__name__} needs crops of {self._crop} pixels, and "
                f"resize is {self.resize}; raise resize, or lower size"
            )

    @property
    def _crop(self) -> int:
        return self.preprocess.crop(self.size)

    def load(self) -> Splits:
        files = None if self.images is None else find_images(self.images)
        key = key_of(FORMAT + RULES, to_json(self), b"" if files is None else files.signature)
        folder = cached("patches", key, lambda aside: self._build(files, aside))
        if files is not None:
            used = msgspec.json.decode((folder / META).read_bytes())["images"]
            warn_of_skipped(files.path, len(files.names) - sum(used), len(files.names))
        train, valid, test = (
            Split(
                mapped(folder / f"{part}.npy"),
                ctx=mapped(folder / f"{part}_ctx.npy") if self.preprocess.keeps_maps else None,
            )
            for part in PARTS
        )
        return Splits(train, valid, test, *self.preprocess.span)

    def write(self, folder: Path) -> PatchSet:
        """Build the arrays into `folder` for other programs, as `load` does into the cache: whole, or not at all.

        A folder that holds the complete set of this spec and of these images is left as it is. Raises FileExistsError if
        anything else is in it, BlockingIOError if another process builds it, and what `load` raises.
        """
        files = None if self.images is None else find_images(self.images)
        key = key_of(FORMAT + RULES, to_json(self), b"" if files is None else files.signature)
        if there := sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []:
            meta = folder / META
            stored = is_own(meta) is True and msgspec.json.decode(meta.read_bytes(), type=dict[str, Any])
            if not stored or stored.get("key") != key:
                what = (
                    "patches of another spec or of other images"
                    if stored
                    else f"files of others: {', '.join(there[:5])}"
                )
                raise FileExistsError(f"{folder}: holds {what}; choose another folder, or delete it first")
            return PatchSet(stored["images"], stored["floor"], new=False)
        built(folder, lambda aside: self._build(files, aside, {"sparsecode": __version__, "key": key}))
        made = msgspec.json.decode((folder / META).read_bytes())
        if files is not None:
            warn_of_skipped(files.path, len(files.names) - sum(made["images"]), len(files.names))
        return PatchSet(made["images"], made["floor"], new=True)

    def _build(self, files: ImageFiles | None, folder: Path, notes: Mapping[str, str] = MappingProxyType({})) -> None:
        sizes = (self.n_train, self.n_valid, self.n_test)
        maps = 2 if self.preprocess.keeps_maps else 0
        require_space(folder, sum(sizes) * (1 + maps) * self.size**2)
        images = nullcontext(_strips(self.resize, self._crop)) if files is None else self._shares(files, sizes)
        with images as pools, workers() as threads, progress(f"patches of {_title(files)}", sum(sizes)) as report:
            level = self.preprocess.level(self._crops(pools[0], i, "floor", threads) for i in range(LEVEL_BATCHES))
            done = 0
            for part, n, pool in zip(PARTS, sizes, pools, strict=True):
                shape = (1, self.size, self.size)
                with (
                    written(folder / f"{part}.npy", (n, *shape)) as append,
                    written(folder / f"{part}_ctx.npy", (n, maps, *shape)) if maps else nullcontext() as append_maps,
                ):
                    n_kept, batch, most = 0, 0, max(CROPS_PER_PATCH * n, PASSES * pool.n)
                    while n_kept < n:
                        if batch * BATCH >= most:
                            raise ValueError(self._too_few(files, part, n, n_kept, batch * BATCH, pool.n))
                        kept = self.preprocess.prepare(self._crops(pool, batch, part, threads), level)
                        append(kept.x[: n - n_kept])
                        if append_maps is not None and kept.ctx is not None:
                            append_maps(kept.ctx[: n - n_kept])
                        n_kept, batch = min(n, n_kept + len(kept.x)), batch + 1
                        report(done + n_kept)
                done += n
        write_atomic(
            folder / META,
            msgspec.json.encode({**notes, "made_by": pack(self), "floor": level, "images": [pool.n for pool in pools]}),
        )

    def _crops(self, pool: _Pool, batch: int, purpose: str, threads: ThreadPoolExecutor) -> Tensor:
        """Crops [250, 1, c, c] in [0, 1] from the next 250 images in turn: a function of the seed and the batch."""
        images = threads.map(pool.read, ((batch * BATCH + k) % pool.n for k in range(BATCH)))
        places = torch.rand(BATCH, 2, generator=generator(self.seed, f"crops of {purpose}", batch), dtype=torch.float64)
        crop, out = self._crop, np.empty((BATCH, 1, self._crop, self._crop), np.float32)
        for row, image, place in zip(out, images, places.tolist(), strict=True):
            top, left = (int(u * (length - crop + 1)) for u, length in zip(place, image.shape, strict=True))
            row[0] = image[top : top + crop, left : left + crop]
            if image.dtype == np.uint8:
                row /= 255
        return torch.from_numpy(out)

    @contextmanager
    def _shares(self, files: ImageFiles, sizes: tuple[int, ...]) -> Generator[list[_Pool]]:
        """The images dealt out to the splits in proportion to their patches, each split at least one."""
        kept: dict[int, Grey] = {}
        room = KEPT_BYTES
        with reader(files, "RGB", self.white, self.background) as read:
            if self.skip_unreadable:
                files = readable(files, read)
            names, total = files.names, len(files.names)
            n_valid, n_test = (max(1, round(total * n / sum(sizes))) for n in sizes[1:])
            if total - n_valid - n_test < 1:
                raise ValueError(
                    f"{files.path}: {total} images; expected at least one for each of train, valid and test"
                )
            order = np.random.RandomState(self.seed).permutation(total)

            def grey(i: int) -> Grey:
                nonlocal room
                if i in kept:
                    return kept[i]
                image = _resized(_not_too_long(read(names[i]), files.path / names[i], self.resize), self.resize)
                if image.nbytes <= room:  # the first ones stay: dropping the oldest would drop each before its turn
                    room -= image.nbytes
                    kept[i] = image
                return image

            parts = np.split(order, [total - n_valid - n_test, total - n_test])
            yield [_Pool(len(part), lambda k, part=part: grey(int(part[k]))) for part in parts]

    def _too_few(self, files: ImageFiles | None, part: str, n: int, n_kept: int, tried: int, images: int) -> str:
        return (
            f"{_title(files)}: {n_kept} of {n} {part} patches after {tried} crops of {images} images; the others have "
            f"too little contrast. Ask for fewer (n_{part}), give more images, or lower preprocess.min_std"
        )


def _title(files: ImageFiles | None) -> str:
    return "two photographs" if files is None else str(files.path)


def _not_too_long(image: Image.Image, path: Path, shorter: int) -> Image.Image:
    """The image, unless it would take gigabytes when its shorter side has `shorter` pixels."""
    if max(image.size) * shorter**2 > MOST_PIXELS * min(image.size):
        raise ValueError(
            f"{path}: {image.width} x {image.height} pixels; resize {shorter} makes more than {MOST_PIXELS} of them: remove "
            "it, or lower resize"
        )
    return image


def _resized(image: Image.Image, shorter: int) -> Grey:
    """Grey levels of an image of mode RGB or F whose shorter side has become `shorter` pixels."""
    width, height = (int(shorter * length / min(image.size)) for length in image.size)
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.array(small), 0, 1) if small.mode == "F" else np.array(small.convert("L"))


def _strips(resize: int, crop: int) -> list[_Pool]:
    """Disjoint vertical strips of scikit-learn's photographs for train, valid and test."""
    from sklearn.datasets import load_sample_images

    photos = [_resized(Image.fromarray(np.asarray(photo)), resize) for photo in load_sample_images().images]
    cuts = [[int(edge * photo.shape[1]) for edge in EDGES] for photo in photos]
    narrowest = min(right - left for cut in cuts for left, right in pairwise(cut))
    if narrowest < crop:
        raise ValueError(
            f"Patches: crops of {crop} pixels do not fit into strips of {narrowest}, a fifth of the embedded photographs' "
            f"width at resize {resize}; raise resize, lower size, or give images"
        )
    parts = [[photo[:, cut[i] : cut[i + 1]] for photo, cut in zip(photos, cuts, strict=True)] for i in range(3)]
    return [_Pool(len(part), part.__getitem__) for part in parts]
