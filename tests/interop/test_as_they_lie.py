"""Other libraries' files as they lie about: wrapped names, old layouts, other precisions, damaged or hostile contents."""

import io
import json
import math
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interop.cases import Case, expected
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparsecode.cli.main import main
from sparsecode.interop import CannotExpressError, detect, read
from sparsecode.interop.affine_sae import JumpReLUCodes, TopKCodes

State = dict[str, Any]


def copied(case: Case, tmp_path: Path) -> Path:
    model = tmp_path / ("autoencoder.pt" if case.format == "openai" else "model")
    (shutil.copytree if case.path.is_dir() else shutil.copy)(case.path, model)
    return model


def weights_of(path: Path) -> Path:
    return path if path.is_file() else next(f for f in path.rglob("*") if f.suffix in (".pt", ".safetensors", ".npz"))


def rewritten(path: Path, change: Any) -> Path:
    """The weights in `path` after a function of all of them."""
    file = weights_of(path)
    if file.suffix == ".pt":
        torch.save(change(torch.load(file, weights_only=True)), file)
    else:
        save_file(change(load_file(file)), file)
    return path


def assert_reads_as(case: Case, path: Path, tolerance: float = 1e-6) -> None:
    x, codes, outputs = expected(case)
    sae = read(path)
    torch.testing.assert_close(sae.encode(x), codes, rtol=0, atol=tolerance * float(codes.abs().max()))
    torch.testing.assert_close(sae.reconstruct(x), outputs, rtol=0, atol=tolerance * float(outputs.abs().max()))


def refused(path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    """What `convert` says about it: one line, no traceback, nothing written."""
    out = tmp_path / "out-of-refused"
    assert main(["convert", str(path), str(out), "--to", "saelens"]) == 1
    said = capsys.readouterr().err.strip()
    assert "\n" not in said, said
    assert not out.exists()
    return said


ALL = [
    Case("saelens", "jumprelu_centred"), Case("dictionary_learning", "AutoEncoder"), Case("sparsify", "plain"),
    Case("openai", "topk"), Case("gemma_scope_2", "resid_post"), Case("llama_scope", "residual"),
]  # fmt: skip


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "model.", "sae.", "module._orig_mod.", "model.sae."])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_names_with_the_prefixes_of_wrappers(case: Case, prefix: str, tmp_path: Path) -> None:
    path = rewritten(copied(case, tmp_path), lambda result: {prefix + name: value for name, value in result.items()})
    assert_reads_as(case, path)


def test_a_compiled_part_and_a_nested_state_dict(tmp_path: Path) -> None:
    case = Case("dictionary_learning", "AutoEncoder")
    path = rewritten(
        copied(case, tmp_path), lambda s: {n.replace("encoder.", "encoder._orig_mod."): v for n, v in s.items()}
    )
    assert_reads_as(case, path)
    rewritten(path, lambda result: {"state_dict": OrderedDict(result), "epoch": 3})
    assert_reads_as(case, path)
    rewritten(
        path, lambda result: result["state_dict"] | {"encoder.weight": result["state_dict"]["encoder._orig_mod.weight"]}
    )
    with pytest.raises(ValueError, match="with and without _orig_mod"):
        read(path)


# dictionary_learning in its versions


def test_top_k_from_before_buffers_takes_k_from_the_config(tmp_path: Path) -> None:
    case = Case("dictionary_learning", "AutoEncoderTopK")
    path = rewritten(copied(case, tmp_path), lambda s: {n: v for n, v in s.items() if n not in ("k", "threshold")})
    assert_reads_as(case, path)
    activation = read(path).activation
    assert isinstance(activation, TopKCodes)
    assert (activation.k, activation.threshold) == (4, None)
    config = json.loads((path / "config.json").read_text())
    del config["trainer"]["k"]
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"no k, neither there nor in ae\.pt"):
        read(path)


def test_batch_top_k_without_a_threshold_depends_on_the_batch(tmp_path: Path) -> None:
    case = Case("dictionary_learning", "BatchTopKSAE")
    path = rewritten(copied(case, tmp_path), lambda s: {n: v for n, v in s.items() if n != "threshold"})
    with pytest.raises(CannotExpressError, match="its codes depend on the other rows of a batch"):
        read(path)


def test_atoms_of_free_norm_are_normalised_as_by_their_own_loader(tmp_path: Path) -> None:
    case = Case("dictionary_learning", "AutoEncoder")
    rng = torch.Generator().manual_seed(0)
    shapes = {"bias": (12,), "encoder.weight": (32, 12), "encoder.bias": (32,), "decoder.weight": (12, 32)}
    state = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    path = rewritten(copied(case, tmp_path), lambda _: state)
    x, norms = 3 * torch.randn(50, 12, generator=rng), state["decoder.weight"].norm(dim=0)
    pre = (x - state["bias"]) @ state["encoder.weight"].T + state["encoder.bias"]
    sae = read(path)
    torch.testing.assert_close(sae.encode(x), (pre * norms).relu(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(32))
    outputs = pre.relu() @ state["decoder.weight"].T + state["bias"]
    torch.testing.assert_close(sae.reconstruct(x), outputs, rtol=1e-5, atol=1e-3)
    assert main(["convert", str(path), str(tmp_path / "out"), "--to", "dictionary_learning"]) == 0
    torch.testing.assert_close(read(tmp_path / "out").encode(x), sae.encode(x), rtol=1e-5, atol=1e-4)


# What an evaluation needs


def test_origin_under_older_names_survives_conversions(tmp_path: Path) -> None:
    path = copied(Case("saelens", "legacy_standard"), tmp_path)
    old = {
        "hook_point": "blocks.3.attn.hook_z", "hook_point_layer": 3, "hook_point_head_index": 2, "model_name": "pythia",
        "model_class_name": "HookedTransformer", "context_size": 64, "prepend_bos": False, "dataset_path": "mine/tokens",
        "model_from_pretrained_kwargs": {"center_writing_weights": False}, "seqpos_slice": [None],
    }  # fmt: skip
    config = json.loads((path / "cfg.json").read_text())
    config.pop("hook_name")
    (path / "cfg.json").write_text(json.dumps(config | old))
    names = {"hook_point": "hook_name", "hook_point_layer": "hook_layer", "hook_point_head_index": "hook_head_index"}
    wanted = {names.get(key, key): value for key, value in old.items()} | {"reshape_activations": "hook_z"}
    assert read(path).metadata == wanted
    for step, to in enumerate(("saelens", "openai", "sparsecode", "saelens")):
        nearby = tmp_path / f"step-{step}{'.pt' if to == 'openai' else ''}"
        assert main(["convert", str(path), str(nearby), "--to", to]) == 0
        path = nearby
        assert wanted.items() <= read(path).metadata.items(), to
    stored = json.loads((path / "cfg.json").read_text())
    assert stored["reshape_activations"] == "hook_z"
    assert stored["metadata"]["hook_name"] == "blocks.3.attn.hook_z"
    assert main(["convert", str(path), str(tmp_path / "dl"), "--to", "dictionary_learning"]) == 0
    kept = {"model_name": "pythia", "hook_layer": 3, "hook_name": "blocks.3.attn.hook_z", "context_size": 64}
    assert read(tmp_path / "dl").metadata == kept


def test_prepend_bos_of_old_versions_is_their_default() -> None:
    assert read(Case("saelens", "legacy_topk").path).metadata["prepend_bos"] is True


def test_a_hookpoint_knows_the_run_that_it_belongs_to(tmp_path: Path) -> None:
    case, folder = Case("sparsify", "plain"), tmp_path / "layers.5" / "seed1"
    shutil.copytree(case.path, folder)
    (folder.parent / "config.json").write_text("[1, 2]")  # anybody's
    assert read(folder).metadata == {"hook_name": "layers.5"}
    run = {"sae": {}, "model": "gpt2", "dataset": "mine", "ctx_len": 256}
    (tmp_path / "layers.5" / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(run))
    wanted = {"hook_name": "layers.5", "model_name": "gpt2", "dataset_path": "mine", "context_size": 256}
    assert read(folder).metadata == wanted
    assert main(["convert", str(folder), str(tmp_path / "again"), "--to", "sparsify"]) == 0
    assert read(tmp_path / "again").metadata == wanted


def test_hook_points_of_the_published_suites() -> None:
    gemma, llama = read(Case("gemma_scope_2", "transcoder_skip").path), read(Case("llama_scope", "residual").path)
    assert set(gemma.metadata) == {"hf_hook_name", "model_name"}
    assert llama.metadata == {"model_name": "meta-llama/Llama-3.1-8B", "hook_name": "blocks.3.hook_resid_post"}


# Paths


@pytest.mark.parametrize(
    ("case", "files"),
    [
        (Case("saelens", "jumprelu_centred"), ["cfg.json", "sae_weights.safetensors"]),
        (Case("dictionary_learning", "AutoEncoder"), ["config.json", "ae.pt"]),
        (Case("sparsify", "plain"), ["cfg.json", "sae.safetensors"]),
        (Case("gemma_scope", "res"), ["params.npz"]),
        (Case("gemma_scope_2", "resid_post"), ["config.json", "params.safetensors"]),
        (Case("llama_scope", "residual"), ["hyperparams.json", "checkpoints/final.safetensors"]),
    ],
)
def test_a_file_stands_for_its_folder(
    case: Case, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in files:
        assert detect(case.path / file) == case.format
        assert_reads_as(case, case.path / file)
    monkeypatch.chdir(case.path)
    assert_reads_as(case, Path(files[-1]))
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(case.path / files[0]), "out", "--to", "sparsecode"]) == 0
    assert detect("out/cfg.json") == "sparsecode"


def test_a_source_is_not_written_over_through_one_of_its_files(tmp_path: Path) -> None:
    path = copied(Case("saelens", "jumprelu_centred"), tmp_path)
    before = {file: file.read_bytes() for file in path.iterdir()}
    assert main(["convert", str(path / "cfg.json"), str(path), "--to", "saelens", "--force"]) == 2
    assert {file: file.read_bytes() for file in path.iterdir()} == before


def test_a_folder_with_two_formats_is_not_guessed(tmp_path: Path) -> None:
    path = copied(Case("dictionary_learning", "AutoEncoder"), tmp_path)
    shutil.copy(Case("gemma_scope", "res").path / "params.npz", path)
    with pytest.raises(
        ValueError, match=r"several formats; name the weights of one: .*dictionary_learning.*params\.npz"
    ):
        read(path)
    assert_reads_as(Case("gemma_scope", "res"), path / "params.npz")
    assert_reads_as(Case("dictionary_learning", "AutoEncoder"), path / "ae.pt")


# Precisions


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_weights_in_every_floating_precision(case: Case, dtype: torch.dtype, tmp_path: Path) -> None:
    def stored(result: State) -> State:
        return {
            name: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() and value.ndim else value
            for name, value in result.items()
        }

    path = rewritten(copied(case, tmp_path), stored)
    sae = read(path)
    assert sae.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    x = expected(case).x.to(sae.dtype)
    assert bool(sae.encode(x).isfinite().all())
    if dtype.itemsize >= 2:
        assert_close = torch.testing.assert_close
        assert_close(sae.W_enc.float(), read(case.path).W_enc, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_integers_without_a_scale_are_refused(
    case: Case, dtype: torch.dtype, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "W_enc" if case.format == "saelens" else "w_enc" if case.format == "gemma_scope_2" else "encoder.weight"
    path = rewritten(copied(case, tmp_path), lambda result: result | {name: result[name].to(dtype)})
    said = refused(path, capsys, tmp_path)
    assert f"{name} holds {str(dtype).removeprefix('torch.')}; expected floating-point numbers" in said


# Shapes and kinds of tensors


BROKEN: list[tuple[Any, str]] = [
    (lambda t: t.to_sparse(), "sparse"),
    (lambda t: t[:1, :1].expand(10**6, 10**6), "announces 1000000000000 numbers and stores fewer"),
    (lambda t: t[0], "expected a matrix"),
    (lambda t: t.unsqueeze(0), "expected a matrix"),
    (lambda t: t.tolist(), "is a list; expected a tensor"),
    (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "quantised"),
    (lambda t: t.to("meta"), "never loaded|empty of data"),
    (lambda t: t[:0], "has 0"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # torch says that sparse and quantised tensors are going
@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_tensors_that_are_not_plain(
    change: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    path = copied(Case("dictionary_learning", "AutoEncoder"), tmp_path)
    said = refused(rewritten(path, lambda s: s | {"encoder.weight": change(s["encoder.weight"])}), capsys, tmp_path)
    assert re.search(message, said), said


@pytest.mark.parametrize("content", [[torch.zeros(2)], torch.zeros(3), 3, None, {0: torch.zeros(2)}, {"ae": 3}, {}])
def test_torch_files_that_are_not_state_dicts(content: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied(Case("dictionary_learning", "AutoEncoder"), tmp_path)
    torch.save(content, path / "ae.pt")
    assert "ae.pt" in refused(path, capsys, tmp_path)


@pytest.mark.parametrize("name", [{"TopK": 1}, ["TopK"], "JumpReLU", "a\nb", None, 3])
def test_activations_of_openai_files_that_are_not_known(
    name: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rewritten(copied(Case("openai", "topk"), tmp_path), lambda result: result | {"activation": name})
    assert "expected ReLU, or TopK with k and a postact_fn of ReLU" in refused(path, capsys, tmp_path)


def test_archives_are_not_unpacked_beyond_what_they_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**11, 8, 8)})
    path = tmp_path / "scope"
    path.mkdir()
    with zipfile.ZipFile(path / "params.npz", "w") as archive:
        archive.writestr("W_enc.npy", header.getvalue())
    assert "25600000000000 bytes, and 0 follow" in refused(path, capsys, tmp_path)
    np.savez(path / "params.npz", W_enc=np.zeros((2, 2)), w_enc=np.ones((2, 2)))
    assert "W_enc, w_enc; expected names that differ" in refused(path, capsys, tmp_path)
    case = Case("openai", "relu")
    with (
        zipfile.ZipFile(case.path) as stored,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in stored.namelist():
            archive.writestr(name, stored.read(name) + bytes(2**16))
    assert "no autoencoder that can be read" in refused(tmp_path / "packed.pt", capsys, tmp_path)
    with pytest.raises(ValueError, match=r"compressed, which torch\.save never does"):
        read(tmp_path / "packed.pt", "openai")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (np.float16, ""),
        (np.float64, ""),
        (np.int16, "w_enc holds int16"),
        (np.complex64, "w_enc holds complex64"),
        (np.str_, "plain numbers"),
    ],
)
def test_arrays_of_every_kind(kind: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied(Case("gemma_scope", "res"), tmp_path)
    with np.load(path / "params.npz") as file:
        arrays = {name: file[name].astype(kind) for name in file.files}
    np.savez(path / "params.npz", **arrays)
    if message:
        assert message in refused(path, capsys, tmp_path)
    else:
        assert read(path).dtype == (torch.float64 if kind is np.float64 else torch.float32)


def test_big_endian_arrays_are_read(tmp_path: Path) -> None:
    case = Case("gemma_scope", "res")
    path = copied(case, tmp_path)
    with np.load(path / "params.npz") as file:
        arrays = {name: file[name].astype(">f4") for name in file.files}
    np.savez(path / "params.npz", **arrays)
    assert_reads_as(case, path)


# JSON


JSON: list[tuple[str, str]] = [
    ("[1, 2]", "holds a list; expected a JSON object"),
    ('[{"architecture": "standard"}]', "holds a list; expected a JSON object"),
    ("3", "holds a int; expected a JSON object"),
    ("", "not valid JSON (empty)"),
    ("{", "not valid JSON"),
    ("[" * 100_000, "more than 100 levels"),
    ('{"metadata": ' + '{"a": ' * 110 + "1" + "}" * 111, "more than 100 levels"),
    ('{"d_in": 12, "d_in": 13}', "'d_in' twice in one object"),
    ('{"d_in": 1' + "0" * 40 + "}", "needs more than 64 bits"),
    ('{"d_in": 1' + "0" * 5000 + "}", "not valid JSON"),
    ('{"metadata": {"note": "\\ud800"}}', "not valid JSON"),
    ("\x00\x01", "not valid JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), JSON)
def test_json_that_is_none(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied(Case("saelens", "standard_centred"), tmp_path)
    (path / "cfg.json").write_text(text)
    said = refused(path, capsys, tmp_path)
    assert message in said
    assert "cfg.json" in said


CONTENTS: list[tuple[str, dict[str, Any], str]] = [
    ("saelens/standard_centred", {"metadata": [1]}, "metadata is [1]; expected an object"),
    ("saelens/standard_centred", {"d_in": [12]}, "d_in is [12]"),
    ("saelens/standard_centred", {"d_in": math.nan}, "d_in is nan"),
    ("saelens/topk_centred", {"k": math.inf}, "k is inf"),
    ("saelens/topk_centred", {"k": 2**60}, "k is 1152921504606846976; expected 1 to"),
    ("saelens/topk_centred", {"k": 4.5}, "expected k to be int; it is 4.5"),
    ("saelens/topk_centred", {"k": True}, "k is True"),
    ("saelens/topk_centred", {"activation_fn_kwargs": ["k", 4]}, "activation_fn_kwargs is"),
    ("dictionary_learning/AutoEncoder", {"trainer": ["AutoEncoder"]}, "trainer is ['AutoEncoder']; expected an object"),
    ("dictionary_learning/AutoEncoder", {"buffer": [1]}, "buffer is [1]; expected an object"),
    ("sparsify/plain", {"k": [4]}, "k is [4]"),
    ("gemma_scope_2/resid_post", {"hf_hook_point_in": ["a", "b"]}, "hf_hook_point_in is ['a', 'b']"),
    ("llama_scope/residual", {"dataset_average_activation_norm": [1, 1]}, "dataset_average_activation_norm is"),
    ("llama_scope/residual", {"jump_relu_threshold": math.nan}, "jump_relu_threshold is nan"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "message"), CONTENTS)
def test_values_of_the_wrong_kind(
    name: str, changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied(Case(*name.split("/")), tmp_path)
    file = next(path.glob("*.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    assert message in refused(path, capsys, tmp_path)


def test_json_as_python_writes_it_is_read(tmp_path: Path) -> None:
    case = Case("saelens", "topk_checkpoint")
    path = copied(case, tmp_path)
    config = json.loads((path / "cfg.json").read_text())
    config |= {"k": 4.0, "d_in": 12.0, "decoder_init_norm": math.nan, "lr": math.inf}
    config["metadata"]["loss"] = math.nan
    (path / "cfg.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(config).encode())
    assert_reads_as(case, path)
    assert main(["convert", str(path), str(tmp_path / "out"), "--to", "saelens"]) == 0
    stored = json.loads((tmp_path / "out" / "cfg.json").read_text())
    assert stored["k"] == 4
    assert stored["metadata"]["loss"] is None


def test_a_negative_threshold_lets_negative_values_through_nowhere(tmp_path: Path) -> None:
    case = Case("saelens", "jumprelu_centred")
    path = rewritten(copied(case, tmp_path), lambda result: result | {"threshold": result["threshold"] - 2})
    sae = read(path)
    assert isinstance(sae.activation, JumpReLUCodes)
    assert float(sae.encode(expected(case).x).min()) == 0
    assert main(["convert", str(path), str(tmp_path / "out"), "--to", "sparsecode"]) == 0
