"""What the real packages compute: codes and outputs of an autoencoder's files, without any of our code.

Run by the environment of the peers, never by that of the library's own tests:
    python run.py < LINES, each FORMAT, PATH, INPUTS.safetensors and OUT.safetensors, parted by tabs
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

import importlib.machinery
import json
import math
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def import_dictionary_learning() -> types.ModuleType:
    """The package; its import of nnsight, which drives language models, is met by an empty module."""
    if "nnsight" not in sys.modules:
        stand_in = types.ModuleType("nnsight")
        stand_in.__spec__ = importlib.machinery.ModuleSpec("nnsight", None)
        stand_in.LanguageModel = object
        sys.modules["nnsight"] = stand_in
    import dictionary_learning.utils

    return dictionary_learning


def saelens(path: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    import sae_lens

    sae = sae_lens.SAE.load_from_disk(path, dtype="float32")
    if sae.cfg.reshape_activations == "hook_z":  # rows in heads, as its inputs are
        x = x.unflatten(1, (3, -1))
    return sae.encode(x), sae(x).flatten(1)


def dictionary_learning(path: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    model, _ = import_dictionary_learning().utils.load_dictionary(str(path), "cpu")
    return model.encode(x), model(x)


def sparsify(path: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    import sparsify as package

    coder = package.SparseCoder.load_from_disk(path)
    encoded = coder.encode(x)
    codes = torch.zeros(len(x), coder.num_latents).scatter(1, encoded.top_indices, encoded.top_acts)
    # not coder(x), which gives the reconstruction from 4k latents if it was trained with multi_topk
    outputs = coder.decode(encoded.top_acts, encoded.top_indices)
    return codes, outputs if coder.W_skip is None else outputs + x @ coder.W_skip.mT


def openai(path: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    """The documented computation (the package is in no registry): see the README beside the fixtures."""
    result = torch.load(path, weights_only=True)
    top_k = result["activation"] == "TopK"
    mean, deviation = x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True)
    rows = (x - mean) / (deviation + 1e-5) if top_k else x
    codes = ((rows - result["pre_bias"]) @ result["encoder.weight"].T + result["latent_bias"]).relu()
    if top_k:
        least = codes.topk(result["activation_state_dict"]["k"], dim=1).values[:, -1:]
        codes = codes * (codes >= least)
    out = codes @ result["decoder.weight"].T + result["pre_bias"]
    return codes, out * deviation + mean if top_k else out


def llama_scope_by_norm(path: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    """The authors' computation with `sparsity_include_decoder_norm`, where SAELens leaves the norms out."""
    config = json.loads((path / "hyperparams.json").read_text())
    result = {name: value.float() for name, value in load_file(path / "checkpoints/final.safetensors").items()}
    scale = math.sqrt(config["d_model"]) / config["dataset_average_activation_norm"]["in"]
    pre = x @ result["encoder.weight"].T + result["encoder.bias"] / scale  # the authors fold the scale into the bias
    norms = result["decoder.weight"].norm(dim=0)
    codes = pre * (pre * norms > config["jump_relu_threshold"])
    return codes * scale, codes @ result["decoder.weight"].T + result["decoder.bias"] / scale


def by_hub_loader(loader: str, repo: str):
    """What SAELens computes with a file of a published suite, its download replaced by a local folder."""

    def run(path: Path, x: Tensor) -> tuple[Tensor, Tensor]:
        import sae_lens
        from sae_lens.loading import pretrained_sae_loaders as loaders

        def local(*args: str, **kwargs: object) -> str:
            names = dict(zip(("repo_id", "filename"), args, strict=False)) | kwargs
            folder = str(names.get("subfolder") or "").removeprefix(path.name).strip("/")
            return str(path / folder / Path(str(names["filename"])).name)

        def shapes(*_: object) -> dict[str, list[int]]:
            return {name: list(value.shape) for name, value in load_file(path / "params.safetensors").items()}

        old = loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes
        loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = local, shapes
        overrides = {"dtype": "float32"} | ({"d_in": x.shape[1], "d_sae": None} if "scope-2b" in repo else {})
        try:
            config, state, _ = getattr(loaders, loader)(repo, path.name, cfg_overrides=overrides)
        finally:
            loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = old
        config["d_sae"] = len(state["b_enc"])
        config = loaders.handle_config_defaulting(config)
        kind, settings = sae_lens.registry.get_sae_class(config["architecture"])
        sae = kind(settings.from_dict(config))
        sae.load_state_dict(state)
        if config.get("normalize_activations") == "expected_average_only_in":
            raw = json.loads((path / "hyperparams.json").read_text())
            scale = math.sqrt(x.shape[1]) / raw["dataset_average_activation_norm"]["in"]
            sae.fold_activation_norm_scaling_factor(scale)
        return sae.encode(x), sae(x)

    return run


RUN = {
    "saelens": saelens,
    "dictionary_learning": dictionary_learning,
    "sparsify": sparsify,
    "openai": openai,
    "gemma_scope": by_hub_loader("gemma_2_sae_huggingface_loader", "google/gemma-scope-2b-pt-res"),
    "gemma_scope_2": by_hub_loader("gemma_3_sae_huggingface_loader", "google/gemma-scope-2-1b-pt"),
    "llama_scope": by_hub_loader("llama_scope_sae_huggingface_loader", "fnlp/Llama3_1-8B-Base-LXR-8x"),
    "llama_scope_by_norm": llama_scope_by_norm,
}


def main() -> None:
    """Many at once, because importing the packages takes longer than running them."""
    for line in sys.stdin:
        name, path, inputs, out = line.rstrip("\n").split("\t")
        with torch.no_grad():
            codes, outputs = RUN[name](Path(path), load_file(inputs)["x"])
        save_file({"codes": codes.contiguous(), "outputs": outputs.contiguous()}, out)


if __name__ == "__main__":
    main()
