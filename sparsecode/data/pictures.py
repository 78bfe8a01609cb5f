"""The reader of picture files: the accepted formats, and the meaning of their pixel values."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

__all__ = ["RULES", "Picture", "file_bytes", "in_unit_range", "read_picture", "require_size"]

RULES = b"2"  # part of the name of what is cached: raise it when the same file would give other values
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
MOST_BYTES = 2**30  # of one file; Pillow itself refuses more than 179 million pixels
SHALLOW = ("L", "RGB")
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
WHITE_IS_ZERO, UNSIGNED = 0, 1


class Picture(NamedTuple):
    """An upright picture without transparency.

    `image` has mode "L" or "RGB" (8 bits per channel), "I" (grey integers of 16 or 32 bits) or "F" (grey float32), with
    the values of the file. `white` is the value of white: the type's full range, or None where the file does not say (32
    bits and floats). `mode` and `bits` per channel are those in the file, `profile` its ICC colour profile.
    """

    image: Image.Image
    bits: int
    white: int | None
    mode: str
    profile: bytes | None

    def pixels(self) -> NDArray[Any]:
        """Values as in the file, [h, w] or [h, w, 3]: uint8, uint16, int32 or float32."""
        values = np.asarray(self.image)
        return values.astype(np.uint16) if self.white and self.image.mode == "I" and values.min() >= 0 else values


class _Refused(Exception):
    """An intact picture that is not accepted; the message gives the reason and the remedy."""


def file_bytes(path: Path) -> bytes:
    """The content of a regular file.

    Raises FileNotFoundError or ValueError naming the path for links to nowhere, folders, devices and pipes (which may
    never end), for empty files and those of more than 1 GiB; OSError if it cannot be read.
    """
    try:
        state = path.stat()
    except FileNotFoundError:
        what = "a link to a file that does not exist" if path.is_symlink() else "no such file"
        raise FileNotFoundError(f"{path}: {what}; expected a picture file") from None
    if not stat.S_ISREG(state.st_mode):
        what = "folder" if stat.S_ISDIR(state.st_mode) else "device, pipe or socket"
        raise ValueError(f"{path}: a {what}; expected a picture file")
    require_size(path, state.st_size)
    return path.read_bytes()


def require_size(path: Path, size: int) -> None:
    """Raise ValueError naming the path for a file of no bytes or of more than 1 GiB."""
    if not size:
        raise ValueError(f"{path}: not a readable image (the file is empty); repair or remove it")
    if size > MOST_BYTES:
        raise ValueError(f"{path}: {size} bytes; expected a picture of at most {MOST_BYTES} bytes: make it smaller")


def read_picture(path: Path, read: Callable[[], bytes], background: float | None = None) -> Picture:
    """The picture that `read()` holds, in one of PNG, JPEG, WebP, BMP, TIFF, GIF and PPM; `path` names it in errors.

    - Orientation tags (EXIF) are applied.
    - Grey pictures of 16 and 32 bits and of floats keep their values. Colour pictures have 8 bits per channel; those of
      more are refused, because Pillow would drop the lower bits.
    - Black-and-white pictures become grey of 8 bits; palettes, CMYK (without its profile), YCbCr and LAB become RGB.
    - Pictures with transparent pixels are laid on a `background` of this grey level, 0 (black) to 1 (white), and refused
      without one: what lies below transparent pixels is arbitrary. An alpha channel that is opaque throughout is dropped.
    - Several pages or frames are refused, but for the JPEG of cameras with previews (MPO), whose first picture is read.

    Raises FileNotFoundError or ValueError naming the path.
    """
    try:
        with Image.open(io.BytesIO(read()), formats=FORMATS) as image:
            return _checked(image, background)
    except _Refused as refusal:
        raise ValueError(f"{path}: {refusal}") from None
    except UnidentifiedImageError:  # its message names a buffer of ours
        kinds = "PNG, JPEG, WebP, BMP, TIFF, GIF or PPM"
        raise ValueError(f"{path}: not a readable image (no {kinds} file); repair or remove it") from None
    except FileNotFoundError:
        raise
    except Exception as error:  # decoders raise whatever they meet in damaged files, KeyError and TypeError among them
        if str(error).startswith(f"{path}: "):
            raise
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: not a readable image ({reason}); repair or remove it") from None


def in_unit_range(path: Path, picture: Picture, white: float | None = None) -> Image.Image:
    """The picture with values that stand for black (0) to white: mode "L" or "RGB" as it is, others "F" in [0, 1].

    `white` is the value that becomes 1 in pictures of more than 8 bits: by default 65 535 for 16 bits and 1 for floats.
    Raises ValueError naming the path for values outside 0 to `white`, and for integers of 32 bits without `white`.
    """
    if picture.image.mode in SHALLOW:
        return picture.image
    values = np.asarray(picture.image)
    low, high = float(values.min()), float(values.max())
    top = white or picture.white or (1 if picture.image.mode == "F" else None)
    if top is None:
        raise ValueError(
            f"{path}: integers of {picture.bits} bits, {low:.9g} to {high:.9g}, without a stated white; set white to the "
            "value that is to be 1"
        )
    if not 0 <= low <= high <= top:  # not NaN either
        raise ValueError(
            f"{path}: values from {low:.9g} to {high:.9g}; expected 0 (black) to {top:.9g} (white): set white to the value "
            "that is to be 1, or convert the picture"
        )
    return Image.fromarray((values / np.float64(top)).astype(np.float32))


def _checked(image: ImageFile.ImageFile, background: float | None) -> Picture:
    mode, profile = image.mode, image.info.get("icc_profile")
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":
        raise _Refused(f"{pages} pages or frames; expected one: save them as separate pictures")
    bits, white = _depth(image)
    upright = ImageOps.exif_transpose(image)
    if mode.startswith(("I", "F")):
        if "transparency" in image.info:
            raise _Refused(f"transparency in a picture of {bits} bits; expected none: remove the transparent colour")
        upright = upright if upright.mode == "F" else upright.convert("I")
        values = np.asarray(upright)
        if not np.isfinite(values).all():
            raise _Refused("NaN or infinite values; expected finite ones: repair or remove it")
        if white is None and values.min() < 0 and _tag(image, SAMPLE_FORMAT, UNSIGNED) == UNSIGNED:
            raise _Refused(
                "integers beyond 2^31 - 1, which cannot be read; expected smaller ones: convert it to floats"
            )
        return Picture(upright, bits, white, mode, profile)
    grey = mode in ("1", "L", "LA", "La")
    if ("A" in mode.upper() and mode != "LAB") or "transparency" in image.info:
        upright = _opaque(upright.convert("RGBA"), background)
    if upright.mode != "L":  # LAB reaches grey by way of RGB alone
        upright = upright.convert("L" if grey and upright.mode == "1" else "RGB")
    return Picture(upright.convert("L") if grey else upright, bits, white, mode, profile)


def _depth(image: ImageFile.ImageFile) -> tuple[int, int | None]:
    """Bits per channel and the value of white, if that follows from them."""
    deep = image.mode.startswith(("I", "F"))
    args = image.tile[0].args if image.tile else ()
    if isinstance(image, TiffImageFile):
        bits = max(image.tag_v2.get(BITS_PER_SAMPLE, (1,)))
        if deep and _tag(image, PHOTOMETRIC, 1) == WHITE_IS_ZERO:
            raise _Refused("white is 0 in it (WhiteIsZero); expected black to be: convert it")
    elif image.format == "PPM" and isinstance(args, tuple) and len(args) == 2:  # the largest value, unless it is usual
        if args[1] not in (255, 65535):
            raise _Refused(f"largest value {args[1]}; expected 255 or 65535: convert it")
        bits = 8 if args[1] == 255 else 16
    elif image.mode == "F":
        bits = 32
    else:
        bits = 16 if deep or str(args).endswith(";16B") else 8
    if deep:
        signed = _tag(image, SAMPLE_FORMAT, UNSIGNED) != UNSIGNED
        return bits, None if bits > 16 else 2 ** (bits - signed) - 1
    if bits > 8:
        raise _Refused(
            f"{bits} bits per channel in colour or with transparency, of which 8 can be read; expected 8, or grey: convert "
            "it, or save each channel as a grey picture"
        )
    return 8, 255


def _tag(image: ImageFile.ImageFile, tag: int, default: int) -> int:
    value = image.tag_v2.get(tag, default) if isinstance(image, TiffImageFile) else default
    return value[0] if isinstance(value, tuple) else value


def _opaque(image: Image.Image, background: float | None) -> Image.Image:
    low, _ = image.getchannel("A").getextrema()
    if low == 255:
        return image.convert("RGB")
    if background is None:
        raise _Refused(
            "partly transparent; expected opaque pixels: set background to the grey level to lay it on, 0 (black) to 1 "
            "(white), or flatten it"
        )
    level = round(255 * background)
    return Image.alpha_composite(Image.new("RGBA", image.size, (level, level, level, 255)), image).convert("RGB")
