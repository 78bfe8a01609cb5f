"""Files of SAELens: every class, final models, exports and checkpoints, normalisations, older layouts."""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import json
import shutil
from pathlib import Path

import sae_lens
import torch
from case import Case, D, K, M
from run import RUN
from sae_lens.saes.transcoder import (
    JumpReLUSkipTranscoder,
    JumpReLUSkipTranscoderConfig,
    JumpReLUTranscoder,
    JumpReLUTranscoderConfig,
    SkipTranscoder,
    SkipTranscoderConfig,
    Transcoder,
    TranscoderConfig,
)
from sae_lens.training.activation_scaler import ActivationScaler
from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["saelens"]


def saelens() -> None:
    """Write fixtures/saelens."""
    run = RUN["saelens"]
    size = {"d_in": D, "d_sae": M}

    def simple(name: str, kind, config, run=run, **options) -> Case:
        case = Case("saelens", name)
        sae = kind(config(**size, **options))
        case.fill(sae)
        sae.save_model(case.model)
        if run is not None:
            case.expect(run)
        return case

    standard = sae_lens.StandardSAE, sae_lens.StandardSAEConfig
    topk = sae_lens.TopKSAE, sae_lens.TopKSAEConfig
    jumprelu = sae_lens.JumpReLUSAE, sae_lens.JumpReLUSAEConfig
    gated = sae_lens.GatedSAE, sae_lens.GatedSAEConfig
    for centred in (True, False):
        suffix = "centred" if centred else "uncentred"
        option = {"apply_b_dec_to_input": centred}
        simple(f"standard_{suffix}", *standard, **option)
        simple(f"topk_{suffix}", *topk, k=K, **option)
        simple(f"topk_by_norm_{suffix}", *topk, k=K, rescale_acts_by_decoder_norm=True, **option)
        simple(f"jumprelu_{suffix}", *jumprelu, **option)
        simple(f"gated_{suffix}", *gated, **option)
    simple("standard_layer_norm", *standard, normalize_activations="layer_norm")
    simple("topk_layer_norm", *topk, k=K, normalize_activations="layer_norm")
    simple("jumprelu_constant_norm", *jumprelu, normalize_activations="constant_norm_rescale")
    simple("gated_layer_norm", *gated, normalize_activations="layer_norm")
    simple("topk_hook_z", *topk, k=K, reshape_activations="hook_z")
    simple("standard_bfloat16", *standard, dtype="bfloat16")
    simple("refused_abstopk", sae_lens.AbsTopKSAE, sae_lens.AbsTopKSAEConfig, run=None, k=K)
    simple("refused_unknown_scale", *standard, run=None, normalize_activations="expected_average_only_in")

    wide = {"apply_b_dec_to_input": False, "d_out": D}
    simple("transcoder", Transcoder, TranscoderConfig, **wide)
    simple("skip_transcoder", SkipTranscoder, SkipTranscoderConfig, **wide)
    simple("jumprelu_transcoder", JumpReLUTranscoder, JumpReLUTranscoderConfig, **wide)
    simple("jumprelu_skip_transcoder", JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig, **wide)
    simple("transcoder_wide", Transcoder, TranscoderConfig, apply_b_dec_to_input=False, d_out=5)

    def trained(name: str, kind, config, checkpoint: bool, threshold: float | None = None, **options) -> None:
        case = Case("saelens", name)
        sae = kind(config(**size, **options))
        case.fill(sae)
        if threshold is not None:
            sae.topk_threshold.fill_(threshold)
        (sae.save_model if checkpoint else sae.save_inference_model)(case.model)
        final = case.folder / "final"
        sae.save_inference_model(final)  # what the package makes of a checkpoint in the end
        case.expect(run, final)
        shutil.rmtree(final)

    by_norm = {"rescale_acts_by_decoder_norm": True}
    top = sae_lens.TopKTrainingSAE, sae_lens.TopKTrainingSAEConfig
    batch = sae_lens.BatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig
    nested = sae_lens.MatryoshkaBatchTopKTrainingSAE, sae_lens.MatryoshkaBatchTopKTrainingSAEConfig
    trained("topk_export", *top, checkpoint=False, k=K, **by_norm)
    trained("topk_checkpoint", *top, checkpoint=True, k=K, **by_norm)
    for checkpoint in (False, True):
        suffix = "checkpoint" if checkpoint else "export"
        trained(f"batchtopk_{suffix}", *batch, checkpoint=checkpoint, threshold=1.7, k=float(K), **by_norm)
        widths = [8, 16, M]
        trained(
            f"matryoshka_{suffix}",
            *nested,
            checkpoint=checkpoint,
            threshold=1.5,
            k=float(K),
            matryoshka_widths=widths,
            **by_norm,
        )
        trained(
            f"jumprelu_training_{suffix}",
            sae_lens.JumpReLUTrainingSAE,
            sae_lens.JumpReLUTrainingSAEConfig,
            checkpoint=checkpoint,
        )
    trained(
        "batchtopk_unscaled_checkpoint",
        *batch,
        checkpoint=True,
        threshold=1.2,
        k=2.5,
        rescale_acts_by_decoder_norm=False,
    )

    def scaled(name: str, kind, config, scaler: ActivationScaler, how: str, **options) -> None:
        case = Case("saelens", name)
        sae = kind(config(**size, normalize_activations=how, **options))
        case.fill(sae)
        sae.save_model(case.model)
        scaler.save(str(case.model / "activation_scaler.json"))

        def run_scaled(path: Path, x: Tensor) -> tuple[Tensor, Tensor]:
            inner = scaler.scale(x)
            return sae.encode(inner), scaler.unscale(sae(inner))

        case.expect(run_scaled)

    constant = ActivationScaler(scaling_factor=0.37)
    average = "expected_average_only_in"
    scaled(
        "standard_scaled",
        sae_lens.StandardTrainingSAE,
        sae_lens.StandardTrainingSAEConfig,
        constant,
        average,
        l1_coefficient=1.0,
    )
    scaled("topk_scaled_by_norm", *top, constant, average, k=K, **by_norm)
    scaled("jumprelu_scaled", *jumprelu, constant, average)
    scaled("gated_scaled_uncentred", *gated, constant, average, apply_b_dec_to_input=False)
    for centred in (True, False):
        white = ActivationScaler()
        rng = torch.Generator().manual_seed(7)
        mixing = torch.randn(D, D, generator=rng)
        batches = [2.0 + torch.randn(256, D, generator=rng) @ mixing for _ in range(20)]
        white.estimate_whitening(D, iter(batches), len(batches))
        suffix = "centred" if centred else "uncentred"
        option = {"apply_b_dec_to_input": centred}
        scaled(f"topk_whitened_{suffix}", *topk, white, "covariance_whitening", k=K, **option)
        scaled(f"gated_whitened_{suffix}", *gated, white, "covariance_whitening", **option)

    # before version 6: one class, its activation named in the config
    old = {
        "d_in": D,
        "d_sae": M,
        "dtype": "float32",
        "device": "cpu",
        "model_name": "gpt2",
        "hook_name": "blocks.8.hook_resid_pre",
    }
    for name, more in (
        (
            "legacy_topk",
            {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}, "normalize_activations": "none"},
        ),
        (
            "legacy_standard",
            {"normalize_activations": False, "apply_b_dec_to_input": False, "finetuning_scaling_factor": False},
        ),
    ):
        case = Case("saelens", name)
        sae = sae_lens.StandardSAE(sae_lens.StandardSAEConfig(**size))
        case.fill(sae)
        tensors = dict(sae.state_dict()) | ({"scaling_factor": torch.ones(D)} if name == "legacy_standard" else {})
        save_file(tensors, case.model / "sae_weights.safetensors")
        (case.model / "cfg.json").write_text(json.dumps(old | more))
        case.expect(run)
    case = Case("saelens", "refused_tanh_relu")  # versions 1 to 5; version 6 reads it as ReLU
    sae = sae_lens.StandardSAE(sae_lens.StandardSAEConfig(**size))
    case.fill(sae)
    save_file(dict(sae.state_dict()), case.model / "sae_weights.safetensors")
    (case.model / "cfg.json").write_text(json.dumps(old | {"activation_fn_str": "tanh-relu"}))
    case = Case("saelens", "jumprelu_log_threshold")
    sae = sae_lens.JumpReLUTrainingSAE(sae_lens.JumpReLUTrainingSAEConfig(**size))
    case.fill(sae)
    sae.save_model(case.model)
    tensors = load_file(case.model / "sae_weights.safetensors")
    tensors["log_threshold"] = tensors.pop("threshold").log()
    save_file(tensors, case.model / "sae_weights.safetensors")
    case.expect(lambda p, x: (lambda s: (s.encode(x), s(x)))(sae_lens.JumpReLUTrainingSAE.load_from_disk(p)))
