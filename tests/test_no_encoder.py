"""Sparse coding without an encoder: atoms from running statistics, codes from the solver alone."""

from pathlib import Path

import pytest
import torch
from toys import replace, toy

from sparsecode.models.iterative import Inference, Iterative
from sparsecode.models.storage import load_model
from sparsecode.runner import run
from sparsecode.train.optim import Optim


def test_a_dictionary_alone_trains_saves_and_scores(tmp_path: Path) -> None:
    config = toy("photos-olshausen-field", tmp_path)
    config = replace(config, model=replace(config.model, encoder=None), optim=Optim(groups={}))
    result = run(config, tmp_path / "run", accelerator="cpu", figures=False)
    assert result.evaluation is not None
    assert list(result.evaluation.scores) == ["encode"]
    model = load_model(result.folder.model)
    start = config.model.build(model.shape, config.seed)
    moved = (model.decoder.atoms - start.decoder.atoms).norm()  # pyright: ignore[reportOperatorIssue, reportAttributeAccessIssue, reportCallIssue]
    assert moved > 1
    with pytest.raises(ValueError, match="no encoder; use encode"):
        model.predict_code(torch.zeros(1, *model.shape))  # pyright: ignore[reportCallIssue]


def test_what_needs_an_encoder_says_so() -> None:
    with pytest.raises(ValueError, match="start is 'encoder' without an encoder"):
        Iterative(n_code=3, weight=1.0, encoder=None)
    with pytest.raises(ValueError, match="proximity > 0 without an encoder"):
        Iterative(n_code=3, weight=1.0, encoder=None, proximity=1.0, inference=Inference(start="zero"))
    assert Iterative(n_code=3, weight=1.0, encoder=None, inference=Inference(start=0.1)).encoder is None
