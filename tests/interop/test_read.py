"""Our reading of other libraries' files against the numbers of the libraries themselves."""

import shutil
from pathlib import Path

import pytest
import torch
from interop.cases import READABLE, REFUSED, Case, expected
from torch import Tensor

from sparsecode.interop import CannotExpressError, detect, read
from sparsecode.interop.affine_sae import JumpReLUCodes, TopKCodes


def assert_near(ours: Tensor, theirs: Tensor) -> None:
    """Equal to some units in the last place of float32 at the size of the largest."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * float(theirs.abs().max()))


@pytest.mark.parametrize("case", READABLE, ids=str)
def test_codes_and_outputs_are_those_of_the_package(case: Case) -> None:
    assert detect(case.path) == case.format
    sae, (x, codes, outputs) = read(case.path), expected(case)
    assert_near(sae.encode(x), codes)
    assert torch.equal(sae.encode(x) > 0, codes > 0)
    assert_near(sae.reconstruct(x), outputs)


def test_every_class_is_there() -> None:
    names = {case.format: {c.name for c in READABLE if c.format == case.format} for case in READABLE}
    classes = "AutoEncoder AutoEncoderNew GatedAutoEncoder JumpReluAutoEncoder AutoEncoderTopK BatchTopKSAE MatryoshkaBatchTopKSAE"
    assert set(classes.split()) < names["dictionary_learning"]
    assert {"saelens", "sparsify", "openai", "gemma_scope", "gemma_scope_2", "llama_scope"} < set(names)


REASONS = {
    "saelens/refused_abstopk": "architecture is 'abstopk'",
    "saelens/refused_tanh_relu": "activation_fn_str is .tanh-relu.; expected one of .relu., .topk.",
    "saelens/refused_unknown_scale": "activation_scaler.json",
    "dictionary_learning/refused_unset_threshold": "never set",
    "sparsify/refused_groupmax": "groupmax",
    "sparsify/refused_signed": "signed",
    "openai/refused_identity": "activation is 'TopK' with {.*'postact_fn': 'Identity'",
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_would_only_look_right_is_refused(case: Case) -> None:
    with pytest.raises(ValueError, match=REASONS[str(case)]) as error:
        read(case.path)
    assert str(case.path) in str(error.value)


def test_a_missing_scale_can_be_given(tmp_path: Path) -> None:
    case = Case("saelens", "standard_scaled")
    shutil.copytree(case.path, tmp_path / "sae")
    (tmp_path / "sae" / "activation_scaler.json").unlink()
    with pytest.raises(ValueError, match="scaling_factor"):
        read(tmp_path / "sae")
    (tmp_path / "sae" / "activation_scaler.json").write_text('{"scaling_factor": 0.37}')
    x, codes, _ = expected(case)
    assert_near(read(tmp_path / "sae").encode(x), codes)


def test_a_config_with_the_wrong_class_name_is_seen_through() -> None:
    case = Case("dictionary_learning", "AutoEncoderNew")
    sae, (x, codes, _) = read(case.path.parent / "as_written"), expected(case)
    assert_near(sae.encode(x), codes)


def test_a_checkpoint_finds_its_config_one_folder_up(tmp_path: Path) -> None:
    case = Case("dictionary_learning", "GatedAutoEncoder")
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(case.path / "config.json", tmp_path)
    checkpoint = shutil.copy(case.path / "ae.pt", tmp_path / "checkpoints" / "ae_100.pt")
    assert detect(checkpoint) == "dictionary_learning"
    x, codes, _ = expected(case)
    assert_near(read(checkpoint).encode(x), codes)


def test_both_k_and_threshold_are_kept() -> None:
    top = read(Case("dictionary_learning", "AutoEncoderTopK").path).activation
    assert isinstance(top, TopKCodes)
    assert top.k == 4
    assert top.threshold is not None
    assert top.threshold > 0
    for name, groups in (("BatchTopKSAE", ()), ("MatryoshkaBatchTopKSAE", (8, 8, 16))):
        batch = read(Case("dictionary_learning", name).path).activation
        assert isinstance(batch, JumpReLUCodes)
        assert (batch.k, batch.groups) == (4, groups)
    for name in ("matryoshka_checkpoint", "matryoshka_export"):
        nested = read(Case("saelens", name).path).activation
        assert isinstance(nested, JumpReLUCodes)
        assert (nested.k, nested.groups) == (4.0, (8, 8, 16))


def test_origin_is_kept() -> None:
    assert read(Case("saelens", "legacy_topk").path).metadata["hook_name"] == "blocks.8.hook_resid_pre"
    assert read(Case("dictionary_learning", "AutoEncoder").path).metadata == {
        "model_name": "gpt2",
        "hook_layer": 8,
        "context_size": 128,
    }


def test_decoding_alone_asks_for_inputs_where_it_needs_them() -> None:
    for name in ("standard_layer_norm", "skip_transcoder"):
        case = Case("saelens", name)
        sae, (x, codes, outputs) = read(case.path), expected(case)
        with pytest.raises(ValueError, match="give x as well"):
            sae.decode(codes)
        assert_near(sae.decode(codes, x), outputs)


def test_layer_norm_is_refused_by_our_models() -> None:
    from sparsecode.interop import to_model

    with pytest.raises(CannotExpressError, match="LayerNorm"):
        to_model(read(Case("openai", "topk").path))
