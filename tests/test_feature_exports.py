"""Features and codes in the files of delphi and Neuronpedia: by their published formats, and by the real packages where they are installed."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from sparsecode.cli import main
from sparsecode.data import Split, Tokens
from sparsecode.evaluate import Features, FeatureSettings, collect_features, logit_effects
from sparsecode.evaluate.units.feature_collection import CodedRows, rows_of_split
from sparsecode.models import Amortised
from sparsecode.nn import TopK
from sparsecode.reports.delphi import DelphiSource, sequences_of, write_delphi
from sparsecode.reports.neuronpedia import NeuronpediaSource, write_neuronpedia

TEXTS, LENGTH, D, K = 12, 10, 6, 20


def tokens_in_disorder() -> Tokens:
    """Of 12 texts of 10 tokens as two sequences of 5, without the first position of each, in the order of a shuffle."""
    text, place = torch.arange(TEXTS).repeat_interleave(LENGTH), torch.arange(LENGTH).repeat(TEXTS)
    position = place % 5
    tokens = Tokens(100 * text + place, position, text, place)
    rows = torch.randperm(TEXTS * LENGTH, generator=torch.Generator().manual_seed(0))
    return tokens.take(rows[position[rows] > 0])


class TinyHost(torch.nn.Module):
    """An unembedding, and no normalisation before it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(D, 50)

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head


@pytest.fixture(scope="module")
def coded() -> tuple[CodedRows, np.ndarray, np.ndarray]:
    """The rows, their codes, and the atoms."""
    model = Amortised(n_code=K, activation=TopK(k=3)).build((D,), seed=0).eval()
    tokens = tokens_in_disorder()
    x = torch.randn(len(tokens), D, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        z = model.encode(x).numpy()
    assert model.dictionary is not None
    return rows_of_split(model, Split(x, tokens=tokens)), z, model.dictionary.atoms.detach().numpy()


def collected(rows: CodedRows) -> Features:
    result = collect_features(rows, FeatureSettings(top=3, per_band=1, near=1, before=2, after=2))
    assert result.contexts is not None
    return result._replace(texts={int(i): f"t{i}" for i in np.unique(result.contexts.token_id)})


def test_tokens_return_to_the_sequences_of_the_network() -> None:
    result = sequences_of(tokens_in_disorder(), padding=-7)
    expected = (100 * np.arange(TEXTS)[:, None] + np.arange(LENGTH)).reshape(-1, 5)
    expected[:, 0] = -7
    assert np.array_equal(result.ids, expected)


def test_delphi_gets_every_value_where_it_belongs(
    coded: tuple[CodedRows, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    rows, z, _ = coded
    source = DelphiSource("tokenizers/words", "wiki", "train", n_splits=3)
    write_delphi(tmp_path / "latents", "layers.2", rows, source)
    home = tmp_path / "latents" / "layers.2"
    assert {path.name for path in home.iterdir()} == {
        "0_5.safetensors", "6_12.safetensors", "13_19.safetensors", "config.json",
    }  # fmt: skip
    values, table = np.zeros((2 * TEXTS, 5, K)), np.zeros(0)
    for path in home.glob("*.safetensors"):
        file = load_file(path)
        assert (file["locations"].dtype, file["activations"].dtype) == (np.uint16, np.float16)
        at = file["locations"].astype(int)
        values[at[:, 0], at[:, 1], at[:, 2] + int(path.stem.split("_")[0])] = file["activations"]
        table = file["tokens"]
    assert rows.tokens is not None
    expected = np.zeros_like(values)
    number = 2 * rows.tokens.group + (rows.tokens.place >= 5)
    expected[number, rows.tokens.position] = z
    assert np.allclose(values, expected, rtol=1e-3)
    assert table[number, rows.tokens.position].tolist() == rows.tokens.ids.tolist()
    config = json.loads((home / "config.json").read_text())
    assert (config["model_name"], config["cache_ctx_len"], config["n_tokens"]) == ("tokenizers/words", 5, 120)
    with pytest.raises(FileExistsError, match="is there already"):
        write_delphi(tmp_path / "latents", "layers.2", rows, source)
    with pytest.raises(ValueError, match="n_splits is 99; expected at most one for each of the 20 codes"):
        write_delphi(tmp_path / "b", "x", rows, DelphiSource("x", n_splits=99))
    with pytest.raises(ValueError, match="rows have no tokens"):
        write_delphi(tmp_path / "b", "x", rows._replace(tokens=None), source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latents"]


def test_neuronpedia_gets_statistics_and_examples(
    coded: tuple[CodedRows, np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, _, atoms = coded
    features = collected(rows)
    monkeypatch.setattr("sparsecode.reports.neuronpedia.BATCH", 8)
    write_neuronpedia(tmp_path / "out", features, NeuronpediaSource("gpt2", 2, "mine"), atoms)
    batches = [json.loads((tmp_path / "out" / f"batch-{i}.json").read_text()) for i in range(3)]
    assert all((b["model_id"], b["layer"], b["sae_set"]) == ("gpt2", 2, "mine") for b in batches)
    by_code = {feature["feature_index"]: feature for batch in batches for feature in batch["features"]}
    assert sorted(by_code) == np.flatnonzero(features.n_active).tolist()
    for number, feature in by_code.items():
        code = features.code(number)
        assert feature["frac_nonzero"] == code.density
        assert sum(feature["freq_hist_data_bar_heights"]) == code.n_active
        assert len(feature["activations"]) == len(code.examples)
        assert np.allclose(feature["vector"], atoms[number], rtol=1e-3)
        assert feature["neuron_alignment_indices"][0] == int(np.abs(atoms[number]).argmax())
        for shown, example in zip(feature["activations"], code.examples, strict=True):
            at = shown["qualifying_token_index"]
            assert shown["values"][at] == pytest.approx(example.value, rel=1e-3)
            assert shown["tokens"] == features.words(example)
            if example.band == -1:
                assert (shown["bin_min"], shown["bin_contains"]) == (-1, -1)
            else:
                assert shown["bin_min"] * 0.999 <= example.value <= shown["bin_max"] * 1.001
        assert feature["pos_str"] == feature["logits_hist_data_bar_heights"] == []
    host = TinyHost()
    effects = logit_effects(atoms, host, n=3)
    write_neuronpedia(tmp_path / "with", features, NeuronpediaSource("gpt2", 2, "mine"), atoms, effects=effects)
    feature = json.loads((tmp_path / "with" / "batch-0.json").read_text())["features"][0]
    logits = atoms[feature["feature_index"]] @ host.head.weight.detach().numpy().T
    logits -= logits.mean()
    assert feature["pos_str"] == [f"[{number}]" for number in np.argsort(-logits)[:3]]
    assert feature["neg_str"] == [f"[{number}]" for number in np.argsort(logits)[:3]]
    assert np.allclose(feature["pos_values"], np.sort(logits)[::-1][:3], rtol=1e-3)
    counts, middles = feature["logits_hist_data_bar_heights"], feature["logits_hist_data_bar_values"]
    assert sum(counts) == 50
    assert np.dot(counts, middles) / 50 == pytest.approx(0, abs=middles[1] - middles[0])
    with pytest.raises(ValueError, match="effects has 7 rows; expected one for each of the 20 codes"):
        write_neuronpedia(
            tmp_path / "b",
            features,
            NeuronpediaSource("gpt2", 2, "mine"),
            effects=logit_effects(atoms[:7], host, n=3),
        )
    with pytest.raises(ValueError, match="no tokens around their examples"):
        write_neuronpedia(tmp_path / "b", features._replace(contexts=None), NeuronpediaSource("gpt2", 2, "mine"))
    with pytest.raises(ValueError, match="atoms has 3 rows"):
        write_neuronpedia(tmp_path / "b", features, NeuronpediaSource("gpt2", 2, "mine"), atoms[:3])


def test_the_command_exports_a_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sparsecode.data import ShardWriter
    from sparsecode.models import save_model

    save_model(Amortised(n_code=K, activation=TopK(k=3)).build((D,), seed=0), tmp_path / "sae", {})
    origin = {"model": "gpt2", "hook_point": "transformer.h.5", "text": "wiki.txt, 9 bytes"}
    with ShardWriter(tmp_path / "shards", valid=0.2, test=0.2, provenance=origin) as writer:
        for text in range(20):
            place = torch.arange(LENGTH)
            writer.append(torch.randn(LENGTH, D), text, tokens=Tokens(place, place, torch.full((LENGTH,), text)))
    words = [
        "features",
        str(tmp_path / "sae"),
        str(tmp_path / "shards"),
        "--out",
        str(tmp_path / "f.safetensors"),
        "--export",
    ]
    assert main([*words, "neuronpedia", str(tmp_path / "np")]) == 0
    batch = json.loads((tmp_path / "np" / "batch-0.json").read_text())
    assert (batch["model_id"], batch["layer"], batch["sae_set"]) == ("gpt2", 5, "sae")
    assert batch["features"][0]["n_tokens_in_prompt"] == LENGTH
    assert len(batch["features"][0]["vector"]) == D
    assert main([*words, "delphi", str(tmp_path / "latents")]) == 0
    assert (tmp_path / "latents" / "transformer.h.5" / "config.json").is_file()
    assert "as they were stored" in " ".join(capsys.readouterr().out.split())
    assert main([*words, "delphi", str(tmp_path / "latents")]) == 3
    assert main([*words, "elsewhere", str(tmp_path / "x")]) == 2


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@pytest.mark.slow
@pytest.mark.skipif(
    not _installed("delphi"),
    reason="pip install --no-deps eai-delphi==0.1.3 asyncer simple-parsing docstring-parser orjson",
)
def test_delphi_reads_its_cache(
    coded: tuple[CodedRows, np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the package's own `LatentDataset`; libraries that it imports and that reading needs not are empty modules here."""
    for name, names in (("faiss", ()), ("sentence_transformers", ("SentenceTransformer",)), ("blobfile", ()), ("sparsify", ("Sae", "SparseCoder")), ("orjson", ()), ("datasets", ("Dataset", "load_dataset"))):  # fmt: skip
        if not _installed(name):
            module = types.ModuleType(name)
            for each in names:
                setattr(module, each, type(each, (), {}))
            monkeypatch.setitem(sys.modules, name, module)
    config, loader = (importlib.import_module(f"delphi.{name}") for name in ("config", "latents.loader"))
    assert metadata.version("eai-delphi") == "0.1.3"
    rows, z, _ = coded
    write_delphi(tmp_path / "latents", "layers.2", rows, DelphiSource("words", n_splits=3))
    constructor = config.ConstructorConfig(example_ctx_len=5, min_examples=1, n_non_activating=0)

    class Words:
        def batch_decode(self, ids: Any) -> list[str]:
            return [f"t{int(i)}" for i in ids]

    data = loader.LatentDataset(tmp_path / "latents", config.SamplerConfig(), constructor, tokenizer=Words())
    assert data.tokens.shape == (2 * TEXTS, 5)
    values = np.zeros((2 * TEXTS, 5, K))
    for buffer in data.buffers:
        for each in buffer:
            at = each.activation_data.locations
            values[at[:, 0], at[:, 1], each.latent.latent_index] = each.activation_data.activations
    assert rows.tokens is not None
    expected = np.zeros_like(values)
    expected[2 * rows.tokens.group + (rows.tokens.place >= 5), rows.tokens.position] = z
    assert np.allclose(values, expected, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not _installed("sae_dashboard"), reason="pip install --no-deps sae-dashboard==0.8.0")
def test_saedashboard_reads_the_batches(coded: tuple[CodedRows, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    """By the package's own records, whose file is loaded without the rest of the package."""
    spec = importlib.util.find_spec("sae_dashboard")
    assert spec is not None
    assert spec.origin is not None
    assert metadata.version("sae-dashboard") == "0.8.0"
    file = Path(spec.origin).parent / "neuronpedia" / "neuronpedia_dashboard.py"
    own = importlib.util.spec_from_file_location("neuronpedia_dashboard", file)
    assert own is not None
    assert own.loader is not None
    module = importlib.util.module_from_spec(own)
    own.loader.exec_module(module)
    rows, _, atoms = coded
    write_neuronpedia(tmp_path / "out", collected(rows), NeuronpediaSource("gpt2", 2, "mine"), atoms)
    raw = json.loads((tmp_path / "out" / "batch-0.json").read_text())
    batch = module.NeuronpediaDashboardBatch(**raw)
    assert batch.to_dict() == raw
