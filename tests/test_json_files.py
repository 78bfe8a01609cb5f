"""JSON that is damaged, of another dialect or of another kind, in every file that is read: accepted, or refused in a line that names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparsecode.cli import main
from sparsecode.data.shard_index import INDEX, read_index
from sparsecode.interop.readers import read_json
from sparsecode.overrides import OverrideError, assign
from sparsecode.recipes import RECIPES
from sparsecode.runs import Run, RunFolder
from sparsecode.specs import from_json, parsed, to_json
from sparsecode.sweeps.results import RESULTS, read_results
from sparsecode.train.observers import read_metrics

Capture = pytest.CaptureFixture[str]

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "blank": (b" \n", "empty"),
    "binary": (bytes(range(256)), "not UTF-8"),
    "UTF-16": ("{}".encode("utf-16"), "not UTF-8"),
    "cut": (b'{"format": 1, "sp', "Unterminated string"),
    "deep": (b"[" * 1000 + b"]" * 1000, "more than 100 levels"),
    "deeper": (b'{"a":' * 100_000, "more than 100 levels"),
    "NaN": (b'{"format": NaN}', "NaN, which JSON does not have"),
    "Infinity": (b'{"format": -Infinity}', "-Infinity, which JSON does not have"),
    "too large": (b'{"format": 1e999}', "1e999 is too large a number"),
    "thousands of digits": (b'{"format": %s}' % (b"1" * 5000), "digits"),
    "half a character": (b'{"format": "\\ud800"}', "not UTF-8"),
    "twice": (b'{"format": 1, "format": 2}', "'format' twice in one object"),
    "two values": (b"{} {}", "Extra data"),
}
OTHERS: dict[str, bytes] = {
    "list": b"[1, 2]", "string": b'"text"', "null": b"null", "number": b"4", "object": b"{}",
    "lists inside": b'{"format": [], "spec": [], "metadata": [], "trainer": [], "kind": [], "step": []}',
    "nulls inside": b'{"format": null, "spec": null, "metadata": null, "trainer": null, "kind": null, "step": null}',
    "text inside": b'{"format": 1, "spec": "x", "metadata": "x", "trainer": "x", "kind": "train", "step": "x"}',
    "beyond 64 bits": b'{"format": 1%s, "spec": {}, "kind": "train", "step": -1}' % (b"0" * 30),
}  # fmt: skip
EVERY = {**{name: data for name, (data, _) in BAD.items()}, **OTHERS}


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD)
def test_what_is_not_json_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^file: not valid JSON") as caught:
        parsed(data, "file")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("; mend it, or restore it from a copy")
    assert "\n" not in str(caught.value)


def read_shards(path: Path) -> object:
    return read_index(path.parent)


READERS: dict[str, Callable[[Path], object]] = {
    "config.json": lambda path: from_json(path.read_bytes(), Run, str(path)),
    "metrics.jsonl": read_metrics,
    INDEX: read_shards,
    RESULTS: lambda path: read_results(path.parent),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("case", EVERY)
def test_every_reader_names_the_file_in_one_line(name: str, case: str, tmp_path: Path) -> None:
    path, data = tmp_path / name, EVERY[case]
    path.write_bytes(data + b"\n" if name.endswith("jsonl") else data)
    if name.endswith("jsonl") and case == "empty":
        data = b"\n"
    with pytest.raises(ValueError, match="^" + str(path)) as caught:
        READERS[name](path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / "one"))


COMMANDS: dict[str, list[list[str]]] = {
    "config.json": [
        ["train", "--resume", "RUN"], ["eval", "RUN"], ["plot", "RUN"], ["encode", "RUN", "--split", "test", "--out", "OUT.npz"],
        ["runs", "show", "RUN"], ["runs", "compare", "RUN", "RUN"], ["analyse", "RUN"], ["probe", "RUN"],
    ],
    "eval.json": [["train", "--resume", "RUN"], ["runs", "show", "RUN"], ["runs", "compare", "RUN", "RUN"]],
    "model/cfg.json": [["eval", "RUN"], ["encode", "RUN", "--split", "test", "--out", "OUT.npz"], ["convert", "RUN", "OUT", "--to", "saelens"]],
    "metrics.jsonl": [["plot", "RUN"]],
}  # fmt: skip


@pytest.mark.draws
@pytest.mark.parametrize("file", COMMANDS)
def test_every_command_names_the_file_in_one_line(file: str, copied: Path, tmp_path: Path, capsys: Capture) -> None:
    for case in ("deep", "NaN", "twice", "list", "lists inside", "binary"):
        (copied / file).write_bytes(EVERY[case] + b"\n")
        for command in COMMANDS[file]:
            words = [w.replace("RUN", str(copied)).replace("OUT", str(tmp_path / "out")) for w in command]
            assert main(words) == 1, (case, command)
            said = capsys.readouterr().err
            assert said.startswith(f"sparsecode {command[0]}: {copied}"), (case, command)
            assert said.count("\n") == 1, (case, command)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("input", "measures.scores.encode is 'input'; expected a result"),
        (2**63 - 1, "measures.scores.encode is 9223372036854775807; expected a result"),
        ({"type": None, "n": 3}, "measures.scores has results of types"),
    ],
)
def test_results_of_one_measure_that_are_of_several_types(
    result: object, message: str, copied: Path, capsys: Capture
) -> None:
    raw = json.loads((copied / "eval.json").read_bytes())
    scores = raw["spec"]["measures"]["scores"]
    raw["spec"]["measures"]["scores"] = {"amortised": next(iter(scores.values())), "encode": result}
    (copied / "eval.json").write_text(json.dumps(raw))
    for command in COMMANDS["eval.json"]:
        assert main([word.replace("RUN", str(copied)) for word in command]) == 1
        assert message in capsys.readouterr().err


def test_provenance_that_is_no_object_is_left_out_of_a_conversion(copied: Path, tmp_path: Path) -> None:
    raw = json.loads((copied / "model/cfg.json").read_bytes())
    raw["metadata"]["sparsecode"]["provenance"] = 2**31
    (copied / "model/cfg.json").write_text(json.dumps(raw))
    assert main(["convert", str(copied), str(tmp_path / "out"), "--to", "sparsecode"]) == 0


@pytest.mark.parametrize("file", ["config.json", "eval.json"])
def test_one_bad_folder_never_breaks_a_listing(file: str, copied: Path, trained: Path, capsys: Capture) -> None:
    shutil.copytree(trained, copied.parent / "two")
    (copied.parent / "three").mkdir()
    (copied.parent / "three/config.json").mkdir()
    (copied.parent / "link").symlink_to("nowhere")
    for data in EVERY.values():
        (copied / file).write_bytes(data)
        assert main(["runs", "ls", str(copied.parent)]) == 0
        said = capsys.readouterr().out
        assert "14 of 14" in said
        assert f"one: {copied / file}: " in said


def test_a_folder_that_may_not_be_read_is_listed_with_the_reason(
    copied: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everyone but the superuser meets this without help."""
    real = Path.is_file

    def denied(path: Path) -> bool:
        if path.parent.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    (copied.parent / "locked").mkdir()
    monkeypatch.setattr(Path, "is_file", denied)
    assert main(["runs", "ls", str(copied.parent)]) == 0
    said = capsys.readouterr().out
    assert "14 of 14" in said
    assert "locked: " in said
    assert "Permission denied" in said


def test_json_of_other_languages_is_read(copied: Path, tmp_path: Path) -> None:
    folder = RunFolder(copied)
    before, evaluation = folder.config(), folder.evaluation()

    def whole(value: Any) -> Any:  # JavaScript and R have one kind of number
        if isinstance(value, dict):
            return {key: whole(item) for key, item in value.items()}
        if isinstance(value, list):
            return [whole(item) for item in value]
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    for file in (folder.config_file, folder.eval_file, folder.model / "cfg.json"):
        raw = json.loads(file.read_bytes())
        raw |= {"spec": whole(raw["spec"])} if "spec" in raw else {}
        file.write_bytes(b"\xef\xbb\xbf" + json.dumps(raw).encode())
    assert folder.config() == before
    assert folder.evaluation() == evaluation
    assert main(["runs", "ls", str(copied.parent)]) == 0
    (tmp_path / "foreign.json").write_bytes(b'\xef\xbb\xbf{"k": 4.0}')
    assert read_json(tmp_path / "foreign.json") == {"k": 4.0}


def test_four_point_zero_is_four_and_four_and_a_half_is_not() -> None:
    run = RECIPES["digits-sdl"]()
    assert assign(run, ("model.n_code=64.0",)) == assign(run, ("model.n_code=64",))
    with pytest.raises(OverrideError, match=r"Expected `int`, got `float` - at `\$\.model\.n_code`"):
        assign(run, ("model.n_code=64.5",))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ('model.penalty={"type":"l1"', "--set model.penalty: not valid JSON (Expecting ',' delimiter"),
        ("data=" + "[" * 5000, "--set data: not valid JSON (more than 100 levels)"),
        ('data={"type":"digits","type":"digits"}', "'type' twice in one object"),
        ("model.weight=NaN", "--set model.weight: not valid JSON (NaN, which JSON does not have)"),
        (f"model.n_code={2**64}", "Iterative.n_code: got a whole number of 65 bits; expected at most 64"),
        (f"seed={10**400}", "Run.seed: got a whole number of 1329 bits"),
        ("model.weight=1e999", "1e999 is too large a number"),
        ('data={"type":"arrays","path":"\\ud800"}', "data: not valid JSON (not UTF-8"),
        ('data={"type":"arrays","path":"\udcff.npy"}', r"Arrays.path: '"),
    ],
)
def test_settings_that_are_no_json_say_so(assignment: str, message: str) -> None:
    with pytest.raises(OverrideError) as caught:
        assign(RECIPES["digits-sdl"](), (assignment,))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--model.n-code", str(10**12)], "model.n_code is 1000000000000: a model for samples of (8, 8) needs 2.56e+05 GB of memory"),
        (["--model.n-code", str(2**62)], "needs 1.18e+12 GB of memory, and this machine has "),
        (["--set", 'data={"type":"photos","n_train":1000000000000000}'], ""),
    ],
)  # fmt: skip
def test_sizes_that_no_machine_has_are_refused_with_what_they_need(
    settings: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), "--accelerator", "cpu", *settings]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run/model").exists()


def test_a_config_is_written_as_it_was(copied: Path) -> None:
    """What strict reading gives is what was written: no number changes its type."""
    data = RunFolder(copied).config_file.read_bytes()
    assert to_json(RunFolder(copied).config()) == data
