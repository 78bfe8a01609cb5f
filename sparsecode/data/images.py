"""Image files in a folder or a zip file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from zipfile import BadZipFile, ZipFile

import msgspec
import numpy as np
import torch
from msgspec import Meta
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from sparsecode.data.arrays import Share
from sparsecode.data.cache import cached, key_of, mapped, require_space, written
from sparsecode.data.pictures import RULES, file_bytes, in_unit_range, read_picture, require_size
from sparsecode.data.splits import Split, Splits, sizes_of_shares
from sparsecode.files import printable
from sparsecode.ops.cores import cores
from sparsecode.specs import Positive, Seed, Spec, to_json

__all__ = [
    "PARTS",
    "Background",
    "ImageFiles",
    "ImageFolder",
    "SkipUnreadable",
    "SplitName",
    "White",
    "find_images",
    "progress",
    "readable",
    "reader",
    "warn_of_skipped",
    "workers",
    "write_squares",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
HIDDEN = (".", "__MACOSX")  # what macOS adds to zip files
SplitName = Literal["train", "valid", "test"]
PARTS: tuple[SplitName, ...] = ("train", "valid", "test")
LABELS = "label.npy"
CHUNK = 256  # images in memory at a time
Mode = Literal["L", "RGB"]

White = Annotated[
    Positive | None,
    Meta(description="value that is 1 in pictures of more than 8 bits; default 65 535 for 16 bits, 1 for floats"),
]
Background = Annotated[
    Annotated[float, Meta(ge=0, le=1)] | None,
    Meta(description="grey level, 0 (black) to 1 (white), below transparent pixels; without it they are refused"),
]
SkipUnreadable = Annotated[bool, Meta(description="leave files out that cannot be read")]


class ImageFiles(NamedTuple):
    """The images below a folder or in a zip file, sorted by name; `signature` changes when a file does."""

    path: Path
    names: tuple[str, ...]
    signature: bytes


def find_images(path: str | Path) -> ImageFiles:
    """All images (png, jpg, webp, bmp, tif) below a folder, or in a `.zip` file; hidden files are passed over.

    Raises FileNotFoundError or ValueError naming the path if there is nothing to read.
    """
    path = Path(path)
    if path.is_dir():
        results = sorted(_walk(path))
        names, signature = tuple(name for name, *_ in results), repr(results).encode()
    elif path.is_file():
        try:
            with ZipFile(path) as file:
                names = tuple(sorted({name for name in file.namelist() if _is_image(name)}))
        except (BadZipFile, OSError) as error:
            raise ValueError(
                f"{path}: not a readable zip file ({error}); expected a folder of images or a .zip"
            ) from None
        state = path.stat()
        signature = repr((path.name, state.st_size, state.st_mtime_ns)).encode()
    else:
        raise FileNotFoundError(f"{path}: no such folder or file; expected a folder of images or a .zip of them")
    if not names:
        raise ValueError(f"{path}: no images in it; expected files that end in {', '.join(SUFFIXES)}")
    return ImageFiles(path, names, signature)


def _is_image(name: str) -> bool:
    hidden = any(part.startswith(HIDDEN) for part in name.split("/"))
    return name.lower().endswith(SUFFIXES) and not hidden


def _walk(root: Path) -> Generator[tuple[str, int, int]]:
    """Name, size and time of every image below `root`, links to folders followed once; -1 for links to nowhere."""
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise ValueError(f"{error.filename}: a folder that cannot be listed ({error.strerror}); make it readable")

    for folder, below, names in os.walk(root, onerror=refuse, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = [name for name in below if not name.startswith(HIDDEN)]
        relative = Path(folder).relative_to(root).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        for name in filter(_is_image, names):
            try:
                state = os.stat(f"{folder}/{name}")
            except OSError:  # what it is will be said when it is read
                yield prefix + name, -1, -1
            else:
                yield prefix + name, state.st_size, state.st_mtime_ns


@contextmanager
def reader(
    files: ImageFiles, mode: Mode, white: float | None = None, background: float | None = None
) -> Generator[Callable[[str], Image.Image]]:
    """A function from a name to the picture by the rules of `read_picture`; several threads may call it.

    Pictures have mode "L" or "RGB" as asked for, or "F" in [0, 1] (grey) if the file has more than 8 bits per channel.
    The function raises ValueError or FileNotFoundError naming a file that is damaged or not accepted.
    """
    with ZipFile(files.path) if files.path.is_file() else nullcontext() as archive:

        def content(name: str) -> bytes:
            if archive is None:
                return file_bytes(files.path / name)
            require_size(files.path / name, archive.getinfo(name).file_size)
            return archive.read(name)

        def read(name: str) -> Image.Image:
            path = files.path / name
            try:
                image = in_unit_range(path, read_picture(path, lambda: content(name), background), white)
            except (ValueError, FileNotFoundError) as error:
                raise type(error)(f"{error}, or set skip_unreadable") from None
            return image if image.mode == "F" else image.convert(mode)

        yield read


def readable(files: ImageFiles, read: Callable[[str], Image.Image]) -> ImageFiles:
    """Those of the files that `read` accepts. Raises ValueError naming the folder if there are none."""

    def accepted(name: str) -> bool:
        try:
            read(name)
        except (ValueError, FileNotFoundError):
            return False
        return True

    with workers() as pool:
        names = [name for name, kept in zip(files.names, pool.map(accepted, files.names), strict=True) if kept]
    if not names:
        raise ValueError(f"{files.path}: none of {len(files.names)} files can be read; expected at least one picture")
    return files._replace(names=tuple(names))


def warn_of_skipped(path: str | Path, skipped: int, total: int) -> None:
    """Warn of the number of files left out, if any."""
    if skipped:
        warnings.warn(f"{path}: {skipped} of {total} files cannot be read and are left out", stacklevel=3)


@contextmanager
def progress(title: str, total: int) -> Generator[Callable[[int], None]]:
    """A bar on the terminal's error stream; the function takes how many are done."""
    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=not console.is_terminal
    ) as bar:  # into a file it ends a line
        task = bar.add_task(escape(printable(title)), total=total)
        yield lambda done: bar.update(task, completed=done)


def workers() -> ThreadPoolExecutor:
    """Threads to decode images in: Pillow lets go of the interpreter while it works."""
    return ThreadPoolExecutor(min(8, cores()))


class ImageFolder(Spec, tag="image_folder"):
    """All images below a folder or in a .zip file: centre square, resized, [0, 1]; [3, size, size] or [1, size, size].

    Formats: png, jpg, webp, bmp, tif; black is 0, white 1: the full range of 8 and 16 bits, `white` for other types. Which
    pictures are accepted, `sparsecode.data.pictures.read_picture` says. `seed` draws the splits from the sorted names; no
    image is in two. With `labelled`, the first folder on the way to an image is its class, in the order of the names.
    Decoded once into the cache (`$SPARSECODE_CACHE`) and memory-mapped from there. Raises FileNotFoundError or ValueError
    naming the folder or the file that is not accepted; with `skip_unreadable` such files are left out, and a warning says
    how many.
    """

    path: Annotated[str, Meta(min_length=1, description="a folder, searched with all below it, or a .zip file")]
    size: Annotated[int, Meta(ge=2, description="width and height to resize to, in pixels")] = 64
    grey: bool = False
    valid: Annotated[Share, Meta(description="share of the images for validation")] = 0.1
    test: Annotated[Share, Meta(description="share of the images for test")] = 0.1
    seed: Seed = 0
    labelled: Annotated[bool, Meta(description="the first sub-folder is the class")] = False
    skip_unreadable: SkipUnreadable = False
    white: White = None
    background: Background = None

    def __post_init__(self) -> None:
        super().__post_init__()
        msgspec.structs.force_setattr(self, "path", str(Path(self.path).absolute()))

    def load(self) -> Splits:
        files = find_images(self.path)
        key = key_of(RULES, to_json(self), files.signature)
        folder = cached("images", key, lambda aside: self._build(files, aside))
        results = [mapped(folder / f"{part}.npy") for part in PARTS]
        label = mapped(folder / LABELS).long().split([len(x) for x in results]) if self.labelled else (None,) * 3
        warn_of_skipped(self.path, len(files.names) - sum(map(len, results)), len(files.names))
        train, valid, test = (Split(x, label=part) for x, part in zip(results, label, strict=True))
        return Splits(train, valid, test, 0.0, 1.0)

    def _build(self, files: ImageFiles, folder: Path) -> None:
        with reader(files, "L" if self.grey else "RGB", self.white, self.background) as read:
            self._write(readable(files, read) if self.skip_unreadable else files, read, folder)

    def _write(self, files: ImageFiles, read: Callable[[str], Image.Image], folder: Path) -> None:
        sizes = sizes_of_shares(len(files.names), self.valid, self.test, self.path)
        order = np.random.RandomState(self.seed).permutation(len(files.names)).tolist()
        if self.labelled:
            with written(folder / LABELS, (len(order),)) as append:
                append(torch.tensor(self._classes(files))[order])
        names = iter([files.names[i] for i in order])
        parts = [list(islice(names, n)) for n in sizes]
        write_squares(files.path, parts, read, (1 if self.grey else 3, self.size, self.size), folder)

    def _classes(self, files: ImageFiles) -> list[int]:
        """The class of each image. Raises ValueError naming one that lies in no folder."""
        if loose := [name for name in files.names if "/" not in name]:
            raise ValueError(
                f"{files.path}: {loose[0]} is in no sub-folder, which would be its class; expected one per class"
            )
        of = [name.split("/")[0] for name in files.names]
        order = {name: i for i, name in enumerate(sorted(set(of)))}
        return [order[name] for name in of]


def write_squares(
    source: Path,
    parts: Sequence[Sequence[str]],
    read: Callable[[str], Image.Image],
    shape: tuple[int, int, int],
    folder: Path,
    crop: int | None = None,
) -> None:
    """Write the pictures that `read` gives for the names of each part, train, valid and test, to `<part>.npy` [n, *shape].

    Each is its central square of `crop` pixels, by default as large as may be, resized. Raises OSError without the space on disk,
    ValueError naming a picture that is smaller than `crop`.
    """
    total = sum(map(len, parts))
    require_space(folder, total * int(np.prod(shape)))

    def sample(name: str) -> torch.Tensor:
        image = read(name)
        if crop is not None and min(image.size) < crop:
            raise ValueError(f"{source / name}: {image.width} x {image.height} pixels; expected at least crop, {crop}")
        return _centre(image, shape[-1], crop).expand(shape)  # pictures of more than 8 bits are grey

    with workers() as pool, progress(f"images of {source.name}", total) as report:
        done = 0
        for part, names in zip(PARTS, parts, strict=True):
            with written(folder / f"{part}.npy", (len(names), *shape)) as append:
                for start in range(0, len(names), CHUNK):
                    rows = list(pool.map(sample, names[start : start + CHUNK]))
                    append(torch.stack(rows))
                    done += len(rows)
                    report(done)


def _centre(image: Image.Image, size: int, crop: int | None) -> torch.Tensor:
    """The central square of an image, of `crop` pixels or as large as may be, at size x size: [c, size, size] in [0, 1]."""
    side = crop or min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    values = torch.from_numpy(np.array(square)).reshape(size, size, -1).permute(2, 0, 1)
    return values.clamp(0, 1) if square.mode == "F" else values.float().div_(255)  # resizing rounds
