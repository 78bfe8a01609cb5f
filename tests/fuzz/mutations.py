"""Damage done at random to JSON, to bytes of files and to command lines, as a function of a generator."""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["damaged_bytes", "damaged_json", "damaged_npy", "odd_word"]

Place = tuple[Any, Any]  # a container and a key in it

NUMBERS = [
    0,
    -1,
    1,
    2,
    3,
    7,
    64,
    0.5,
    1.5,
    4.0,
    -0.0,
    1e-300,
    1e300,
    10**6,
    10**12,
    2**31,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    -(10**12),
]
WORDS = [
    "", "x", "none", "None", "null", "true", "relu", "topk", "float16", "/", "..", ".", "~", "a b", "-1", "[red]", "[/]", "$\\frac", "<!--",
    "\n", "\x00", "\x1b[2J", "\ud800", "é", "\U0001f600", "x" * 300, "../../etc/passwd", "/dev/zero", "nowhere.npy", "digits", "l1",
]  # fmt: skip
OTHERS: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    [[]],
    [1, 2],
    [None],
    {"a": 1},
    {"type": "x"},
    {"type": None},
    {"type": []},
]
TEXTS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "01",
    "'x'",
    "{",
    "]",
    "\ufeff",
    "/* */",
    '"\\ud800"',
    "[" * 200 + "]" * 200,
    "1" * 5000,
]


def odd_value(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(rng.choice([NUMBERS, NUMBERS, WORDS, OTHERS])))


def odd_word(rng: random.Random) -> str:
    """A word of a command line; the system takes none with a zero byte."""
    word = str(odd_value(rng)) if rng.random() < 0.7 else rng.choice(TEXTS)
    return word.replace("\x00", "").replace("\ud800", "\udcff")[:1000]


def _places(value: Any) -> Iterator[Place]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


def damaged_json(raw: Any, rng: random.Random) -> bytes:
    """JSON with one to three of its values changed, or its text damaged."""
    raw = copy.deepcopy(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_places(raw))
        if not places:
            raw = odd_value(rng)
            continue
        container, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del container[key]
            case 1 if isinstance(container, dict):
                container[f"{key}{rng.choice(['s', '_', '2', ' '])}"] = container.pop(key)
            case 2:  # another value of the same file
                other, there = rng.choice(places)
                if there in other if isinstance(other, dict) else there < len(other):
                    container[key] = copy.deepcopy(other[there])
            case 3 if isinstance(container[key], int | float) and not isinstance(container[key], bool):
                container[key] = container[key] * rng.choice([-1, 0, 0.5, 2, 1000, 10**9, 10**20])
            case _:
                container[key] = odd_value(rng)
    data = json.dumps(raw, indent=rng.choice([None, 2]), ensure_ascii=rng.random() < 0.9).encode(errors="surrogatepass")
    match rng.randrange(12):
        case 0:
            return damaged_bytes(data, rng)
        case 1:  # a number or text in another dialect
            digits = [i for i, byte in enumerate(data) if chr(byte).isdigit()] or [0]
            at = rng.choice(digits)
            return data[:at] + rng.choice(TEXTS).encode() + data[at + 1 :]
        case 2:
            return rng.choice(
                [b"\xef\xbb\xbf" + data, data.decode(errors="replace").encode("utf-16"), data + data, data.lower()]
            )
        case _:
            return data


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes with some flipped, cut off, left out or put in."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(min(len(changed), rng.choice([64, 512, 10**9])) or 1)
        match rng.randrange(6):
            case 0:
                del changed[at:]
            case 1:
                del changed[at : at + rng.choice([1, 8, 100])]
            case 2:
                changed[at:at] = rng.randbytes(rng.choice([1, 8, 100]))
            case 3 if len(changed) >= 8:
                changed[at : at + 8] = rng.choice([2**64 - 1, 2**40, 2**31, 0, 8]).to_bytes(8, "little")
            case _ if changed:
                at = min(at, len(changed) - 1)
                changed[at] ^= rng.choice([1, 16, 128, 255])
            case _:
                pass
    return bytes(changed)


SHAPES = [
    (),
    (0,),
    (4,),
    (2, 3),
    (4, 8, 8),
    (4, 64),
    (-1, 3),
    (2**40, 8),
    (2**63, 1),
    (0, 2**62, 2**62),
    (1,) * 40,
    (True, 2),
    (2.0, 3),
    ("a",),
    (3, 8, 9),
]
KINDS = [
    "<f4",
    ">f4",
    "<f8",
    "<f2",
    "|u1",
    "|b1",
    "<i8",
    ">i2",
    "<c16",
    "|O",
    "<U3",
    "|S4",
    "<M8[s]",
    "|V2",
    "<f16",
    "[('a', '<f4')]",
    "",
    "banana",
    "<f0",
    "(2,)<f4",
]


def damaged_npy(rng: random.Random) -> bytes:
    """A `.npy` file whose header may lie, with some numbers behind it."""
    header = {
        "descr": rng.choice(KINDS),
        "fortran_order": rng.choice([False, False, True, None, 0]),
        "shape": rng.choice(SHAPES),
    }
    if rng.random() < 0.1:
        header.pop(rng.choice(list(header)))
    text = (
        repr(header)
        if rng.random() < 0.95
        else rng.choice(["", "{", "(" * 200, "[" * 5000, "1+1", "{}", "None", "\x00" * 9])
    )
    version = rng.choice([(1, 0), (1, 0), (2, 0), (3, 0), (4, 0), (0, 0)])
    size = len(text) if rng.random() < 0.95 else rng.choice([0, 1, 2**16 - 1])
    length = size.to_bytes(2 if version == (1, 0) else 4, "little")
    n = rng.choice([0, 1, 6, 256, 256, 256])
    numbers = np.random.RandomState(rng.randrange(2**31)).rand(n).astype(rng.choice(["<f4", "<f8", "u1"])).tobytes()
    data = b"\x93NUMPY" + bytes(version) + length + text.encode() + numbers
    return damaged_bytes(data, rng) if rng.random() < 0.2 else data


def damaged_npz(rng: random.Random) -> bytes:
    """An archive of such files."""
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name in rng.sample(
            ["x.npy", "z.npy", "params", "../x.npy", "x_train.npy", ".npy"], rng.choice([0, 1, 1, 2])
        ):
            archive.writestr(name, damaged_npy(rng))
    return damaged_bytes(file.getvalue(), rng) if rng.random() < 0.5 else file.getvalue()
