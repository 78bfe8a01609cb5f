"""Allowed keys of other libraries' configs: one list per format.

A key either decides what is computed, and then has a rule that its value must obey, or describes where the autoencoder comes
from and how it was trained. What stands in neither list is refused, because it may change the codes. Sources: the config
classes of SAELens 0.5 to 6.54, dictionary_learning 0.1.0 and its git history, sparsify 1.1 to 1.3 and the published files of
its predecessor, and the published files of Gemma Scope 2 and Llama Scope.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sparsecode.interop.affine_sae import CannotExpressError
from sparsecode.interop.readers import shown

__all__ = [
    "BACKUP",
    "DICTIONARY",
    "DICTIONARY_BUFFER",
    "DICTIONARY_TRAINER",
    "EVTIMOVA",
    "GEMMA_SCOPE_2",
    "LLAMA_SCOPE",
    "ORIGIN",
    "POSITIVE",
    "SAELENS",
    "SAELENS_SCALER",
    "SPARSIFY",
    "WHOLES",
    "Keys",
    "check",
]


class Rule(NamedTuple):
    """The values of a key that are accepted, and their description in messages."""

    allows: Callable[[Any], bool]
    expected: str


class Keys(NamedTuple):
    """The keys of one config: those that decide what is computed, and those that only describe (None: any other)."""

    computes: Mapping[str, Rule]
    describes: frozenset[str] | None


def check(config: Mapping[str, Any], keys: Keys, file: Path, ignore: Collection[str] = ()) -> None:
    """Raise CannotExpressError for a key that is not known, or for a value that the reader has no formula for.

    `ignore` names unknown keys that somebody vouches for; a key that decides what is computed cannot be ignored.
    """
    for key, value in config.items():
        rule = keys.computes.get(key)
        if rule is not None:
            if not rule.allows(value):
                also = "; it decides what is computed and cannot be ignored" if key in ignore else ""
                raise CannotExpressError(f"{file}: {key} is {shown(value)}; expected {rule.expected}{also}")
        elif keys.describes is not None and key not in keys.describes and key not in ignore:
            raise CannotExpressError(
                f"{file}: unknown key {key!r} (it is {shown(value)}), which may change what is computed; expected keys that "
                f"decide: {', '.join(keys.computes)}, or known descriptions. If {key!r} only describes, say so with --ignore {key} (in "
                f"Python ignore=[{key!r}])"
            )


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _one_of(*values: Any) -> Rule:
    """These values and no others, of their own type: neither 1 for True nor "none" for None."""
    return Rule(
        lambda value: any(type(value) is type(allowed) and value == allowed for allowed in values),
        ("one of " if len(values) > 1 else "") + ", ".join(map(repr, values)),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and value >= 1 and value == int(value)


def _or_none(rule: Rule) -> Rule:
    return Rule(lambda value: value is None or rule.allows(value), f"{rule.expected}, or null")


def _object(**rules: Rule) -> Rule:
    """An object with no other keys than these; none of them: any object."""

    def allows(value: Any) -> bool:
        return isinstance(value, dict) and (
            not rules or all(key in rules and rules[key].allows(inner) for key, inner in value.items())
        )

    inner = ", ".join(f"{key}: {rule.expected}" for key, rule in rules.items())
    return Rule(allows, f"an object with {inner}" if rules else "an object")


WHOLE = Rule(_is_whole, "a whole number of at least 1")
WHOLES = Rule(lambda value: isinstance(value, list) and all(map(_is_whole, value)), "a list of whole numbers")
POSITIVE = Rule(lambda value: _is_number(value) and value > 0, "a positive number")
NUMBER = Rule(_is_number, "a finite number")
TEXT = Rule(lambda value: isinstance(value, str), "a text")
FLAG, OFF = _one_of(True, False), _one_of(False, None)
DTYPE = Rule(
    lambda value: str(value).removeprefix("torch.") in ("float16", "bfloat16", "float32", "float64"),
    "one of float16, bfloat16, float32, float64",
)

# What an evaluation needs of an origin, under the names of SAELens' metadata.
ORIGIN = _words(
    "model_name model_class_name model_from_pretrained_kwargs hook_name hook_layer hook_head_index hook_name_out "
    "hook_head_index_out hf_hook_name hf_hook_name_out context_size prepend_bos exclude_special_tokens seqpos_slice dataset_path "
    "neuronpedia_id sae_lens_training_version"
)

ARCHITECTURES = (
    "standard", "topk", "jumprelu", "gated", "batchtopk", "matryoshka_batchtopk", "transcoder", "skip_transcoder",
    "jumprelu_transcoder", "jumprelu_skip_transcoder",
)  # fmt: skip
SAELENS = Keys(
    {
        "architecture": _one_of(*ARCHITECTURES),
        "d_in": WHOLE,
        "d_sae": WHOLE,
        "d_out": WHOLE,
        "k": POSITIVE,
        "dtype": DTYPE,
        "apply_b_dec_to_input": FLAG,
        "normalize_activations": _one_of(
            "none", "expected_average_only_in", "covariance_whitening", "layer_norm", "constant_norm_rescale",
            None, False, True,
        ),
        "reshape_activations": _one_of("none", "hook_z", None),
        "activation_fn": _one_of("relu", "topk", None),
        "activation_fn_str": _one_of("relu", "topk", None),
        "activation_fn_kwargs": _or_none(_object(k=WHOLE)),
        "rescale_acts_by_decoder_norm": FLAG,
        "finetuning_scaling_factor": _or_none(FLAG),
        "matryoshka_widths": _or_none(WHOLES),
        "use_error_term": OFF,
        "metadata": _or_none(_object()),
        "sae_lens_version": _or_none(TEXT),
    },
    ORIGIN
    | _words(# where the activations come from and how they are fetched
        "hook_point hook_point_layer hook_point_head_index hook_point_eval hook_eval dataset_trust_remote_code streaming "
        "is_dataset_tokenized use_cached_activations cached_activations_path from_pretrained_path n_batches_in_buffer "
        "training_tokens total_training_tokens finetuning_tokens start_pos_offset end_pos_offset store_batch_size store_batch_size_prompts train_batch_size train_batch_size_tokens "
        "tokens_per_buffer disable_concat_sequences sequence_separator_token activations_mixing_fraction use_chat_formatting "
        "n_batches_for_norm_estimate model_kwargs device llm_device act_store_device prefetch_llm_batches seed autocast "
        "autocast_lm compile_llm llm_compilation_mode compile_sae sae_compilation_mode "
        # how weights were initialised and trained; noise was added in training alone
        "expansion_factor b_dec_init_method normalize_sae_decoder decoder_orthogonal_init decoder_heuristic_init "
        "decoder_heuristic_init_norm decoder_init_norm init_encoder_as_decoder_transpose noise_scale adam_beta1 adam_beta2 "
        "mse_loss_normalization l1_coefficient l1_warm_up_steps lp_norm scale_sparsity_penalty_by_decoder_norm l0_coefficient "
        "l0_warm_up_steps pre_act_loss_coefficient jumprelu_init_threshold jumprelu_bandwidth jumprelu_sparsity_loss_mode "
        "jumprelu_tanh_scale jumprelu_ste_to_input target_l0 aux_loss_coefficient use_sparse_activations "
        "use_matryoshka_aux_loss topk_threshold_lr lr lr_end lr_scheduler_name lr_warm_up_steps lr_decay_steps n_restart_cycles "
        "finetuning_method use_ghost_grads feature_sampling_window feature_sampling_method feature_reinit_scale resample_batches "
        "dead_feature_window dead_feature_threshold dead_feature_estimation_method n_eval_batches "
        "eval_batch_size_prompts "
        # logs and checkpoints
        "log_to_wandb log_activations_store_to_wandb log_optimizer_state_to_wandb log_weights_to_wandb wandb_project wandb_id "
        "wandb_entity wandb_log_frequency eval_every_n_wandb_logs run_name resume n_checkpoints checkpoint_path "
        "save_final_checkpoint output_path resume_from_checkpoint verbose"
    ),
)  # fmt: skip
SAELENS_SCALER = Keys({"scaling_factor": _or_none(POSITIVE), "has_whitening": FLAG}, frozenset())

DICTIONARIES = (
    "AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE",
    "MatryoshkaBatchTopKSAE",
)  # fmt: skip
DICTIONARY = Keys({"trainer": _object(), "buffer": _or_none(_object())}, frozenset())
DICTIONARY_TRAINER = Keys(
    {
        "dict_class": _one_of(*DICTIONARIES),
        "activation_dim": WHOLE,
        "dict_size": WHOLE,
        "k": WHOLE,
        "group_sizes": _or_none(WHOLES),
    },
    _words(
        "trainer_class lm_name layer submodule_name wandb_name device seed lr steps warmup_steps decay_start resample_steps "
        "l1_penalty sparsity_warmup_steps sparsity_penalty sparsity_function p_start p_end anneal_start anneal_end "
        "sparsity_queue_length sparsity_loss_queue_length n_sparsity_updates adaptive_sparsity_penalty lambda_warm_steps bandwidth target_l0 auxk_alpha threshold_beta threshold_start_step top_k_aux "
        "k_anneal_steps group_fractions group_weights norm_factor"  # all but backups are saved after scaling by it
    ),
)
DICTIONARY_BUFFER = Keys({"io": _one_of("in", "out", "in_and_out")}, None)
BACKUP = Keys({"ae": Rule(lambda value: isinstance(value, dict), "a state dict"), "norm_factor": _or_none(POSITIVE)},
              frozenset({"step", "optimizer", "config"}))  # fmt: skip

SPARSIFY = Keys(
    {
        "activation": _one_of("topk"),
        "d_in": WHOLE,
        "k": WHOLE,
        "num_latents": Rule(lambda value: value in (0, None) or _is_whole(value), "a whole number, or 0"),
        "expansion_factor": POSITIVE,
        "skip_connection": FLAG,
        "transcode": FLAG,
        "signed": OFF,
        "embed_skip": OFF,
        "gram_lookup": OFF,
    },
    _words("normalize_decoder multi_topk lookup_max_order gram_table_hash"),
)

GEMMA_SCOPE_2 = Keys(
    {
        "architecture": _one_of("jump_relu"),
        "type": _one_of("sae", "transcoder"),
        "affine_connection": FLAG,
        "width": WHOLE,
        "hf_hook_point_in": _or_none(TEXT),
        "hf_hook_point_out": _or_none(TEXT),
    },
    frozenset({"model_name", "l0"}),
)
LLAMA_SCOPE = Keys(
    {
        "act_fn": _one_of("jumprelu"),
        "jump_relu_threshold": NUMBER,
        "norm_activation": _one_of("dataset-wise"),
        "dataset_average_activation_norm": _object(**{"in": POSITIVE, "out": POSITIVE}),
        "sparsity_include_decoder_norm": FLAG,
        "apply_decoder_bias_to_pre_encoder": _one_of(False),
        "use_decoder_bias": FLAG,
        "use_glu_encoder": _one_of(False),
        "sae_type": _one_of("sae"),
        "d_model": WHOLE,
        "d_sae": WHOLE,
        "expansion_factor": POSITIVE,
        "hook_point_in": TEXT,
        "hook_point_out": _or_none(TEXT),
    },
    _words(
        "device seed dtype bias_init_method decoder_exactly_fixed_norm init_decoder_norm init_encoder_norm "
        "init_encoder_with_decoder_transpose lp l1_coefficient l1_coefficient_warmup_steps top_k initial_k k_warmup_steps "
        "use_batch_norm_mse use_ghost_grads tp_size ddp_size sae_pretrained_name_or_path strict_loading"
    ),
)

# The arguments of main.py, which the original keeps beside the checkpoints with the state of its git checkout.
EVTIMOVA = Keys(
    {
        "decoder": _one_of("linear_dictionary", "linear_decoder", "one_hidden_decoder"),
        "encoder": _one_of("lista_encoder"),
        "code_dim": WHOLE,
        "hidden_dim": WHOLE,
        "num_iter_LISTA": WHOLE,
        "positive_ISTA": FLAG,
        "sparsity_reg": POSITIVE,
    },
    _words(
        "name seed outdir cuda num_workers batch_size datadir dataset data_splits n_training_samples n_val_samples "
        "n_test_samples im_size im_size_eff patch_size n_channels epochs pretrained_path_dec train_decoder norm_decoder lrt_D "
        "weight_decay_D weight_decay_D_bias anneal_lr_D_freq anneal_lr_D_mult pretrained_path_enc train_encoder lrt_E "
        "weight_decay_E weight_decay_E_bias anneal_lr_E_freq anneal_lr_E_mult lrt_Z FISTA n_steps_inf stop_early "
        "use_Zs_enc_as_init Zs_init_val variance_reg hinge_threshold code_reg noise git_head git_sha"
    ),
)
