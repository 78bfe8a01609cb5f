"""Loss recovered in `eval.json`: of data that know their language model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from test_extract_text import GPT2, save_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

import sparsecode as sc
from sparsecode.cli import main
from sparsecode.data import Shards
from sparsecode.evaluate import STANDARD, LossRecovered
from sparsecode.evaluate.reconstruction.host_loss import HostBatch, RecoveredLoss, recovered_losses
from sparsecode.models import Amortised
from sparsecode.nn import TopK
from sparsecode.publishing import prepare_folder

pytestmark = [pytest.mark.filterwarnings("ignore:.*position 0 holds"), pytest.mark.filterwarnings("ignore:.*are dead")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer, documents, and shards of the outputs of its blocks for them."""
    home = tmp_path_factory.mktemp("host")
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**GPT2)).eval().save_pretrained(home / "gpt")
    save_tokenizer(home / "gpt")
    words = torch.randint(1, 33, (60, 20), generator=torch.Generator().manual_seed(1)).tolist()
    lines = [json.dumps({"text": " ".join(f"w{word}" for word in document)}) for document in words]
    (home / "docs.jsonl").write_text("\n".join(lines))
    extract = ["extract", str(home / "gpt"), str(home / "docs.jsonl"), "--length", "12", "--skip-first", "1"]
    points = ["--hook-point", "h.0", "h.1"]
    assert main([*extract, *points, "--out", str(home / "acts"), "--valid", "0.2", "--test", "0.2"]) == 0
    return home


def fitted(home: Path, **options: object) -> sc.Fitted:
    data = Shards(path=str(home / "acts"), sites=("h.1",))
    return sc.fit(
        Amortised(n_code=16, activation=TopK(k=4)), data, epochs=2, batch_size=32, progress=False, figures=False, **options  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def test_an_evaluation_has_the_loss_on_the_documents_of_its_split(home: Path, tmp_path: Path) -> None:
    result = fitted(home, out=tmp_path / "run")
    assert result.scores is not None
    ours = result.scores.measures["loss_recovered"]["transformer.h.1"]
    assert isinstance(ours, RecoveredLoss)
    stored = sc.RunFolder(tmp_path / "run").evaluation()
    assert stored is not None
    assert stored.measures["loss_recovered"]["transformer.h.1"] == ours
    tokens = result.splits.test.tokens
    assert tokens is not None
    groups = set(tokens.group.tolist())
    assert 0 < len(groups) < 60
    host = GPT2LMHeadModel.from_pretrained(home / "gpt").eval()
    batches: list[HostBatch] = []
    for number, line in enumerate((home / "docs.jsonl").read_text().splitlines()):
        if number not in groups:
            continue
        ids = [3 + int(word[1:]) for word in json.loads(line)["text"].split()]
        for start in range(0, len(ids), 12):
            span = torch.tensor([ids[start : start + 12]])
            real = torch.ones_like(span, dtype=torch.bool)
            keep = real.clone()
            keep[:, 0] = False  # --skip-first 1
            batches.append(HostBatch({"input_ids": span}, span, real, keep))
    wanted = recovered_losses(host, result.model, ("transformer.h.1",), lambda: batches)["transformer.h.1"]
    assert ours.n == wanted.n
    for name in ("clean", "spliced", "zero", "mean"):
        assert getattr(ours, name).cross_entropy == pytest.approx(getattr(wanted, name).cross_entropy, rel=1e-4), name


def test_a_converted_and_a_pushed_run_name_their_model_and_hook_point(home: Path, tmp_path: Path) -> None:
    fitted(home, out=tmp_path / "run")
    files = prepare_folder(tmp_path / "run", "org/acts", tmp_path / "up")
    assert "saelens/cfg.json" in files
    metadata = json.loads((tmp_path / "up" / "saelens" / "cfg.json").read_text())["metadata"]
    assert (metadata["model_name"], metadata["hook_name"]) == ("gpt", "blocks.1.hook_resid_post")
    assert metadata["hf_hook_name"] == "h.1"
    card = (tmp_path / "up" / "README.md").read_text()
    assert "| hook point | h.0, h.1 |" in card
    assert "### loss recovered" in card
    assert str(home) not in card + (tmp_path / "up" / "config.json").read_text()


def test_without_the_model_the_measure_is_left_out_with_a_sentence(home: Path) -> None:
    (home / "gpt").rename(home / "moved")
    try:
        with pytest.warns(UserWarning, match=r"loss recovered is left out: .*gpt: no such model folder"):
            result = fitted(home)
    finally:
        (home / "moved").rename(home / "gpt")
    assert result.scores is not None
    assert "loss_recovered" not in result.scores.measures
    assert result.scores.scores
    splits = Shards(path=str(home / "acts"), sites=("h.1",)).load()
    assert splits.host is not None
    assert splits.host.missing(2.0) is None
    reason = splits.host.missing(1e-9)
    assert reason is not None
    assert "GB of weights, more than 1e-09" in reason


def test_shards_of_earlier_versions_and_other_data_know_no_model(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "acts", tmp_path / "acts")
    index = json.loads((tmp_path / "acts" / "index.json").read_text())
    del index["spec"]["provenance"]["host"]
    (tmp_path / "acts" / "index.json").write_text(json.dumps(index))
    assert Shards(path=str(tmp_path / "acts"), sites=("h.1",)).load().host is None
    assert "loss_recovered" not in (fitted(tmp_path).scores or pytest.fail("no evaluation")).measures


def test_the_measure_can_be_named_with_its_size(home: Path) -> None:
    measure = LossRecovered(spans=3, batch_size=2)
    assert msgspec.json.decode(msgspec.json.encode(measure), type=LossRecovered) == measure
    result = fitted(home, measures=(*STANDARD, measure))
    assert result.scores is not None
    ours = result.scores.measures["loss_recovered"]["transformer.h.1"]
    assert isinstance(ours, RecoveredLoss)
    assert ours.n <= 3 * 11
