"""Direct effects of atoms on logits, beside what small real transformers predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsecode.evaluate import logit_effects

WORDS = 40


def host_of(kind: str, d: int) -> tuple[nn.Module, nn.Module]:
    """A transformer with random gains, and its last normalisation."""
    import transformers

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": WORDS, "num_hidden_layers": 1, "num_attention_heads": 1, "bos_token_id": 0}
    wide: dict[str, Any] = {"hidden_size": d, "intermediate_size": 8, "num_key_value_heads": 1, "head_dim": 4, "pad_token_id": 0}  # fmt: skip
    if kind == "gpt2":
        host: Any = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=WORDS, n_embd=d, n_layer=1, n_head=1, n_positions=8, bos_token_id=0, eos_token_id=0
            )
        )
        norm = host.transformer.ln_f
    elif kind == "opt":
        host = transformers.OPTForCausalLM(
            transformers.OPTConfig(**sizes, hidden_size=d, word_embed_proj_dim=d, ffn_dim=8)
        )
        norm = host.model.decoder.final_layer_norm
    elif kind == "llama":
        host = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **wide))
        norm = host.model.norm
    else:
        host = transformers.GemmaForCausalLM(transformers.GemmaConfig(**sizes, **wide))
        norm = host.model.norm
    with torch.no_grad():
        norm.weight.copy_(0.5 + torch.rand(d))
    return host.eval(), norm


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of transformers
@pytest.mark.parametrize(("kind", "d"), [("gpt2", 12), ("gpt2", 9), ("llama", 12), ("gemma", 12), ("opt", 12)])
def test_effects_are_those_of_small_steps_at_the_end_of_the_network(kind: str, d: int) -> None:
    host, norm = host_of(kind, d)
    atoms = torch.randn(3, d)
    effects = logit_effects(atoms, host, n=WORDS)
    x = torch.randn(d).double()
    head: Any = host.get_output_embeddings()  # pyright: ignore[reportCallIssue] - of transformers
    host.double()

    def logits(rows: Tensor) -> Tensor:
        return head(norm(rows[None]))[0]

    for number, atom in enumerate(atoms.double()):
        centred = x - x.mean() if kind in ("gpt2", "opt") else x
        scale = centred.square().mean().sqrt()
        step = atom - atom.mean() if kind in ("gpt2", "opt") else atom
        step = step - centred * (step @ centred) / (centred @ centred)  # the rest changes the scale alone
        # the part of the atom that leaves the scale as it is by a derivative, the part along x from the logits of x
        moved = torch.func.jvp(logits, (x,), (step,))[1] * scale
        share = (atom @ centred / (centred @ centred)) * scale
        along = share * (logits(x) - _bias(norm, head))
        expected = moved + along
        expected = (expected - expected.mean()).detach()
        order = effects.top[number]
        assert sorted(order.tolist()) == list(range(WORDS))
        values = effects.top_values[number]
        assert np.allclose(values, expected.numpy()[order], atol=1e-4 * float(expected.abs().max()))
        assert (np.diff(values) <= 0).all()
        assert effects.bottom[number, 0] == int(expected.argmin())
        assert effects.histogram[number].sum() == WORDS
        low, high = effects.edges[number, [0, -1]]
        assert (low, high) == (pytest.approx(values[-1], rel=1e-4), pytest.approx(values[0], rel=1e-4))


def _bias(norm: Any, head: Any) -> Tensor:
    """The logits that the bias of the normalisation gives."""
    bias = getattr(norm, "bias", None)
    return torch.zeros(WORDS, dtype=torch.float64) if bias is None else head(bias)


def test_networks_without_an_unembedding_and_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no unembedding; expected a language model with a head"):
        logit_effects(np.ones((2, 4)), nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"atoms has shape \(2, 4\); expected \[n_code, 12\], directions in the"):
        logit_effects(np.ones((2, 4)), host_of("gpt2", 12)[0])
    with pytest.raises(ValueError, match="n is 0; expected at least 1 token"):
        logit_effects(np.ones((2, 12)), host_of("gpt2", 12)[0], n=0)
