"""Files are whole or not there, and a folder has one owner."""

import errno
import os
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest

from sparsecode.files import TEMPORARY, locked, remove_leftovers, save_atomic, write_atomic


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "config.json"
    for data in (b"first", b"the second, longer", b""):
        write_atomic(path, data)
        assert path.read_bytes() == data
    assert listing(tmp_path) == ["new", "new/folder", "new/folder/config.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*config\.json: No space left on device") as caught:
        write_atomic(path, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["config.json"]


def test_a_crash_before_the_rename_leaves_the_old_file_and_a_leftover(tmp_path: Path) -> None:
    path = tmp_path / "run" / "config.json"
    write_atomic(path, b"old")
    crash = "import os, pathlib, sys; from sparsecode.files import write_atomic; os.fsync = lambda _: os._exit(9)"
    code = f"{crash}; write_atomic(pathlib.Path(sys.argv[1]), b'new')"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["run", "run/config.json", f"run/config.json{TEMPORARY}"]
    remove_leftovers(tmp_path)
    assert listing(tmp_path) == ["run", "run/config.json"]


def test_a_leftover_does_not_hinder_the_next_write(tmp_path: Path) -> None:
    (tmp_path / f"config.json{TEMPORARY}").write_bytes(b"half of a much longer fi")
    write_atomic(tmp_path / "config.json", b"new")
    assert (tmp_path / "config.json").read_bytes() == b"new"
    assert listing(tmp_path) == ["config.json"]


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*config\.json: Is a directory"):
        write_atomic(tmp_path / "config.json", b"new")
    assert listing(tmp_path) == ["config.json"]


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"not a folder")
    with pytest.raises(OSError, match=r"cannot write .*config\.json: "):
        write_atomic(tmp_path / "run" / "config.json", b"new")
    assert (tmp_path / "run").read_bytes() == b"not a folder"


def test_what_fails_while_saving_leaves_the_old_file(tmp_path: Path) -> None:
    def half(file: BytesIO) -> None:
        file.write(b"ha")
        raise RuntimeError

    save_atomic(tmp_path / "figure.png", lambda file: file.write(b"whole"))
    with pytest.raises(RuntimeError):
        save_atomic(tmp_path / "figure.png", half)
    assert (tmp_path / "figure.png").read_bytes() == b"whole"
    assert listing(tmp_path) == ["figure.png"]


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    for name in ("a.json", f"a.json{TEMPORARY}", f"{TEMPORARY}.txt", f"deep/er/b{TEMPORARY}"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert listing(tmp_path) == [f"{TEMPORARY}.txt", "a.json", "deep", "deep/er"]


HOLD = """
import pathlib, sys
from sparsecode.files import locked
try:
    with locked(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except BlockingIOError as error:
    print(error, flush=True)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that takes the folder, says so, and keeps it until its input ends."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_second_process_is_refused_and_told_which_folder(tmp_path: Path) -> None:
    with locked(tmp_path / "run"), holder(tmp_path / "run") as other:
        said, _ = other.communicate(timeout=60)
    assert said == f"{tmp_path / 'run'}: another process is training here; wait for it or choose another folder\n"


def test_a_folder_is_free_again_after_use_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with holder(tmp_path) as other:
        said, _ = other.communicate(timeout=60)
    assert said == "held\n"


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), locked(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait(timeout=60)
        with locked(tmp_path):
            pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write to .*file/run: .*; choose another folder") as caught:
        locked(tmp_path / "file" / "run").__enter__()
    assert not isinstance(caught.value, BlockingIOError)


def test_folders_are_locked_one_by_one(tmp_path: Path) -> None:
    with locked(tmp_path / "a"), holder(tmp_path / "b") as other:
        said, _ = other.communicate(timeout=60)
    assert said == "held\n"
