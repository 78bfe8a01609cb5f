"""Arrays and weights whose headers lie, or whose numbers are of other types: read by a rule, or refused in a line that names the file."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import SHORT, toy

from sparsecode.cli import main
from sparsecode.data.numpy_files import read_npy, read_npz
from sparsecode.models.storage import load_model, save_model
from sparsecode.ops.memory import memory_of_machine, require_memory

Capture = pytest.CaptureFixture[str]


def header(descr: Any = "<f4", shape: Any = (2, 3), order: Any = False, version: tuple[int, int] = (1, 0)) -> bytes:
    """The bytes of a `.npy` header that announces this."""
    text = repr({"descr": descr, "fortran_order": order, "shape": shape}).encode()
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2 if version == (1, 0) else 4, "little") + text


HUGE = header(shape=(10**11, 8, 8))
LIES = {
    "more than memory": (HUGE, "its header announces float32 (100000000000, 8, 8), 25600000000000 bytes, and 0 follow"),
    "one more": (header(shape=(3, 3)) + bytes(24), "float32 (3, 3), 36 bytes, and 24 follow"),
    "beyond 64 bits": (header(shape=(2**70,)), "its header announces"),
    "negative": (header(shape=(-1, 3)) + bytes(24), "its header announces"),
    "an axis of 0 beside a large one": (header(shape=(0, 2**70)), "cannot be read"),
    "objects": (header("|O") + bytes(48), "holds Python objects; expected real numbers"),
    "structured": (header([("a", "<f4"), ("b", "|O")]), "holds Python objects; expected real numbers"),
    "fields": (header([("a", "<f4")]) + bytes(24), "expected real numbers"),
    "no type": (header("banana"), "not a .npy or .npz file"),
    "a nested header": (header()[:10] + b"(" * 60, "not a .npy or .npz file"),
    "a long header": (b"\x93NUMPY\x02\0" + (2**32 - 1).to_bytes(4, "little") + b"{}", "not a .npy or .npz file"),
    "another version": (header(version=(9, 0)), "not a .npy or .npz file"),
    "shape is no tuple": (header(shape=[2, 3]) + bytes(24), "not a .npy or .npz file"),
}


@pytest.mark.parametrize(("data", "message"), LIES.values(), ids=LIES)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(data: bytes, message: str, tmp_path: Path) -> None:
    alone, packed = tmp_path / "x.npy", tmp_path / "x.npz"
    alone.write_bytes(data)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", data)
    for path, read in ((alone, read_npy), (packed, read_npz)):
        with pytest.raises(ValueError, match="^" + str(path)) as caught:
            read(path)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_what_an_archive_says_of_its_size_is_held_against_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header(shape=(10**6,)) + bytes(4 * 10**6))  # a few kilobytes on the disk
    assert read_npz(tmp_path / "x.npz")["x"].shape == (10**6,)
    monkeypatch.setattr("sparsecode.ops.memory.memory_of_machine", lambda: 10**6)
    with pytest.raises(
        ValueError, match=r"x: float32 \(1000000,\) needs 0.004 GB of memory, and this machine has 0.001"
    ):
        read_npz(tmp_path / "x.npz")


def test_the_memory_of_this_machine_is_known_where_the_system_says() -> None:
    there = memory_of_machine()
    assert there is None or there > 10**8
    require_memory(10**6, "this", "do")


@pytest.mark.parametrize("descr", ["<f4", ">f4", "<f8", ">i2", "|u1", "|b1", "<f2", ">c8"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_numbers_of_every_type_are_read_as_numpy_does(
    descr: str, version: tuple[int, int], order: bool, shape: tuple[int, ...], tmp_path: Path
) -> None:
    n = int(np.prod(shape))
    data = header(descr, shape, order, version) + np.arange(n).astype(descr).tobytes()
    (tmp_path / "x.npy").write_bytes(data)
    result, expected = read_npy(tmp_path / "x.npy"), np.load(io.BytesIO(data))
    assert result is not None
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, expected)


def refused(argv: list[str], capsys: Capture, *words: str) -> None:
    capsys.readouterr()
    assert main(argv) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"sparsecode {argv[0]}: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def test_every_command_that_reads_arrays_refuses_lies_in_a_line(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    path, out = tmp_path / "x.npy", tmp_path / "out"
    path.write_bytes(HUGE)
    scope = tmp_path / "scope"
    scope.mkdir()
    with zipfile.ZipFile(scope / "params.npz", "w") as archive:
        archive.writestr("W_enc.npy", HUGE)
    words = (str(path), "its header announces float32 (100000000000, 8, 8)")
    data = json.dumps({"type": "arrays", "path": str(path)})
    refused(["train", "digits-sdl", "--out", str(out), *SHORT, "--set", f"data={data}"], capsys, *words)
    refused(["encode", str(trained), str(path), "--out", str(tmp_path / "z.npz")], capsys, *words)
    refused(["denoise", str(path), "--dictionary", str(trained), "--sigma", "1", "--out", str(out)], capsys, *words)
    np.save(tmp_path / "image.npy", np.zeros((16, 16)))
    image = ["denoise", str(tmp_path / "image.npy"), "--dictionary", str(path)]
    refused([*image, "--sigma", "1", "--out", str(out)], capsys, *words)
    refused(
        ["convert", str(scope), str(tmp_path / "o"), "--to", "saelens"], capsys, "params.npz", "its header announces"
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("olivetti", "olivetti_faces.npz"),
        ("cifar10", "cifar10_train10k_test1k.npz"),
        ("cifar10-latents", "cifar10_convmixer_latents.npz"),
    ],
)
@pytest.mark.parametrize("members", [{"images": HUGE, "x_train": HUGE}])
def test_data_sets_in_archives_are_read_by_the_same_rules(
    name: str, data: str, members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with zipfile.ZipFile(tmp_path / data, "w") as archive:
        for member, content in members.items():
            archive.writestr(f"{member}.npy", content)
    monkeypatch.setenv("SPARSECODE_DATA", str(tmp_path))
    source = f'data={{"type":"{name}"}}'
    refused(["train", "digits-sdl", "--out", str(tmp_path / "run"), *SHORT, "--set", source], capsys, data)


# Weights in other precisions

FAMILIES = ("digits-sdl", "acts-jumprelu", "acts-batchtopk", "mnist-vsc-1")
HALF = (torch.float16, torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn)


@pytest.fixture(scope="module", params=FAMILIES)
def model_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh model of each family, saved."""
    folder = tmp_path_factory.mktemp("model")
    run = toy(request.param, folder)
    save_model(run.model.build(run.data.load().shape, seed=0), folder, {})
    return folder


def rewritten(source: Path, folder: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Path:
    """A copy of a model folder whose weights are changed by other means than ours."""
    shutil.copytree(source, folder)
    file = folder / "sae_weights.safetensors"
    save_file({name: change(name, value) for name, value in load_file(file).items()}, file)
    return folder


@pytest.mark.parametrize("dtype", [*HALF, torch.float64], ids=str)
def test_weights_of_every_precision_are_computed_in_float32_or_float64(
    model_folder: Path, dtype: torch.dtype, tmp_path: Path
) -> None:
    def narrow(_name: str, value: torch.Tensor) -> torch.Tensor:
        return value.clamp(-100, 100).to(dtype) if value.is_floating_point() else value

    model = load_model(rewritten(model_folder, tmp_path / "narrow", narrow))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert {parameter.dtype for parameter in model.parameters()} == {wide}
    exact = load_model(
        rewritten(
            model_folder,
            tmp_path / "exact",
            lambda name, value: narrow(name, value).to(wide if value.is_floating_point() else value.dtype),
        )
    )
    x = torch.rand(3, *model.shape, dtype=wide)
    for name, code in model.coders().items():
        torch.testing.assert_close(code(x), exact.coders()[name](x), rtol=0, atol=0)
    assert bool(model.reconstruct(x).isfinite().all())


def test_one_weight_in_half_precision_does_not_narrow_the_others(model_folder: Path, tmp_path: Path) -> None:
    state = load_model(model_folder).state_dict()
    first = next(iter(dict(load_model(model_folder).named_parameters())))
    mixed = load_model(rewritten(model_folder, tmp_path / "m", lambda n, v: v.half() if n == first else v)).state_dict()
    for name, value in state.items():
        assert mixed[name].dtype == value.dtype
        assert torch.equal(mixed[name], value.half().to(value) if name == first else value)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64], ids=str)
def test_weights_that_are_no_real_numbers_are_refused(model_folder: Path, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = rewritten(model_folder, tmp_path / "m", lambda _, v: v.to(dtype) if v.is_floating_point() else v)
    with pytest.raises(ValueError, match=rf"sae_weights.safetensors: .* is in {str(dtype)[6:]}; expected float"):
        load_model(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e5m2], ids=str)
def test_weights_that_are_not_finite_are_refused_in_every_precision(
    model_folder: Path, dtype: torch.dtype, value: float, tmp_path: Path
) -> None:
    folder = rewritten(
        model_folder, tmp_path / "m", lambda n, v: torch.full_like(v, value).to(dtype) if v.is_floating_point() else v
    )
    with pytest.raises(ValueError, match=r"sae_weights.safetensors: NaN or infinity in "):
        load_model(folder)


def test_a_type_that_torch_does_not_read_is_named(model_folder: Path, tmp_path: Path) -> None:
    folder = rewritten(model_folder, tmp_path / "m", lambda n, v: v.to(torch.float8_e5m2))
    file = folder / "sae_weights.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"F8_E5M2"', b'"F8_E8M0"'))
    with pytest.raises(ValueError, match=r"sae_weights.safetensors: holds tensors of type 'F8_E8M0'"):
        load_model(folder)


def test_a_run_in_half_precision_is_scored_and_coded_with(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.rmtree(run / "model")
    rewritten(trained / "model", run / "model", lambda _, v: v.half())
    assert main(["eval", str(run), "--json", str(tmp_path / "scores.json")]) == 0
    assert main(["encode", str(run), "--split", "test", "--out", str(tmp_path / "z.npz")]) == 0
    before, after = (
        json.loads(p.read_text())["spec"]["measures"]["scores"]["encode"]
        for p in (run / "eval.json", tmp_path / "scores.json")
    )
    assert after["psnr"] == pytest.approx(before["psnr"], abs=0.05)
    assert np.load(tmp_path / "z.npz")["z"].dtype == np.float32


def test_training_does_not_go_on_in_another_precision(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "eval.json").unlink()
    state = run / "resume/state.safetensors"
    with safe_open(state, framework="pt") as file:
        position = {"sparsecode": (file.metadata() or {})["sparsecode"]}
    for part in ("model/", "optim/"):
        tensors = load_file(trained / "resume/state.safetensors")
        save_file({n: v.half() if n.startswith(part) else v for n, v in tensors.items()}, state, position)
        refused(["train", "--resume", str(run)], capsys, str(state), "float16 (64, 64), expected float32 (64, 64)")


def test_a_shape_of_truth_values_is_no_shape(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(header(shape=(True, 3)) + bytes(12))
    with pytest.raises(ValueError, match=r"x\.npy: damaged or cut short: its header announces float32 \(True, 3\)"):
        read_npy(tmp_path / "x.npy")
