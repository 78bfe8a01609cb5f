"""Files are whole or not there, and a folder has one owner."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE

from sparsecode.cli.paths import written_together
from sparsecode.data.code_index import read_code_index
from sparsecode.data.code_writer import CodeWriter
from sparsecode.data.numpy_files import map_npy, read_npy, read_npz
from sparsecode.data.shard_index import read_index
from sparsecode.data.shard_writer import ShardWriter
from sparsecode.data.text import bytes_of
from sparsecode.evaluate.units.feature_file import read_record
from sparsecode.files import (
    TEMPORARY,
    absent,
    held,
    is_own,
    locked,
    remove_leftovers,
    require_own,
    save_atomic,
    whole_folder,
    write_atomic,
)
from sparsecode.interop.readers import read_json
from sparsecode.interop.weights import load_torch, read_safetensors
from sparsecode.models.storage import load_model

OLD, NEW = b'{"format":1,"spec":{"type":"old"}}', b'{"format":1,"spec":{"type":"new"}}'


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "config.json"
    for data in (OLD, NEW + b"\n", b""):
        write_atomic(path, data)
        assert path.read_bytes() == data
    assert listing(tmp_path) == ["new", "new/folder", "new/folder/config.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    write_atomic(path, OLD)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*config\.json: No space left on device") as caught:
        write_atomic(path, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == OLD
    assert listing(tmp_path) == ["config.json"]


def test_a_crash_before_the_rename_leaves_the_old_file_and_a_leftover(tmp_path: Path) -> None:
    path = tmp_path / "run" / "config.json"
    write_atomic(path, OLD)
    crash = "import os, pathlib, sys; from sparsecode.files import write_atomic; os.fsync = lambda _: os._exit(9)"
    code = f"{crash}; write_atomic(pathlib.Path(sys.argv[1]), b'new')"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    assert path.read_bytes() == OLD
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

    save_atomic(tmp_path / "figure.png", lambda file: file.write(OLD))
    with pytest.raises(RuntimeError):
        save_atomic(tmp_path / "figure.png", half)
    assert (tmp_path / "figure.png").read_bytes() == OLD
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
        said, _ = other.communicate(timeout=PATIENCE)
    assert said == f"{tmp_path / 'run'}: another process is training here; wait for it or choose another folder\n"


def test_a_folder_is_free_again_after_use_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with holder(tmp_path) as other:
        said, _ = other.communicate(timeout=PATIENCE)
    assert said == "held\n"


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), locked(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait(timeout=PATIENCE)
        with locked(tmp_path):
            pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write to .*file/run: .*; choose another folder") as caught:
        locked(tmp_path / "file" / "run").__enter__()
    assert not isinstance(caught.value, BlockingIOError)


def test_folders_are_locked_one_by_one(tmp_path: Path) -> None:
    with locked(tmp_path / "a"), holder(tmp_path / "b") as other:
        said, _ = other.communicate(timeout=PATIENCE)
    assert said == "held\n"


def png(software: bytes = b"") -> bytes:
    """The beginning of a picture, as far as anybody looks into it."""
    return b"\x89PNG\r\n\x1a\n" + bytes(25) + b"tEXtSoftware\0" + software + bytes(50)


FOREIGN = {
    "config.json": b'{"model_type": "bert", "hidden_size": 128}',
    "indented.json": b'{\n  "trainer": {\n    "lr": 0.001\n  }\n}\n',
    "deep.json": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "list.json": b"[1, 2]",
    "metrics.jsonl": b'{"loss": 1.0, "step": 3}\n{"loss": 0.9, "step": 4}\n',
    "picture.png": png(b"GIMP"),
    "plot.png": png(b"Matplotlib version 3.9"),
    "film.gif": b"GIF89a" + bytes(100),
    "page.html": b"<!doctype html><title>mine</title>",
    "weights.safetensors": bytes([99]) + bytes(7) + b'{"__metadata__":{"format":"pt"},"w":{}}',
    "notes.txt": b"precious",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_somebody_else_wrote_is_never_replaced(name: str, tmp_path: Path) -> None:
    path, link = tmp_path / name, tmp_path / "link"
    path.write_bytes(FOREIGN[name])
    link.symlink_to(path)
    for place in (path, link):
        assert is_own(place) is False
        with pytest.raises(FileExistsError, match=f"{place}: is there already and was not written by sparsecode"):
            write_atomic(place, NEW)
        with pytest.raises(FileExistsError):
            require_own(place, force=True)
    assert path.read_bytes() == FOREIGN[name]
    assert listing(tmp_path) == sorted([name, "link"])


@pytest.mark.parametrize("data", [b"PK\3\4", b"\x93NUMPY\1\0"])
def test_arrays_say_nothing_and_need_force(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "z.npz"
    path.write_bytes(data)
    assert is_own(path) is None
    with pytest.raises(FileExistsError):
        require_own(path)
    require_own(path, force=True)


def test_a_leftover_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / "config.json.partial").write_bytes(b"a download")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / f"config.json{TEMPORARY}").symlink_to(victim)
    write_atomic(tmp_path / "config.json", NEW)
    remove_leftovers(tmp_path)
    assert (tmp_path / "config.json.partial").read_bytes() == b"a download"
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "config.json").read_bytes() == NEW


def test_through_a_link_our_own_file_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    home = tmp_path / "disk"
    write_atomic(home / "eval.json", OLD)
    (tmp_path / "eval.json").symlink_to(home / "eval.json")
    write_atomic(tmp_path / "eval.json", NEW)
    assert (tmp_path / "eval.json").is_symlink()
    assert (home / "eval.json").read_bytes() == NEW
    (tmp_path / "lost.json").symlink_to(home / "nowhere.json")
    with pytest.raises(FileExistsError, match=r"lost\.json: is a link to a file that does not exist"):
        write_atomic(tmp_path / "lost.json", NEW)


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(FileExistsError, match="was not written by sparsecode"):
        require_own(pipe, force=True)


def test_pictures_are_marked_and_known_again(tmp_path: Path) -> None:
    from matplotlib.figure import Figure
    from PIL import Image

    path, old = tmp_path / "run" / "figures" / "curves.png", tmp_path / "run" / "figures" / "old.png"
    save_atomic(path, lambda file: Figure((1, 1)).savefig(file))
    assert is_own(path)
    with Image.open(path) as image:
        image.load()
        assert image.info["Software"]
    save_atomic(path, lambda file: Figure((1, 1)).savefig(file))
    Figure((1, 1)).savefig(old)  # as versions before marked them: ours only in the figures of a run
    assert not is_own(old)
    write_atomic(tmp_path / "run" / "config.json", OLD)
    assert is_own(old)


@pytest.mark.parametrize(
    "begin",
    [
        ShardWriter,
        CodeWriter,
        whole_folder,
        lambda folder: held(folder, folder / "metrics.jsonl", folder / "config.json"),
        lambda folder: written_together([folder / "a.png", folder / "b.png"]),
    ],
)
def test_what_fails_before_anything_is_written_leaves_nothing(tmp_path: Path, begin: Callable[[Path], Any]) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(KeyError), begin(tmp_path / "there/new/folder"):
        raise KeyError
    assert [*tmp_path.rglob("*")] == [tmp_path / "there"]


def test_what_stands_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert absent(tmp_path / "none", "an array") == f"{tmp_path}/none: no such file; expected an array"
    assert (
        absent(tmp_path / "link", "an array")
        == f"{tmp_path}/link: is a link to a file that does not exist; expected an array"
    )
    for read in (read_npy, map_npy, read_npz, read_json, read_safetensors, load_torch, read_record, bytes_of):
        with pytest.raises(FileNotFoundError, match=f"^{tmp_path}: is a folder; expected "):
            read(tmp_path)
    for read in (load_model, read_index, read_code_index):
        with pytest.raises(FileNotFoundError, match=f"^{tmp_path}/file: is a file; expected a (model|finished) folder"):
            read(tmp_path / "file")
