"""Downloads from a server on this machine that breaks off, lies, or sends no parts; and the commands that use them."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import CONTENT, SUM, Server, remote, serving

from sparsecode.cli import main
from sparsecode.data.catalogue import Dataset, datasets
from sparsecode.data.downloads import downloaded, published
from sparsecode.data.fetch import ATTEMPTS, partial


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("SPARSECODE_DATA", raising=False)
    monkeypatch.setenv("SPARSECODE_CACHE", str(tmp_path))
    monkeypatch.setattr("sparsecode.data.fetch.PAUSE", 0.0)
    with serving() as server:
        yield server


def refused(server: Server) -> str:
    with pytest.raises(FileNotFoundError) as caught:
        published(remote(server))
    return str(caught.value)


def test_a_lost_connection_is_continued_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.ends = (100_000, 50_000, 1, None)
    path = published(remote(server))
    assert path == tmp_path / "set" / "file.npz"
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-", "bytes=150001-"]
    assert not partial(path).exists()
    assert published(remote(server)) == path
    assert len(server.asked) == 4


def test_without_parts_it_begins_anew(server: Server) -> None:
    server.parts, server.ends = False, (100_000, None)
    assert published(remote(server)).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_a_server_that_always_ends_early_is_given_up_and_continued_later(server: Server) -> None:
    server.parts, server.ends = False, (70_000,)
    message = refused(server)
    assert (
        "failed (the connection ended after 70000 of 300000 bytes); 70000 bytes are kept, the same command" in message
    )
    assert len(server.asked) == ATTEMPTS
    server.parts, server.ends = True, (None,)
    assert published(remote(server)).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=70000-"


@pytest.mark.parametrize(
    ("content", "kind"),
    [(CONTENT[:-1] + b"x", ""), (CONTENT[:-9], ""), (b"\n<!DOCTYPE html><p>sign in</p>", ": a web page")],
)
def test_other_content_is_refused_and_not_kept(content: bytes, kind: str, server: Server, tmp_path: Path) -> None:
    server.content = content
    wrong = hashlib.md5(content).hexdigest()[:12]
    assert f"(what came is not the published file{kind} (MD5 {wrong}..., expected {SUM[4:16]}...))" in refused(server)
    assert not [path for path in (tmp_path / "set").iterdir() if not path.name.endswith(".lock")]
    server.content = CONTENT
    assert published(remote(server)).read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"something else", CONTENT + b"more", b"0" * len(CONTENT)])
def test_a_beginning_of_another_file_is_given_up_for_the_whole(left: bytes, server: Server, tmp_path: Path) -> None:
    aside = partial(tmp_path / "set" / "file.npz")
    aside.parent.mkdir()
    aside.write_bytes(left)
    assert published(remote(server)).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(left)}-", None]


def test_a_whole_file_that_was_not_yet_renamed_is_not_sent_again(server: Server, tmp_path: Path) -> None:
    aside = partial(tmp_path / "set" / "file.npz")
    aside.parent.mkdir()
    aside.write_bytes(CONTENT)
    server.ends = (0,)
    assert published(remote(server)).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_another_part_than_asked_for_is_not_appended(server: Server) -> None:
    server.ends, server.shifted = (100_000, None), 7
    assert published(remote(server)).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", None]


def test_a_length_that_never_comes_is_an_error(server: Server) -> None:
    server.announced, server.parts = 10, False
    assert "the connection ended after 300000 of 300010 bytes" in refused(server)


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (403, 1), (503, ATTEMPTS), (429, ATTEMPTS)])
def test_what_may_pass_is_tried_again_and_what_will_not_is_not(status: int, attempts: int, server: Server) -> None:
    server.status = status
    assert f"failed (HTTP {status}, " in refused(server)
    assert len(server.asked) == attempts


def test_those_who_want_the_same_wait_for_one(server: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(downloaded, [remote(server)] * 4))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert server.asked == [None]


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_network(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set").write_text("a file")
    with pytest.raises(OSError, match=r"cannot write .*file\.npz: .*; free some space, or choose another folder"):
        published(remote(server))


# The commands


@pytest.fixture
def known(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """Two data sets, of two files and of one."""
    sets = {
        "mnist": Dataset((remote(server, "a.npz"), remote(server, "b.npz")), ("set/pictures",)),
        "dsprites": Dataset((remote(server, "c.npz"),), (), ("part.npz",)),
    }
    monkeypatch.setattr("sparsecode.cli.data.datasets", lambda: sets)
    monkeypatch.setenv("SPARSECODE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "300")
    return server


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    assert main(["data", "ls"]) == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    return {row[0]: row[1:] for row in rows if row}


def test_get_and_ls(known: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = tmp_path / "data" / "set"
    assert listed(capsys) == {
        "mnist": ["missing", "(0.6 MB to download)", str(data)],
        "dsprites": ["missing", "(0.3 MB to download)", str(data)],
    }
    assert main(["data", "get", "mnist"]) == 0
    assert capsys.readouterr().out == f"mnist: {data / 'a.npz'} (0.3 MB)\nmnist: {data / 'b.npz'} (0.3 MB)\n"
    assert main(["data", "get", "mnist", "dsprites"]) == 0
    assert f"mnist: {data / 'a.npz'} is there, as published" in capsys.readouterr().out
    assert listed(capsys)["mnist"] == ["there", "0.6 MB", str(data)]
    assert len(known.asked) == 3


def test_get_goes_on_after_a_file_that_cannot_be_had(
    known: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    known.ends = (*(200_000, 0, 0, 0, 0), None)
    known.parts = False
    assert main(["data", "get", "mnist"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("sparsecode data get mnist: a.npz: not in ")
    assert "b.npz (0.3 MB)" in said.out
    assert listed(capsys)["mnist"][0] == "incomplete: no a.npz"
    (tmp_path / "data" / "set" / "b.npz").write_bytes(b"damaged")
    assert main(["data", "get", "mnist"]) == 1
    assert "b.npz: not the published file (MD5 " in capsys.readouterr().err


def test_ls_says_what_has_arrived_and_what_serves_in_place(
    known: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    known.ends = (200_000, 0)
    assert main(["data", "get", "dsprites"]) == 1
    assert "200000 bytes are kept, the same command continues from there" in capsys.readouterr().err
    assert listed(capsys)["dsprites"][0] == "missing; 0.2 MB of the rest have arrived"
    (tmp_path / "data" / "part.npz").write_bytes(b"12345")
    assert listed(capsys)["dsprites"] == [
        "an excerpt; 0.2 MB of the rest have arrived",
        "0.005 kB",
        str(tmp_path / "data" / "part.npz"),
    ]
    (tmp_path / "data" / "set" / "pictures").mkdir()
    assert listed(capsys)["mnist"][0] == "incomplete: no b.npz"
    known.ends = (None,)
    assert main(["data", "get", "mnist"]) == 0
    assert "pictures is there, in the place of a.npz" in capsys.readouterr().out
    assert not (tmp_path / "data" / "set" / "a.npz").exists()


def test_names_are_required_and_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "get"]) == 2
    assert "choose from mnist, fashion, celeba, cifar10, dsprites, olivetti" in capsys.readouterr().err
    assert main(["data", "get", "imagenet"]) == 2


def test_every_data_set_has_addresses_and_sums_of_the_right_form() -> None:
    for name, dataset in datasets().items():
        for file in dataset.files:
            kind, _, total = file.packed.partition(":")
            assert len(total) == {"md5": 32, "sha256": 64}[kind], name
            assert file.url.startswith(("https://", "http://fashion-mnist."))
            assert file.size
