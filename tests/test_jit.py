"""Compiled functions are kept on disk where that is possible, and compiled anew wherever it is not."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sparsecode.files import cache_folder
from sparsecode.kernels import jit, unit_rows

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
    return sum(double.stats.cache_hits.values()) == 1


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
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
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
    assert Path(kernel.stats.cache_path).parent == tmp_path / "kernels"
    monkeypatch.setenv("SPARSECODE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert tmp_path in Path(kernel.stats.cache_path).parents
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
