"""Similarity of two dictionaries, on planted permutations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sparsecode.cli import main
from sparsecode.cli.match import MatchReport
from sparsecode.data import Digits
from sparsecode.evaluate import atom_similarity, code_similarity
from sparsecode.evaluate.dictionary import similarity
from sparsecode.evaluate.dictionary.similarity import activation_correlations, nearest_between
from sparsecode.models import Amortised, load_model, save_model
from sparsecode.nn import TopK
from sparsecode.specs import from_json

RNG = np.random.default_rng(0)


def orthonormal(n: int, d: int) -> torch.Tensor:
    return torch.linalg.qr(torch.from_numpy(RNG.normal(size=(d, n)))).Q.T.contiguous()


def test_a_planted_permutation_is_matched_exactly() -> None:
    atoms, order = torch.from_numpy(RNG.normal(size=(40, 12))), torch.from_numpy(RNG.permutation(40))
    sign = torch.from_numpy(RNG.choice([-1.0, 1.0], size=(40, 1)))
    other = 3.0 * sign * atoms[order]
    result, pairs = atom_similarity(atoms, other, threshold=0.99)
    assert pairs is not None
    assert torch.equal(order[pairs.second], pairs.first)
    assert result.mean_max == pytest.approx((1.0, 1.0))
    assert (result.matched, result.matched_share, result.share) == (pytest.approx(1.0), 1.0, (1.0, 1.0))
    unsigned, _ = atom_similarity(atoms, other, signed=False, threshold=0.99)
    assert unsigned.share[0] == pytest.approx(float((sign > 0).double().mean()))


def test_shares_and_means_are_those_of_shared_atoms() -> None:
    """6 of 10 atoms in common, the others orthogonal to everything: similarity 1 and 0."""
    basis = orthonormal(14, 16)
    first, second = basis[:10], basis[[9, 8, 7, 6, 5, 4, 10, 11]]
    result, pairs = atom_similarity(first, second)
    assert pairs is not None
    assert result.n_atoms == (10, 8)
    assert result.mean_max == pytest.approx((0.6, 0.75))
    assert result.share == pytest.approx((0.6, 0.75))
    assert result.matched == pytest.approx(0.75)
    assert result.matched_share == pytest.approx(0.75)
    near = nearest_between(first, second)
    assert near.number[4:].tolist() == [5, 4, 3, 2, 1, 0]


def test_the_nearest_are_those_of_all_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "CHUNK", 7)
    first, second = torch.from_numpy(RNG.normal(size=(30, 5))), torch.from_numpy(RNG.normal(size=(20, 5)))
    cosine = np.abs(torch.nn.functional.cosine_similarity(first[:, None], second[None], dim=2).numpy())
    near = nearest_between(first, second)
    assert np.allclose(near.similarity, cosine.max(axis=1))
    assert near.number.tolist() == cosine.argmax(axis=1).tolist()
    z, w = RNG.normal(size=(50, 30)), RNG.normal(size=(50, 20))
    result, _ = code_similarity(z, w, threshold=0.2)
    expected = np.corrcoef(z.T, w.T)[:30, 30:]
    assert result.mean_max == pytest.approx((expected.max(axis=1).mean(), expected.max(axis=0).mean()), abs=1e-6)
    monkeypatch.setattr(similarity, "MOST", 25)
    assert atom_similarity(first, second)[1] is None
    assert atom_similarity(first, second)[0].matched is None


def test_codes_of_other_spaces_are_matched_by_what_they_do() -> None:
    z = RNG.exponential(size=(200, 15)) * (RNG.random((200, 15)) < 0.3)
    order = RNG.permutation(15)
    other = np.concatenate([z[:, order] * 5, np.ones((200, 1))], axis=1)  # and a code that does not vary
    for first, second in ((z, other), (csr_array(z), csr_array(other))):
        result, pairs = code_similarity(first, second, threshold=0.99)
        assert pairs is not None
        assert np.array_equal(order[pairs.second.numpy()], pairs.first.numpy())
        assert result.matched == pytest.approx(1.0, abs=1e-6)
        assert result.share == (1.0, pytest.approx(15 / 16))
    assert np.allclose(
        activation_correlations(z, other)[:, :15], np.corrcoef(z.T, other[:, :15].T)[:15, 15:], atol=1e-6
    )
    assert float(activation_correlations(z, other)[:, 15].abs().max()) == 0.0
    signed, _ = code_similarity(z, -other, signed=True, threshold=0.99)
    assert signed.share[0] == 1.0


@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_correlations_of_codes_far_from_zero_have_their_digits(form: Any) -> None:
    rng = np.random.default_rng(0)
    first, second = (100 + rng.normal(size=(5000, 3)).astype(np.float32) for _ in range(2))
    second[:, 0] = first[:, 0]
    wanted = np.corrcoef(first.T.astype(np.float64), second.T.astype(np.float64))[:3, 3:]
    np.testing.assert_allclose(activation_correlations(form(first), form(second)).numpy(), wanted, atol=1e-6)


def test_spaces_and_rows_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="atoms have 4 and 5 features; expected the same space"):
        atom_similarity(torch.ones(3, 4), torch.ones(3, 5))
    with pytest.raises(ValueError, match="codes are of 3 and 4 rows; expected the same rows"):
        code_similarity(np.ones((3, 2)), np.ones((4, 2)))


def test_the_command_matches_models_of_two_libraries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = Digits().load().test.x[:80].flatten(1)
    np.save(tmp_path / "x.npy", x)
    model = Amortised(n_code=30, activation=TopK(k=4)).build((64,), seed=0).eval()
    save_model(model, tmp_path / "ours", {})
    order = torch.from_numpy(RNG.permutation(30))
    state = model.state_dict()
    state |= {name: state[name][order] for name in ("encoder.weight", "encoder.bias", "decoder.atoms")}
    model.load_state_dict(state)
    save_model(model, tmp_path / "permuted", {})
    assert main(["convert", str(tmp_path / "permuted"), str(tmp_path / "theirs"), "--to", "saelens"]) == 0
    words = ["match", str(tmp_path / "ours"), str(tmp_path / "theirs"), "--data", str(tmp_path / "x.npy")]
    assert main([*words, "--json", str(tmp_path / "match.json"), "--pairs"]) == 0
    report = from_json((tmp_path / "match.json").read_bytes(), MatchReport)
    by = {part.by: part for part in report.similarities}
    assert by["cosine"].matched_share == 1.0
    pairs = dict(report.pairs["cosine"])
    assert [int(order[pairs[i]]) for i in range(30)] == list(range(30))
    active = (load_model(tmp_path / "ours").encode(x) != 0).any(dim=0)
    assert by["activations"].share[0] == pytest.approx(float(active.double().mean()), abs=1e-6)
    text = " ".join(capsys.readouterr().out.split())
    assert "cosine" in text
    assert "100.0%" in text
    assert main([*words[:3]]) == 0  # without rows by cosines alone
    assert main(["match", str(tmp_path / "ours"), str(tmp_path / "nothing")]) == 1
    assert main([*words, "--pairs"]) == 2
    assert "--pairs: the pairs are written to --json" in capsys.readouterr().err
