"""Compiled functions are kept on disk where that is possible, and compiled anew wherever it is not."""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from sparsecode.files import cache_folder
from sparsecode.kernels import jit, unit_rows
from sparsecode.kernels.compiling import lowered

SOURCE = """
from sparsecode.kernels.jit import compiled

@compiled()
def double(x):
    return 2 * x
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    return folder


def imported(path: Path) -> ModuleType:
    """A module as a new process would have it: nothing of it is compiled yet."""
    jit._stamp.cache_clear()  # pyright: ignore[reportPrivateUsage]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept(path: Path, value: float = 3.0) -> bool:
    """Whether double(value) = 2 value came from the cache; that it is right in any case."""
    double: Any = imported(path).double
    assert double(value) == 2 * value
    return double.compilations == 0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "toy.py"
    path.write_text(SOURCE)
    return path


def files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_compiled_functions_are_kept_for_each_signature(source: Path, cache: Path) -> None:
    assert not kept(source)
    assert kept(source)
    assert not kept(source, 3)
    assert kept(source, 3)
    assert kept(source)
    assert len(files(cache)) == 2


def test_wide_functions_use_registers_of_512_bits_where_there_are_any(tmp_path: Path, cache: Path) -> None:
    from llvmlite.binding import get_host_cpu_features

    path = tmp_path / "sums.py"
    text = "from sparsecode.kernels.jit import compiled\n"
    for name, options in (("narrow", ""), ("broad", "wide=True")):
        text += f"""
@compiled({options})
def {name}(x):
    total = x[0] - x[0]
    for i in range(len(x)):
        total += x[i]
    return total
"""
    path.write_text(text)
    module, x = imported(path), np.arange(99, dtype=np.float32)
    assert module.narrow(x) == module.broad(x) == x.sum()
    if not get_host_cpu_features().get("avx512f") or "NUMBA_CPU_NAME" in os.environ:
        return
    # Instructions of AVX-512 begin with 0x62; bit 2 of the third byte is set, and bits 6 and 5 of the fourth are 10 for 512 bits.
    count: dict[str, int] = {}
    for name in ("narrow", "broad"):
        data = next(cache.rglob(f"sums.{name}-*")).read_bytes()
        count[name] = sum(
            a == 0x62 and b & 4 != 0 and c & 0x60 == 0x40 for a, b, c in zip(data, data[2:], data[3:], strict=False)
        )
    assert count["broad"] > 3
    assert count["broad"] >= count["narrow"]


def flipped(place: float) -> Callable[[bytes], bytes]:
    def flip(data: bytes) -> bytes:
        i = int(place * (len(data) - 1))
        return data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]

    return flip


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda _: b"noise" * 99, lambda data: data[:20], lambda data: data[:-1], *map(flipped, (0, 0.2, 0.7, 1))],
    ids=["empty", "foreign", "cut early", "cut late", "flipped 0", "flipped 0.2", "flipped 0.7", "flipped 1"],
)  # fmt: skip
def test_damaged_files_are_compiled_anew(source: Path, cache: Path, damage: Callable[[bytes], bytes]) -> None:
    assert not kept(source)
    (file,) = files(cache)
    file.write_bytes(damage(file.read_bytes()))
    assert not kept(source)
    assert kept(source)
    assert files(cache) == [file]


def test_a_changed_source_and_a_changed_import_of_it_are_compiled_anew(
    source: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit, "HERE", tmp_path)  # where the text of imported kernels is read
    for name, text in (("jit", ""), ("near", "from sparsecode.kernels.far import x"), ("far", "")):
        (tmp_path / f"{name}.py").write_text(text)
    source.write_text(SOURCE + '"""\nfrom sparsecode.kernels.near import x\n"""')
    assert not kept(source)
    assert kept(source)
    (tmp_path / "far.py").write_text("x = 1")
    assert not kept(source)
    source.write_text(SOURCE.replace("2 * x", "x + x"))
    assert not kept(source)
    assert kept(source)
    assert len(files(cache)) == 1  # the new one in place of the old


@pytest.mark.parametrize("place", ["/dev/null/cache", "/proc/none/cache", "FILE"])
def test_a_folder_that_cannot_be_written_costs_the_cache_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", place.replace("FILE", str(tmp_path / "file")))
    assert not kept(source)
    assert not kept(source)


def test_a_full_disk_leaves_nothing_half_written(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource", reason="the size of files is limited by a POSIX function")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # Python would keep what is cut short of modules imported then
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        result = kept(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not result
    assert files(cache) == []


def test_the_folder_is_that_of_the_user_and_not_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setenv("SPARSECODE_CACHE", str(tmp_path))
    kernel: Any = unit_rows._remove_parallel  # pyright: ignore[reportPrivateUsage]
    assert kernel.cache_path.parent == tmp_path / "kernels"
    monkeypatch.setenv("SPARSECODE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert tmp_path in kernel.cache_path.parents
    monkeypatch.setenv("SPARSECODE_CACHE", "~/cache")
    assert cache_folder() == tmp_path / "home" / "cache"


def test_without_a_home_there_is_no_cache_folder(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    for name in ("SPARSECODE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user whom the system does not know
    with pytest.raises(FileNotFoundError, match="set SPARSECODE_CACHE to a folder"):
        cache_folder()
    assert not kept(source)


ARGUMENTS = """
import numpy as np
from sparsecode.kernels.jit import compiled

@compiled()
def total(a, which, scale, parts, many):
    result = 0.0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            if which[i]:
                result += scale * a[i, j] * parts.weight[j]
    return result + parts.bias * many

@compiled()
def shaped(flat, rows, out):
    both = flat[: 2 * rows].reshape(rows, 2)
    for i in range(rows):
        out[i] = both[i, 0] - both[i, 1]

@compiled()
def first(x):
    return x[0]

@compiled(divide=True)
def ratio(a, b):
    return a / b

@compiled()
def checked_ratio(a, b):
    return a / b

@compiled()
def any_negative(x):
    for value in x:
        if value < 0:
            return True
    return False

@compiled()
def sum_or_first(x, other):
    return x[0] if other is None else x[0] + other[0]

@compiled()
def is_negative(x):
    return x < 0

@compiled()
def pair(x):
    return x, x
"""


class Parts(NamedTuple):
    """A tuple of an array and a number, as kernels take."""

    weight: np.ndarray
    bias: float


@pytest.fixture
def functions(tmp_path: Path, cache: Path) -> Any:
    path = tmp_path / "arguments.py"
    path.write_text(ARGUMENTS)
    return imported(path)


def test_arrays_of_any_layout_numbers_and_tuples_arrive_as_they_are(functions: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, which = rng.normal(size=(6, 8)), np.array([True, False, True])
    mapped = np.memmap(tmp_path / "mapped", np.float64, "w+", shape=(3, 4))
    mapped[:] = rng.normal(size=(3, 4))
    weight = rng.normal(size=4)
    fixed = weight.copy()
    fixed.flags.writeable = False
    cases = [
        (a[:3, :4].copy(), weight),
        (a[::2, ::2], a[0, ::2]),
        (np.asfortranarray(a[:3, :4]), fixed),
        (mapped, weight),
        (a[:1, :4], weight),
        (a[:0, :4], weight),
    ]
    for rows, row in cases:
        expected = 2.0 * ((rows * which[: len(rows), None]) @ row).sum() + 0.5 * 3
        assert functions.total(rows, which, 2.0, Parts(row, 0.5), 3) == pytest.approx(expected, rel=1e-12)
    assert functions.total.compilations == 3
    out = np.empty(3, np.float32)
    functions.shaped(np.arange(8, dtype=np.float32) ** 2, 3, out)
    assert out.tolist() == [-1.0, -5.0, -9.0]


def test_results_are_numbers_of_their_type_and_errors_are_raised(functions: Any) -> None:
    kinds = {np.float64: 1.25, np.float32: 1.25, np.int64: -(2**40), np.int32: -7, np.bool_: True}
    for kind, value in kinds.items():
        assert functions.first(np.array([value, 0], kind)) == value
    assert functions.any_negative(np.array([1.0, -1.0])) is True
    assert functions.any_negative(np.array([1.0, 1.0])) is False
    assert functions.sum_or_first(np.array([1.0]), None) == 1.0
    assert functions.sum_or_first(np.array([1.0]), np.array([2.0])) == 3.0
    assert functions.ratio(1.0, 0.0) == np.inf
    with pytest.raises(ZeroDivisionError):
        functions.checked_ratio(1.0, 0.0)
    with pytest.raises(ZeroDivisionError, match="a reshape to another size"):
        functions.shaped(np.ones(3, np.float32), 3, np.empty(3, np.float32))
    assert functions.checked_ratio(1.0, 4) == 0.25
    with pytest.raises(TypeError, match="arrays, numbers, None and tuples of these, not str"):
        functions.first("text")
    with pytest.raises(TypeError, match=r"pair returns .*; compiled functions return a number or None"):
        functions.pair(1.0)


def test_a_source_gives_the_same_code_each_time() -> None:
    """Numba's names of variables hold counters and addresses: those of `make kernels` would differ at every run."""

    def kernel(x: Any) -> Any:
        return x[0] / x[1]

    first, second = (lowered(kernel, {}, (np.zeros(3),)) for _ in range(2))
    assert first == second


def test_integers_beyond_64_bits_are_refused_and_leave_no_code_of_another_type(functions: Any) -> None:
    for large in (2**63, 2**64, -(2**63) - 1):
        with pytest.raises(struct.error):
            functions.is_negative(large)
    assert functions.is_negative.compilations == 0
    assert functions.is_negative(-1) is True
    assert functions.is_negative(2**63 - 1) is False


@pytest.mark.parametrize("kind", [np.bool_, np.int16, np.float32])
def test_arrays_of_other_types_negative_steps_and_odd_addresses_are_read_as_numpy_does(
    functions: Any, kind: type
) -> None:
    numbers = (np.arange(12) % 5).astype(kind).reshape(3, 4)
    odd = np.zeros(numbers.nbytes + 1, np.uint8)[1:].view(kind).reshape(3, 4)
    odd[:] = numbers
    which, weight = np.ones(3, np.bool_), np.ones(4)
    for array in (
        numbers,
        numbers[::-1, ::-1],
        numbers.T.copy().T,
        np.broadcast_to(numbers[0], (3, 4)),
        odd,
        numbers[:, :0],
    ):
        expected = array.sum(dtype=np.float64)
        assert functions.total(array, which, 1.0, Parts(weight, 0.0), 0) == expected
    swapped = numbers.astype(numbers.dtype.newbyteorder())
    if swapped.dtype != numbers.dtype:
        with pytest.raises(Exception, match="Unsupported array dtype"):
            functions.total(swapped, which, 1.0, Parts(weight, 0.0), 0)


PROGRAM = """
import sys, zlib
import numpy as np
from sparsecode import omp_encode, sparse_encode
from sparsecode.kernels import shipped
if sys.argv[1:] == ["not shipped"]:
    shipped.stamps = dict
rng = np.random.default_rng(0)
x, D = rng.normal(size=(40, 32)), rng.normal(size=(64, 32))
out = [sparse_encode(x, D, 1.0), sparse_encode(x.astype("f4"), D.astype("f4"), 1.0), omp_encode(x, D, 5)]
if sys.argv[1:]:  # a function with parts of the same names, before
    out.append(sparse_encode(x, D, 1.0, mask=x < 1))
print("numba" in sys.modules, *[zlib.crc32(part.tobytes()) for part in out])
"""


@pytest.mark.slow
def test_what_has_just_been_compiled_and_what_is_loaded_give_the_same_bits(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def results(*words: str) -> list[str]:
        done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True)
        return done.stdout.split()

    fresh, loaded, more, all_loaded = results(), results(), results("masked"), results("masked")
    assert {fresh[0], loaded[0], more[0], all_loaded[0]} == {"False"}
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache / "numba"))
    by_numba = results("not shipped")
    assert by_numba[0] == "True"
    assert by_numba[1:] == more[1:]
    assert fresh[1:] == loaded[1:] == more[1:4]
    assert more[1:] == all_loaded[1:]
