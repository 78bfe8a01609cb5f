"""One list of allowed keys per format: what decides the codes is known and checked, what is not known is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interop.cases import READABLE, Case, expected
from safetensors.torch import load_file, save_file

from sparsecode.cli.main import main
from sparsecode.interop import FORMATS, AffineSAE, CannotExpressError, convert, read
from sparsecode.interop import keys as allowed
from sparsecode.interop.keys import Keys, check

Config = dict[str, Any]
CONFIGS: dict[str, tuple[str, tuple[tuple[tuple[str, ...], Keys], ...]]] = {
    "saelens": ("cfg.json", (((), allowed.SAELENS),)),
    "dictionary_learning": (
        "config.json",
        (
            ((), allowed.DICTIONARY),
            (("trainer",), allowed.DICTIONARY_TRAINER),
            (("buffer",), allowed.DICTIONARY_BUFFER),
        ),
    ),
    "sparsify": ("cfg.json", (((), allowed.SPARSIFY),)),
    "gemma_scope_2": ("config.json", (((), allowed.GEMMA_SCOPE_2),)),
    "llama_scope": ("hyperparams.json", (((), allowed.LLAMA_SCOPE),)),
}
WITH_CONFIG = [case for case in READABLE if case.format in CONFIGS]


def inside(config: Config, path: tuple[str, ...]) -> Config:
    for part in path:
        config = config[part]
    return config


def same(one: AffineSAE, other: AffineSAE) -> bool:
    kinds = type(one.activation), one.centred, one.normaliser
    return kinds == (type(other.activation), other.centred, other.normaliser) and all(
        torch.equal(value, other.tensors()[name]) for name, value in one.tensors().items()
    )


@pytest.fixture
def edit(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a fixture whose config a function has changed."""

    def edited(case: Case, change: Callable[[Config], object], name: str | None = None) -> Path:
        folder = tmp_path / "model"
        if not folder.exists():
            shutil.copytree(case.path, folder)
        file = folder / (name or CONFIGS[case.format][0])
        config = json.loads((case.path / file.name).read_text())
        change(config)
        file.write_text(json.dumps(config))
        return folder

    return edited


@pytest.mark.parametrize("case", WITH_CONFIG, ids=str)
def test_every_key_of_every_fixture(case: Case, edit: Callable[..., Path]) -> None:
    """A computing key with an unknown value, and any unknown key, is refused; a describing key changes nothing."""
    result = read(case.path)
    original = json.loads((case.path / CONFIGS[case.format][0]).read_text())
    for path, keys in CONFIGS[case.format][1]:
        described = [key for key in inside(original, path) if key not in keys.computes]
        for key in set(inside(original, path)) - set(described):
            strange = [1] if keys.computes[key].allows("unheard of") else "unheard of"
            folder = edit(case, lambda config, p=path, k=key, v=strange: inside(config, p).update({k: v}))
            with pytest.raises(CannotExpressError, match=f"{key} is .*; expected ") as error:
                read(folder)
            assert CONFIGS[case.format][0] in str(error.value)
            assert "\n" not in str(error.value)
            with pytest.raises(CannotExpressError, match="cannot be ignored"):
                read(folder, ignore=(key,))
        folder = edit(case, lambda config, p=path, d=described: inside(config, p).update(dict.fromkeys(d, "other")))
        assert same(read(folder), result)
        if keys.describes is None:
            continue
        folder = edit(case, lambda config, p=path: inside(config, p).update({"gain_of_codes": 2.0}))
        with pytest.raises(
            CannotExpressError, match=r"unknown key 'gain_of_codes' \(it is 2.0\).* --ignore gain_of_codes"
        ):
            read(folder)
        assert same(read(folder, ignore=("gain_of_codes",)), result)


@pytest.mark.parametrize("case", READABLE, ids=str)
def test_formulas_give_the_numbers_of_the_packages(case: Case) -> None:
    """So that a conversion is compared with a statement of its own, and not with its reading."""
    x, codes, outputs = expected(case)
    z, y = FORMATS[case.format].computed(case.path, ())(x.double())
    torch.testing.assert_close(z.float(), codes, rtol=0, atol=1e-6 * float(codes.abs().max()))
    torch.testing.assert_close(y.float(), outputs, rtol=0, atol=1e-6 * float(outputs.abs().max()))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("saelens/jumprelu_centred", {"activation": "ReLU"}),  # as if its threshold had not been read
        ("saelens/standard_centred", {"centred": False}),
        ("dictionary_learning/AutoEncoderTopK", {"activation": "k + 1"}),
    ],
)
def test_a_misreading_is_not_proved_equal(
    name: str, wrong: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from sparsecode.interop.affine_sae import ReLUCodes, TopKCodes

    case = Case(*name.split("/"))
    right, kinds = FORMATS[case.format], {"ReLU": ReLUCodes(), "k + 1": TopKCodes(5)}
    changes = {key: kinds.get(value, value) if isinstance(value, str) else value for key, value in wrong.items()}
    monkeypatch.setitem(
        FORMATS, case.format, right._replace(read=lambda path, ignore: replace(right.read(path, ignore), **changes))
    )
    with pytest.raises(ValueError, match="does not compute what its source does"):
        convert(case.path, tmp_path / "out", "sparsecode")


# The computation of SAELens before version 6, whose class had an activation by name


@pytest.mark.parametrize("key", ["activation_fn", "activation_fn_str"])
@pytest.mark.parametrize("value", ["tanh-relu", "gelu", "ReLU", 1, ["relu"], ""])
def test_an_activation_that_is_not_known_is_not_taken_for_relu(key: str, value: Any, edit: Callable[..., Path]) -> None:
    case = Case("saelens", "legacy_standard")
    with pytest.raises(CannotExpressError, match=f"{key} is .*; expected one of 'relu', 'topk', None"):
        read(edit(case, lambda config: config.update({key: value})))
    assert same(read(edit(case, lambda config: config.update({key: "relu"}))), read(case.path))


def test_a_decoder_scale_of_old_versions_is_folded(tmp_path: Path, edit: Callable[..., Path]) -> None:
    case = Case("saelens", "legacy_standard")
    folder = edit(case, lambda config: config.update(finetuning_scaling_factor=True))
    factor, file = torch.linspace(0.5, 2.0, 32), folder / "sae_weights.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"scaling_factor": factor}, file)
    sae, (x, codes, _) = read(folder), expected(case)
    torch.testing.assert_close(sae.encode(x), codes, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        sae.reconstruct(x), (codes * factor) @ tensors["W_dec"] + tensors["b_dec"], rtol=1e-5, atol=1e-4
    )
    convert(folder, tmp_path / "out", "saelens")
    with pytest.raises(CannotExpressError, match="finetuning_scaling_factor is False, and"):
        read(edit(case, lambda config: config.update(finetuning_scaling_factor=False)))


CONTRADICTIONS: list[tuple[str, Config, str]] = [
    ("saelens/standard_centred", {"d_in": 13}, "d_in is 13, and"),
    ("saelens/standard_centred", {"k": 4}, "contradicts itself"),
    ("saelens/standard_centred", {"rescale_acts_by_decoder_norm": True}, "has no top-k"),
    ("saelens/topk_centred", {"activation_fn": "relu"}, "contradicts itself"),
    ("saelens/topk_centred", {"activation_fn_kwargs": {"k": 5}}, "contradicts itself: .* k 4 and 5"),
    ("saelens/topk_centred", {"architecture": "standard"}, "contradicts itself"),
    ("saelens/legacy_topk", {"activation_fn": "relu"}, "contradicts itself"),
    ("saelens/legacy_topk", {"architecture": "jumprelu"}, "contradicts itself"),
    ("saelens/jumprelu_centred", {"architecture": "standard"}, "unknown threshold"),
    ("saelens/transcoder", {"apply_b_dec_to_input": True}, "subtracts b_dec from its input"),
    ("saelens/transcoder_wide", {"d_out": 6}, "d_out is 6, and"),
    ("saelens/skip_transcoder", {"architecture": "transcoder"}, "unknown W_skip"),
    ("saelens/standard_scaled", {"normalize_activations": "none"}, "scaling_factor is 0.37, and"),
    ("saelens/matryoshka_checkpoint", {"matryoshka_widths": [8, 16, 64]}, r"matryoshka_widths is \[8, 16, 64\]"),
    ("saelens/matryoshka_checkpoint", {"matryoshka_widths": [16, 8, 32]}, "growing whole numbers"),
    ("sparsify/plain", {"skip_connection": True}, "missing W_skip"),
    ("sparsify/skip", {"skip_connection": False}, "unknown W_skip"),
    ("sparsify/expansion_factor", {"expansion_factor": 3}, "does not fit"),
    ("gemma_scope_2/resid_post", {"width": 33}, "width is 33, and"),
    ("gemma_scope_2/resid_post", {"affine_connection": True}, "missing affine_skip_connection"),
    ("gemma_scope_2/transcoder_skip", {"type": "sae"}, "expected type 'transcoder'"),
    ("gemma_scope_2/resid_post", {"type": "clt"}, "type is 'clt'"),
    ("llama_scope/residual", {"d_model": 13}, "d_model is 13, and"),
    ("llama_scope/residual", {"d_sae": 64}, "d_sae is 64, and"),
    ("llama_scope/residual", {"use_decoder_bias": False}, "unknown decoder.bias"),
    ("llama_scope/residual", {"dataset_average_activation_norm": {"in": 0.0, "out": 1.0}}, "expected an object with in"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "message"), CONTRADICTIONS)
def test_files_that_contradict_themselves(name: str, changes: Config, message: str, edit: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read(edit(Case(*name.split("/")), lambda config: config.update(changes)))
    assert "\n" not in str(error.value)


TRAINERS: list[tuple[str, Config, str]] = [
    ("AutoEncoder", {"activation_dim": 13}, "activation_dim is 13, and"),
    ("AutoEncoder", {"dict_size": 33}, "dict_size is 33, and"),
    ("AutoEncoderTopK", {"k": 5}, r"k \[4, 5\]"),
    ("MatryoshkaBatchTopKSAE", {"group_sizes": [8, 24]}, r"group_sizes \[8, 8, 16\] and \[8, 24\]"),
    ("JumpReluAutoEncoder", {"dict_class": "AutoEncoder"}, "missing .*encoder.weight"),
]


@pytest.mark.parametrize(("name", "changes", "message"), TRAINERS)
def test_trainers_that_contradict_their_tensors(
    name: str, changes: Config, message: str, edit: Callable[..., Path]
) -> None:
    with pytest.raises(ValueError, match=message):
        read(edit(Case("dictionary_learning", name), lambda config: config["trainer"].update(changes)))


def test_activations_of_two_sides_make_a_transcoder(edit: Callable[..., Path]) -> None:
    case = Case("dictionary_learning", "GatedAutoEncoder")
    sae = read(edit(case, lambda config: config["buffer"].update(io="in_and_out")))
    assert sae.transcoder
    assert same(sae, read(edit(case, lambda config: config["buffer"].update(io="out", n_ctxs=3000))))
    with pytest.raises(CannotExpressError, match="io is 'both'; expected one of 'in', 'out', 'in_and_out'"):
        read(edit(case, lambda config: config["buffer"].update(io="both")))


def test_llama_scope_needs_what_its_code_has_had_several_defaults_for(edit: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"sparsity_include_decoder_norm .* it is not there"):
        read(edit(Case("llama_scope", "residual"), lambda config: config.pop("sparsity_include_decoder_norm")))


def test_ignored_keys_are_noted_by_the_command(
    tmp_path: Path, edit: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = edit(Case("sparsify", "plain"), lambda config: config.update(comment="mine"))
    asked = ["convert", str(folder), str(tmp_path / "out"), "--to", "saelens"]
    assert main(asked) == 1
    assert "--ignore comment" in capsys.readouterr().err
    assert main([*asked, "--ignore", "comment"]) == 0
    stored = json.loads((tmp_path / "out" / "cfg.json").read_text())["metadata"]["sparsecode"]["conversion"]
    assert stored["ignored"] == ["comment"]


# As published: configs of releases that many use, in the words of the files themselves
GPT2_SMALL = {
    "model_name": "gpt2-small", "hook_point": "blocks.0.hook_resid_pre", "hook_point_layer": 0, "hook_point_head_index": None,
    "dataset_path": "Skylion007/openwebtext", "is_dataset_tokenized": False, "context_size": 128, "use_cached_activations": False,
    "cached_activations_path": "activations/openwebtext", "d_in": 768, "n_batches_in_buffer": 128, "total_training_tokens": 300000000,
    "store_batch_size": 32, "device": "mps", "seed": 42, "dtype": "torch.float32", "b_dec_init_method": "geometric_median",
    "expansion_factor": 32, "from_pretrained_path": None, "l1_coefficient": 8e-05, "lr": 0.0004, "lr_scheduler_name": None,
    "lr_warm_up_steps": 5000, "train_batch_size": 4096, "use_ghost_grads": False, "feature_sampling_window": 1000,
    "feature_sampling_method": None, "resample_batches": 1028, "feature_reinit_scale": 0.2, "dead_feature_window": 5000,
    "dead_feature_estimation_method": "no_fire", "dead_feature_threshold": 1e-08, "log_to_wandb": True, "wandb_entity": None,
    "wandb_project": "mats_sae_training_gpt2_small_resid_pre_5", "wandb_log_frequency": 100, "n_checkpoints": 10,
    "checkpoint_path": "checkpoints/y1t51byy", "d_sae": 24576, "tokens_per_buffer": 67108864, "run_name": "24576-L1-8e-05",
}  # fmt: skip
LLAMA = {
    "device": "cuda:0", "seed": 42, "dtype": "torch.bfloat16", "hook_point_in": "blocks.24.hook_resid_post",
    "hook_point_out": "blocks.24.hook_resid_post", "use_decoder_bias": True, "apply_decoder_bias_to_pre_encoder": False,
    "expansion_factor": 32, "d_model": 4096, "d_sae": 131072, "bias_init_method": "all_zero", "act_fn": "jumprelu",
    "jump_relu_threshold": 0.75390625, "norm_activation": "dataset-wise",
    "dataset_average_activation_norm": {"in": 29.125, "out": 29.125}, "decoder_exactly_fixed_norm": False,
    "sparsity_include_decoder_norm": True, "use_glu_encoder": False, "init_decoder_norm": 0.5, "init_encoder_norm": None,
    "init_encoder_with_decoder_transpose": True, "lp": 1, "l1_coefficient": 8e-05, "l1_coefficient_warmup_steps": 78125,
    "top_k": 50, "k_warmup_steps": 78125, "use_batch_norm_mse": True, "use_ghost_grads": False, "tp_size": 1, "ddp_size": 1,
}  # fmt: skip
GEMMA = {
    "hf_hook_point_in": "model.layers.17.output", "hf_hook_point_out": "model.layers.17.output", "width": 65536,
    "model_name": "google/gemma-3-4b-pt", "architecture": "jump_relu", "l0": 60, "affine_connection": False, "type": "sae",
}  # fmt: skip
PYTHIA = {
    "expansion_factor": 32,
    "normalize_decoder": True,
    "num_latents": 32768,
    "k": 16,
    "signed": False,
    "d_in": 512,
}


@pytest.mark.parametrize(
    ("keys", "config"),
    [
        (allowed.SAELENS, GPT2_SMALL),
        (allowed.LLAMA_SCOPE, LLAMA),
        (allowed.GEMMA_SCOPE_2, GEMMA),
        (allowed.SPARSIFY, PYTHIA),
    ],
    ids=["gpt2-small-res-jb", "Llama Scope L24R", "Gemma Scope 2", "sae-pythia-70m-32k"],
)
def test_published_configs_are_known(keys: Keys, config: Config) -> None:
    check(config, keys, Path("cfg.json"))
