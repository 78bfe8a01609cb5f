"""Kinds of picture files by reader: `image_folder`, `patches` and `denoise` accept and refuse the same, with the same values."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from pictures import save
from PIL import Image

from sparsecode.cli import main
from sparsecode.data import ImageFolder, Patches
from sparsecode.data.local_contrast import Plain

Array = NDArray[Any]
SIDE = 16
GREY = np.random.RandomState(0).randint(0, 256, (SIDE, SIDE)).astype(np.uint8)
GREY[0, :2] = 0, 255
COLOUR = np.random.RandomState(1).randint(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
DEEP = GREY.astype(np.uint16) * 250 + np.arange(SIDE, dtype=np.uint16)  # not multiples of 257: 8 bits cannot hold them
SEE_THROUGH = np.dstack([COLOUR, np.where(GREY > 99, 255, 0).astype(np.uint8)])


def saved(values: Array | Image.Image, form: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    file = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(file, form, **options)
    return file.getvalue()


def turned(values: Array, form: str) -> bytes:
    """The picture as a camera on its side writes it: rows as columns, and a tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(np.rot90(values).copy(), form, exif=exif)


def film(form: str) -> bytes:
    pages = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    file = io.BytesIO()
    pages[0].save(file, form, save_all=True, append_images=pages[1:])
    return file.getvalue()


def png(values: Array, kind: int, bits: int = 16) -> bytes:
    """A PNG of the given colour type, as Pillow does not write it."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png_of(len(values[0]), len(values), bits, kind, zlib.compress(rows))


def png_of(width: int, height: int, bits: int, kind: int, data: bytes) -> bytes:
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(
    values: Array, order: Literal["<", ">"] = "<", photometric: int = 1, sample_format: int = 1, planes: int = 1
) -> bytes:
    """An uncompressed TIFF of any type of values, in either byte order."""
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    bits = 8 * values.dtype.itemsize
    entries = [
        (256, 3, 1, values.shape[1]), (257, 3, 1, values.shape[0]), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, photometric),
        (273, 4, 1, 8), (277, 3, 1, planes), (278, 3, 1, values.shape[0]), (279, 4, 1, len(data)), (339, 3, 1, sample_format),
    ]  # fmt: skip
    if planes == 3:  # three numbers of bits do not fit into the entry
        entries[2] = (258, 3, 3, 8 + len(data))
        data += struct.pack(order + "3H", bits, bits, bits)
    out = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data)) + data
    out += struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1
        out += struct.pack(order + ("HHIHH" if short else "HHII"), tag, kind, count, value, *([0] if short else []))
    return out + b"\0\0\0\0"


ROUGH = (GREY > 127).astype(np.uint8) * 255
FLOATS = (DEEP / 65535).astype(np.float32)
INDEXED = Image.fromarray(COLOUR).quantize(16)
PALETTE = np.asarray(INDEXED.convert("RGB"))
OPAQUE = np.dstack([COLOUR, np.full_like(GREY, 255)])

# Name, content, and the values that stand in it
ACCEPTED: dict[str, tuple[Callable[[], bytes], Array]] = {
    "grey.png": (lambda: saved(GREY), GREY),
    "colour.png": (lambda: saved(COLOUR), COLOUR),
    "colour.tif": (lambda: saved(COLOUR, "TIFF", compression="tiff_lzw"), COLOUR),
    "colour.bmp": (lambda: saved(COLOUR, "BMP"), COLOUR),
    "lossless.webp": (lambda: saved(COLOUR, "WEBP", lossless=True), COLOUR),
    "two.png": (lambda: saved(ROUGH, mode="1"), ROUGH),
    "palette.png": (lambda: saved(INDEXED), PALETTE),
    "still.gif.png": (lambda: saved(GREY, "GIF"), np.dstack([GREY] * 3)),
    "opaque.png": (lambda: saved(OPAQUE), COLOUR),
    "opaque grey.png": (lambda: saved(np.dstack([GREY, np.full_like(GREY, 255)])), GREY),
    "turned.png": (lambda: turned(COLOUR, "PNG"), COLOUR),
    "turned16.tif": (lambda: turned(DEEP, "TIFF"), DEEP),
    "grey16.png": (lambda: saved(DEEP), DEEP),
    "grey16.tif": (lambda: saved(DEEP, "TIFF", compression="tiff_adobe_deflate"), DEEP),
    "other order.tif": (lambda: tiff(DEEP, ">"), DEEP),
    "pgm16.png": (lambda: b"P5 16 16 65535\n" + DEEP.astype(">u2").tobytes(), DEEP),
    "floats.tif": (lambda: saved(FLOATS, "TIFF"), FLOATS),
    "camera.tif": (lambda: film("MPO"), np.asarray(Image.open(io.BytesIO(film("MPO"))))),
    "inks.tif": (
        lambda: saved(COLOUR, "TIFF", "CMYK"),
        np.asarray(Image.fromarray(COLOUR).convert("CMYK").convert("RGB")),
    ),
    "luma.tif": (
        lambda: saved(COLOUR, "TIFF", "YCbCr"),
        np.asarray(Image.fromarray(COLOUR).convert("YCbCr").convert("RGB")),
    ),
}

REFUSED: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "colour16.png": (lambda: png(DEEP[..., None].repeat(3, -1), 2), "16 bits per channel in colour"),
    "alpha16.png": (lambda: png(DEEP[..., None].repeat(4, -1), 6), "16 bits per channel in colour"),
    "colour16.tif": (
        lambda: tiff(DEEP[..., None].repeat(3, -1), photometric=2, planes=3),
        "16 bits per channel in colour",
    ),
    "ppm16.png": (lambda: b"P6 1 1 65535\n" + bytes(6), "16 bits per channel in colour"),
    "pgm10.png": (lambda: b"P5 1 1 1023\n" + bytes(2), "largest value 1023; expected 255 or 65535"),
    "inverse.tif": (lambda: tiff(DEEP, photometric=0), "WhiteIsZero"),
    "nan.tif": (lambda: saved(np.where(GREY > 9, FLOATS, np.float32("nan")), "TIFF"), "NaN or infinite values"),
    "huge.tif": (lambda: tiff(np.full((4, 4), 2**31 + 5, np.uint32)), "integers beyond"),
    "clear.png": (lambda: saved(SEE_THROUGH), "partly transparent; expected opaque pixels: set background"),
    "clear grey.png": (lambda: saved(np.dstack([GREY, GREY])), "partly transparent"),
    "clear palette.png": (lambda: saved(INDEXED, transparency=3), "partly transparent"),
    "clear colour.png": (lambda: saved(COLOUR, transparency=tuple(COLOUR[3, 3].tolist())), "partly transparent"),
    "clear16.png": (lambda: saved(DEEP, transparency=int(DEEP[3, 3])), "transparency in a picture of 16 bits"),
    "pages.tif": (lambda: film("TIFF"), "2 pages or frames; expected one"),
    "film.png": (lambda: film("PNG"), "2 pages or frames"),
    "film.webp": (lambda: film("WEBP"), "2 pages or frames"),
    "empty.png": (b"", "not a readable image .the file is empty"),
    "text.jpg": (b"no picture at all", "not a readable image .no PNG, JPEG"),
    "archive.png": (b"PK\x05\x06" + bytes(18), "not a readable image .no PNG, JPEG"),
    "cut.png": (lambda: saved(COLOUR)[:300], "not a readable image .image file is truncated"),
    "cut.jpg": (lambda: saved(COLOUR, "JPEG")[:-100], "not a readable image .image file is truncated"),
    "bomb.png": (lambda: png_of(60_000, 60_000, 8, 0, zlib.compress(bytes(9))), "not a readable image .Image size"),
}
PLACES = {
    "nowhere.png": "a link to a file that does not exist",
    "zeros.png": "a device, pipe or socket",
    "pipe.png": "a device, pipe or socket",
}


def put(folder: Path, name: str) -> Path:
    """The file of that name in the tables."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    if name == "pipe.png":
        os.mkfifo(path)
    elif name in PLACES:
        path.symlink_to({"nowhere.png": "/absent", "zeros.png": "/dev/zero"}[name])
    else:
        content = (ACCEPTED.get(name) or REFUSED[name])[0]
        path.write_bytes(content if isinstance(content, bytes) else content())
    return path


def unit(values: Array) -> Array:
    """Black 0, white 1."""
    return values / {"u": np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1, "f": 1}[values.dtype.kind]


def folder_of(path: Path, **settings: Any) -> ImageFolder:
    shape: dict[str, Any] = {"size": SIDE, "valid": 0.34, "test": 0.34}
    return ImageFolder(path=str(path), **(shape | settings))


def patches_of(path: Path, **settings: Any) -> Patches:
    sizes: dict[str, Any] = {"size": 8, "resize": SIDE, "preprocess": Plain(), "n_train": 2, "n_valid": 1, "n_test": 1}
    return Patches(images=str(path), **(sizes | settings))


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_sources_agree_on_values(name: str, tmp_path: Path) -> None:
    expected = unit(ACCEPTED[name][1])
    for i in range(3):
        put(tmp_path / str(i), name)
    colour = np.broadcast_to(expected[..., None] if expected.ndim == 2 else expected, (SIDE, SIDE, 3))
    result = folder_of(tmp_path).load().train.x[0].numpy()
    np.testing.assert_allclose(result.transpose(1, 2, 0), colour, atol=1e-6)
    patch = patches_of(tmp_path).load().train.x[0, 0].numpy()
    grey = np.asarray(Image.fromarray(ACCEPTED[name][1]).convert("L")) / 255 if expected.ndim == 3 else expected
    windows = np.lib.stride_tricks.sliding_window_view(grey, (8, 8))
    windows = windows - windows.mean(axis=(2, 3), keepdims=True)
    assert np.abs(windows - patch).max(axis=(2, 3)).min() < 1e-5


@pytest.fixture
def atoms(tmp_path: Path) -> Path:
    """The 16 cosines of a 4 x 4 patch, which leave nothing out."""
    k = np.arange(4)
    basis = np.cos(np.pi * (k + 0.5) * k[:, None] / 4)
    np.save(tmp_path / "atoms.npy", np.einsum("ix,jy->ijxy", basis, basis).reshape(16, 16).astype(np.float32))
    return tmp_path / "atoms.npy"


def test_denoise_writes_what_it_read(atoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All kinds at once, and of integers of 32 bits; next to no noise, so that every value must come back."""
    wide = np.array(DEEP, np.int32) * 20_000 - 5
    save(tmp_path / "in" / "wide.tif", wide)
    images = {name: put(tmp_path / "in", name) for name in ACCEPTED} | {"wide.tif": tmp_path / "in" / "wide.tif"}
    expected = {name: values for name, (_, values) in ACCEPTED.items()} | {"wide.tif": wide}
    command = ["denoise", *map(str, images.values()), "--dictionary", str(atoms), "--out", str(tmp_path / "out")]
    assert main([*command, "--sigma", "1e-6", "--stride", "4"]) == 0
    said = capsys.readouterr().out.splitlines()
    for name, values in expected.items():
        target = tmp_path / "out" / (name if not name.endswith(".webp") else name.replace(".webp", ".png"))
        (line,) = [line for line in said if line.startswith(f"{target} ")]
        assert f"{values.dtype}, {values.min():.9g} to {values.max():.9g} (file: " in line
        with Image.open(target) as image:
            result = np.asarray(image)
            assert image.format == {".png": "PNG", ".tif": "TIFF", ".bmp": "BMP"}[target.suffix]
            assert not image.getexif().get(0x0112)
        assert (result.dtype, result.shape) == (values.dtype, values.shape)
        rounding = 1e-6 * float(np.abs(values).max()) if values.dtype.itemsize == 4 else 0
        np.testing.assert_allclose(result, values, rtol=0, atol=rounding)


@pytest.mark.parametrize("name", [*REFUSED, *PLACES])
def test_all_readers_refuse_in_a_line(
    name: str, atoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = f"{name}: .*{PLACES.get(name) or REFUSED[name][1]}"
    path = put(tmp_path / "in", name)
    for i in range(3):
        save(path.with_name(f"{i}.png"), GREY)
    for source in (folder_of(path.parent), patches_of(path.parent)):
        with pytest.raises((ValueError, FileNotFoundError), match=f"{message}.*, or set skip_unreadable$"):
            source.load()
        with pytest.warns(UserWarning, match=f"{path.parent}: 1 of 4 files cannot be read and are left out"):
            replace(source, skip_unreadable=True).load()
    capsys.readouterr()  # progress bars
    assert main(["denoise", str(path), "--dictionary", str(atoms), "--sigma", "1", "--out", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sparsecode denoise: {path}: ")
    assert "skip_unreadable" not in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["clear.png", "clear grey.png", "clear palette.png", "clear colour.png"])
def test_a_background_shows_below_transparent_pixels(name: str, tmp_path: Path) -> None:
    path = put(tmp_path / "in", name)
    for i in range(2):
        path.with_name(f"{i}.png").write_bytes(path.read_bytes())
    with Image.open(path) as image:
        rgba = np.asarray(image.convert("RGBA")) / 255
    expected = rgba[..., 3:] * rgba[..., :3] + (1 - rgba[..., 3:]) * 0.2
    result = folder_of(path.parent, background=0.2).load().train.x[0].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(result, expected, atol=1 / 255)
    assert patches_of(path.parent, background=0.2).load().train.x.std() > 0


def test_denoise_lays_pictures_on_a_background(atoms: Path, tmp_path: Path) -> None:
    path = put(tmp_path / "in", "clear.png")
    command = ["denoise", str(path), "--dictionary", str(atoms), "--sigma", "1e-6", "--out", str(tmp_path / "out")]
    assert main([*command, "--background", "1"]) == 0
    with Image.open(tmp_path / "out" / path.name) as image:
        result = np.asarray(image)
    assert (result[SEE_THROUGH[..., 3] == 0] == 255).all()
    assert (result[SEE_THROUGH[..., 3] == 255] == COLOUR[SEE_THROUGH[..., 3] == 255]).all()
    assert main([*command, "--background", "2", "--force"]) == 2


@pytest.mark.parametrize(
    ("values", "white", "message"),
    [
        (DEEP.astype(np.int32), None, "integers of 32 bits, 0 to 63751, without a stated white; set white"),
        (FLOATS * 255, None, r"values from 0 to 24\d\.\d+; expected 0 .black. to 1 .white.: set white"),
        (FLOATS - 0.5, 1.0, "values from -0.5 to"),
        (DEEP, 30_000.0, "values from 0 to 63751; expected 0 .black. to 30000"),
        (DEEP, 63751.0, None),
        (DEEP.astype(np.int32), 63751.0, None),
        (DEEP.astype(np.float32), 63751.0, None),
    ],
)
def test_white_is_what_the_file_says_or_what_is_stated(
    values: Array, white: float | None, message: str | None, tmp_path: Path
) -> None:
    for i in range(3):
        save(tmp_path / f"{i}.tif", values)
    for source in (folder_of(tmp_path, white=white, grey=True), patches_of(tmp_path, white=white)):
        if message:
            with pytest.raises(ValueError, match=rf"\d\.tif: {message}"):
                source.load()
    if message is None:
        assert white is not None
        result = folder_of(tmp_path, white=white, grey=True).load().train.x[0, 0].numpy()
        np.testing.assert_allclose(result, values / white, atol=1e-6)


def test_a_name_that_cannot_hold_the_values_is_said_before_the_work(
    atoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "floats.png"
    path.write_bytes(saved(FLOATS, "TIFF"))
    command = ["denoise", str(path), "--dictionary", str(atoms), "--sigma", "1", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert (
        "floats.png: cannot hold values of type float32; expected a name that ends in .tif" in capsys.readouterr().err
    )


def test_absurd_archives_and_pictures_are_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "long").mkdir()
    for i in range(3):
        save(tmp_path / "long" / f"{i}.png", np.zeros((1, 40_000), np.uint8))
    with pytest.raises(ValueError, match=r"\d\.png: 40000 x 1 pixels; resize 256 makes more than"):
        patches_of(tmp_path / "long", resize=256).load()
    with ZipFile(tmp_path / "bomb.zip", "w", ZIP_DEFLATED) as file:
        for i in range(3):
            file.writestr(f"{i}.png", saved(GREY))
        file.writestr("zeros.png", b"0")
    data = bytearray((tmp_path / "bomb.zip").read_bytes())
    at = data.index(b"PK\x01\x02", data.rindex(b"zeros.png") - 60)
    data[at + 24 : at + 28] = struct.pack("<I", 2**31)  # the size that its directory states
    (tmp_path / "bomb.zip").write_bytes(data)
    source = folder_of(tmp_path / "bomb.zip")
    with pytest.raises(
        ValueError, match=r"bomb\.zip/zeros\.png: 2147483648 bytes; expected a picture of at most 1073741824"
    ):
        source.load()
    with pytest.warns(UserWarning, match="1 of 4 files"):
        assert replace(source, skip_unreadable=True).load().train.n == 1
    with ZipFile(tmp_path / "nested.zip", "w") as file:
        file.write(tmp_path / "bomb.zip", "inner.zip")
    with pytest.raises(ValueError, match=r"nested\.zip: no images in it"):
        folder_of(tmp_path / "nested.zip").load()


def test_folders_named_as_pictures_are_searched_and_denoise_refuses_them(
    atoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        save(tmp_path / "in" / "folder.png" / f"{i}.png", GREY)
    assert folder_of(tmp_path / "in").load().train.n == 1
    command = ["denoise", str(tmp_path / "in" / "folder.png"), "--dictionary", str(atoms), "--sigma", "1"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 1
    assert "folder.png: a folder; expected a picture file" in capsys.readouterr().err
