"""What a path holds is told from its files; nothing in them is run."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interop.cases import READABLE, Case
from safetensors.torch import load_file, save_file

from sparsecode.interop import FORMATS, CannotExpressError, detect, read, write


class Payload:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["dictionary_learning", "openai"])
def test_pickled_code_is_not_run(name: str, tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    case = next(case for case in READABLE if case.format == name)
    model = tmp_path / "model"
    if case.path.is_dir():
        shutil.copytree(case.path, model)
        file = model / "ae.pt"
    else:
        file = tmp_path / "autoencoder.pt"
        model = file
    result = torch.load(case.path / "ae.pt" if case.path.is_dir() else case.path, weights_only=True)
    torch.save({**result, "more": Payload(proof)}, file)
    with pytest.raises(ValueError, match="could run code and is never loaded"):
        read(model, name)
    assert not proof.exists()
    torch.load(file, weights_only=False)  # it would have
    assert proof.exists()


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    objects = np.empty(1, dtype=object)
    objects[0] = Payload(proof)
    np.savez(tmp_path / "params.npz", w_enc=objects)
    with pytest.raises(ValueError, match="pickled objects are never loaded"):
        read(tmp_path)
    assert not proof.exists()


def test_whole_modules_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"no autoencoder that can be read; found model\.pt"):
        read(tmp_path / "model.pt")


def test_unknown_folders_are_named_with_what_is_in_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        detect(tmp_path / "nothing")
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"found weights\.bin; expected") as error:
        detect(tmp_path)
    assert all(name in str(error.value) for name in FORMATS)


def test_a_folder_of_hookpoints_names_them(tmp_path: Path) -> None:
    case = Case("sparsify", "plain")
    for layer in ("layers.1", "layers.10"):
        shutil.copytree(case.path, tmp_path / layer)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"name one of them: .*layers\.1, .*layers\.10"):
        detect(tmp_path)
    assert detect(tmp_path / "layers.10") == "sparsify"


@pytest.mark.parametrize("case", [c for c in READABLE if c.format in ("saelens", "sparsify", "gemma_scope_2")], ids=str)
def test_damaged_weights_are_named(case: Case, tmp_path: Path) -> None:
    shutil.copytree(case.path, tmp_path / "model")
    (file,) = (f for f in (tmp_path / "model").glob("*.safetensors") if "whitening" not in f.name)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=f"{file.name}: damaged or cut short"):
        read(tmp_path / "model")


def edited(case: Case, tmp_path: Path, config: str, **changes: object) -> Path:
    shutil.copytree(case.path, tmp_path / "model")
    file = tmp_path / "model" / config
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return tmp_path / "model"


CONFIGS = [
    ("saelens/standard_centred", "cfg.json", {"d_sae": 33}, "d_sae is 33, and sae_weights.safetensors has 32"),
    ("saelens/standard_centred", "cfg.json", {"normalize_activations": "batch"}, "'batch'; expected one of 'none'"),
    ("saelens/topk_centred", "cfg.json", {"k": "four"}, "k is 'four'; expected a positive number"),
    ("saelens/topk_centred", "cfg.json", {"k": 33}, "k is 33; expected 1 to the number of codes, 32"),
    ("saelens/topk_centred", "cfg.json", {"k": 0}, "k is 0; expected a positive number"),
    ("saelens/transcoder", "cfg.json", {"normalize_activations": "layer_norm"}, "a transcoder that normalises"),
    ("sparsify/plain", "cfg.json", {"num_latents": 48}, "does not fit sae.safetensors"),
    ("dictionary_learning/AutoEncoder", "config.json", {"trainer": {}}, "expected trainer.dict_class to be str"),
    ("dictionary_learning/AutoEncoder", "config.json", {"trainer": {"dict_class": "CrossCoder"}}, "'CrossCoder'"),
    ("dictionary_learning/AutoEncoder", "config.json", {"trainer": {"dict_class": "GatedAutoEncoder"}}, "missing .*gate_bias"),
    ("gemma_scope_2/resid_post", "config.json", {"architecture": "topk"}, "'topk'; expected 'jump_relu'"),
    ("llama_scope/residual", "hyperparams.json", {"act_fn": "topk"}, "act_fn is 'topk'"),
    ("llama_scope/residual", "hyperparams.json", {"use_glu_encoder": True}, "use_glu_encoder"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "config", "changes", "message"), CONFIGS)
def test_configs_that_do_not_fit_are_named(
    name: str, config: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = edited(Case(*name.split("/")), tmp_path, config, **changes)
    with pytest.raises(ValueError, match=message):
        read(folder)


def test_tensors_too_many_or_broken(tmp_path: Path) -> None:
    shutil.copytree(Case("saelens", "standard_centred").path, tmp_path / "model")
    file = tmp_path / "model" / "sae_weights.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "extra": torch.zeros(2)}, file)
    with pytest.raises(ValueError, match="unknown extra"):
        read(tmp_path / "model")
    save_file({**tensors, "scaling_factor": torch.full((12,), 2.0)}, file)
    with pytest.raises(CannotExpressError, match="scaling_factor"):
        read(tmp_path / "model")
    tensors["b_enc"][3] = torch.nan
    save_file(tensors, file)
    with pytest.raises(ValueError, match="model: b_enc has NaN"):  # the path is named
        read(tmp_path / "model")


def test_cross_layer_transcoders_are_refused(tmp_path: Path) -> None:
    shutil.copytree(Case("gemma_scope_2", "resid_post").path, tmp_path / "model")
    file = tmp_path / "model" / "params.safetensors"
    tensors = load_file(file)
    tensors["w_dec"] = torch.zeros(32, 3, 12)
    save_file(tensors, file)
    with pytest.raises(CannotExpressError, match="decoders to 3 layers"):
        read(tmp_path / "model")


def test_published_suites_are_only_read(tmp_path: Path) -> None:
    sae = read(Case("gemma_scope", "res").path)
    with pytest.raises(
        ValueError, match="format is 'gemma_scope', which is only read; expected one of sparsecode, saelens"
    ):
        write(sae, tmp_path / "out", "gemma_scope")
    assert not list(tmp_path.iterdir())


def test_payload_is_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()
