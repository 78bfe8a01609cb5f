"""Files of sparsify, of openai/sparse_autoencoder, and of the published suites."""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import json

import numpy as np
import sparsify as package
import torch
from case import Case, D, K, M
from run import RUN
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["openai", "scopes", "sparsify"]


def sparsify() -> None:
    """Write fixtures/sparsify."""

    def coder(name: str, expected: bool = True, **options) -> Case:
        case = Case("sparsify", name)
        config = package.SparseCoderConfig(**{"num_latents": M, "k": K, **options})
        model = package.SparseCoder(D, config)
        case.fill(model)
        if config.normalize_decoder:
            model.set_decoder_norm_to_unit_norm()
        model.save_to_disk(case.model)
        if expected:
            case.expect(RUN["sparsify"])
        return case

    coder("plain")
    coder("expansion_factor", num_latents=0, expansion_factor=2)
    coder("free_atoms", normalize_decoder=False)
    coder("multi_topk", multi_topk=True)
    coder("transcode", transcode=True, normalize_decoder=False)
    coder("skip", skip_connection=True)
    coder("transcode_skip", transcode=True, skip_connection=True, normalize_decoder=False)
    coder("refused_groupmax", expected=False, activation="groupmax")
    case = coder("refused_signed", expected=False)  # as older versions wrote it
    config = json.loads((case.model / "cfg.json").read_text())
    (case.model / "cfg.json").write_text(json.dumps(config | {"signed": True}))


def openai() -> None:
    """Write fixtures/openai, from the documented layout."""
    for name, activation, state in (
        ("relu", "ReLU", {}),
        ("topk", "TopK", {"k": K, "postact_fn": "ReLU"}),
        ("refused_identity", "TopK", {"k": K, "postact_fn": "Identity"}),
    ):
        case = Case("openai", name)
        values = {
            "pre_bias": 0.3 * case.normal(D),
            "latent_bias": 0.3 * case.normal(M),
            "stats_last_nonzero": torch.zeros(M, dtype=torch.long),
            "latents_activation_frequency": torch.ones(M),
            "latents_mean_square": torch.zeros(M),
            "encoder.weight": 0.5 * case.normal(M, D),
            "decoder.weight": 0.5 * case.normal(D, M),
            "activation": activation,
            "activation_state_dict": state,
        }
        torch.save(values, case.model / "autoencoder.pt")
        if not name.startswith("refused"):
            case.expect(RUN["openai"], case.model / "autoencoder.pt")


def scopes() -> None:
    """Write fixtures/gemma_scope, gemma_scope_2 and llama_scope, from the published layouts."""

    def weights(case: Case) -> dict[str, Tensor]:
        return {
            "w_enc": 0.5 * case.normal(D, M), "w_dec": 0.5 * case.normal(M, D), "b_enc": 0.3 * case.normal(M),
            "b_dec": 0.3 * case.normal(D), "threshold": 0.2 + case.normal(M).abs(),
        }  # fmt: skip

    for name, rename in (("res", str), ("res_upper", lambda n: n.replace("w_", "W_"))):
        case = Case("gemma_scope", name)
        case.model = case.model.rename(case.folder / "layer_12_width_16k")
        arrays = {rename(n): v.numpy() for n, v in weights(case).items()}
        np.savez(case.model / "params.npz", **arrays)  # pyright: ignore[reportArgumentType] - the names are ours
        case.expect(RUN["gemma_scope"])
        case.model.rename(case.folder / "model")
    for name, folder, config in (
        ("resid_post", "resid_post_layer_7", {}),
        ("transcoder_skip", "transcoder_layer_7_affine", {"affine_connection": True}),
    ):
        case = Case("gemma_scope_2", name)
        case.model = case.model.rename(case.folder / folder)
        skip = {"affine_skip_connection": 0.2 * case.normal(D, D)} if config else {}
        save_file(weights(case) | skip, case.model / "params.safetensors")
        text = {
            "architecture": "jump_relu",
            "model_name": "google/gemma-3-1b-pt",
            "hf_hook_point_in": "model.layers.7.output",
        }
        (case.model / "config.json").write_text(json.dumps(text | config))
        case.expect(RUN["gemma_scope_2"])
        case.model.rename(case.folder / "model")
    for name, by_norm in (("residual", False), ("by_norm", True)):
        case = Case("llama_scope", name)
        (case.model / "checkpoints").mkdir()
        result = weights(case)
        tensors = {
            "encoder.weight": result["w_enc"].T, "encoder.bias": result["b_enc"],
            "decoder.weight": result["w_dec"].T, "decoder.bias": result["b_dec"],
        }  # fmt: skip
        tensors = {key: value.bfloat16().contiguous() for key, value in tensors.items()}
        save_file(tensors, case.model / "checkpoints" / "final.safetensors")
        config = {
            "d_model": D, "d_sae": M, "use_decoder_bias": True, "apply_decoder_bias_to_pre_encoder": False, "act_fn": "jumprelu",
            "jump_relu_threshold": 0.53125, "norm_activation": "dataset-wise", "top_k": 50, "use_glu_encoder": False,
            "dataset_average_activation_norm": {"in": 2.125, "out": 2.125}, "sparsity_include_decoder_norm": by_norm,
            "hook_point_in": "blocks.3.hook_resid_post", "hook_point_out": "blocks.3.hook_resid_post",
        }  # fmt: skip
        (case.model / "hyperparams.json").write_text(json.dumps(config))
        case.expect(RUN["llama_scope_by_norm" if by_norm else "llama_scope"])
