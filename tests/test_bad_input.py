"""Damaged and tampered files, configs of other versions, and data that hold no information or too large numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import SHORT

from sparsecode import learn_dictionary, load_model, omp_encode, sparse_encode
from sparsecode.cli import main
from sparsecode.data import Arrays, Digits
from sparsecode.penalties import GroupL2
from sparsecode.runs import RunFolder
from sparsecode.specs import FORMAT

Capture = pytest.CaptureFixture[str]
Array = NDArray[Any]

STATE, WEIGHTS = "resume/state.safetensors", "model/sae_weights.safetensors"
X = Digits().load().train.x.numpy()[:200]


def files(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def flip(path: Path, where: float) -> None:
    """Change one bit at this share of the file."""
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 0x10
    path.write_bytes(data)


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A run that has all but its scores, so that `--resume` reads its checkpoint and its model."""
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run/eval.json").unlink()
    return tmp_path / "run"


# Damaged and tampered tensors


@pytest.mark.parametrize("where", [0.2, 0.5, 0.999])
def test_a_flipped_bit_in_the_checkpoint_is_found(copied: Path, where: float, capsys: Capture) -> None:
    flip(copied / STATE, where)
    before = files(copied)
    assert main(["train", "--resume", str(copied), "--no-figures"]) == 1
    message = (
        f"sparsecode train: {copied / STATE}: damaged, or changed since it was written (its checksum does not fit); "
        "restore it from a copy, or delete it to train from the start\n"
    )
    assert capsys.readouterr().err == message
    assert files(copied) == before


@pytest.mark.parametrize("change", [{"step": 3}, {"total_steps": 3}, {"threads": -4}])
def test_a_position_written_by_other_means_is_found(copied: Path, change: dict[str, int], capsys: Capture) -> None:
    position = json.loads(metadata(copied / STATE)["sparsecode"])
    position["spec"] |= change
    save_file(
        load_file(copied / STATE), copied / STATE, metadata(copied / STATE) | {"sparsecode": json.dumps(position)}
    )
    before = files(copied)
    assert main(["train", "--resume", str(copied), "--no-figures"]) == 1
    assert f"{copied / STATE}: damaged, or changed since it was written" in capsys.readouterr().err
    assert files(copied) == before


@pytest.mark.parametrize(
    ("command", "result"),
    [
        (["encode", "RUN", "--split", "test", "--out", "OUT.npz"], "OUT.npz"),
        (["eval", "RUN", "--json", "OUT.json"], "OUT.json"),
        (["probe", "RUN", "--labels-per-class", "1", "--references", "--out", "OUT"], "OUT/probe.json"),
        (["denoise", "IMAGE", "--dictionary", "RUN", "--sigma", "0.1", "--out", "OUT"], "OUT/image.npy"),
        (["plot", "RUN"], "RUN/eval.json"),
        (["train", "--resume", "RUN"], "RUN/eval.json"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_flipped_bit_in_the_model_is_found_by_every_command(
    copied: Path, tmp_path: Path, command: list[str], result: str, capsys: Capture
) -> None:
    flip(copied / WEIGHTS, 0.5)
    np.save(tmp_path / "image.npy", X[:4].reshape(16, 16))
    words = {"RUN": copied, "IMAGE": tmp_path / "image.npy", "OUT": tmp_path / "out"}
    for word, meant in words.items():
        command = [part.replace(word, str(meant)) for part in command]
        result = result.replace(word, str(meant))
    assert main(command) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"sparsecode {command[0]}: {copied / WEIGHTS}: damaged, or changed since it was written")
    assert said.endswith("restore it from a copy or train again\n")
    assert not Path(result).exists()
    with pytest.raises(ValueError, match="its checksum does not fit"):
        load_model(copied / "model")


@pytest.mark.parametrize("cut", [0, 7, 300, -1])
def test_a_cut_model_is_named(copied: Path, cut: int) -> None:
    path = copied / WEIGHTS
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"sae_weights\.safetensors: damaged or cut short .*; restore it from a copy"):
        load_model(copied / "model")


def test_after_the_remedy_the_run_goes_on_and_files_without_a_checksum_do(copied: Path, trained: Path) -> None:
    flip(copied / STATE, 0.5)
    assert main(["train", "--resume", str(copied), "--no-figures"]) == 1
    shutil.copy(trained / STATE, copied / STATE)
    for file in (STATE, WEIGHTS):
        rest = {name: text for name, text in metadata(copied / file).items() if name != "sha256"}
        save_file(load_file(copied / file), copied / file, rest)
    assert main(["train", "--resume", str(copied), "--no-figures"]) == 0
    assert RunFolder(copied).evaluation() == RunFolder(trained).evaluation()


# Configs


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(change(raw)))


def newer(raw: Any) -> Any:
    (raw if "format" in raw else raw["metadata"]["sparsecode"])["format"] = FORMAT + 1
    return raw


def older(raw: Any) -> Any:
    (raw if "format" in raw else raw["metadata"]["sparsecode"])["format"] = 0
    return raw


@pytest.mark.parametrize(
    "command", [["train", "--resume", "RUN"], ["encode", "RUN", "--split", "test", "--out", "z.npz"]]
)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            newer,
            f"written in format {FORMAT + 1} by a newer sparsecode; this version reads up to format {FORMAT}. Upgrade",
        ),
        (older, f'not a sparsecode config: expected {{"format": 1 to {FORMAT}, "spec": ...}}'),
        (lambda raw: raw["spec"], "not a sparsecode config"),
        (lambda raw: {**raw, "spec": {**raw["spec"], "colour": 1}}, "unknown field `colour`"),
    ],
    ids=["newer", "older", "no format", "unknown field"],
)
def test_a_config_of_another_version_is_refused_and_kept(
    copied: Path, command: list[str], change: Callable[[Any], Any], message: str, capsys: Capture
) -> None:
    edit(copied / "config.json", change)
    before = files(copied)
    assert main([part.replace("RUN", str(copied)) for part in command]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"sparsecode {command[0]}: {copied / 'config.json'}: ")
    assert message in said
    assert files(copied) == before
    # nor does the recipe's own command train over it
    assert main(["train", "digits-sdl", "--out", str(copied), *SHORT]) in (1, 3)
    assert files(copied) == before


def test_a_cut_config_is_named_with_the_remedy(copied: Path, capsys: Capture) -> None:
    path = copied / "config.json"
    path.write_bytes(path.read_bytes()[:100])
    assert main(["train", "--resume", str(copied), "--no-figures"]) == 1
    assert capsys.readouterr().err == (
        f"sparsecode train: {path}: not valid JSON (Expecting value: line 7 column 15 (char 100)); mend it, or restore it from a copy\n"
    )


def provenance(**change: Any) -> Callable[[Any], Any]:
    def change_it(raw: Any) -> Any:
        raw["metadata"]["sparsecode"]["provenance"] = change
        return raw

    return change_it


def shape(*sizes: int) -> Callable[[Any], Any]:
    def change_it(raw: Any) -> Any:
        raw["metadata"]["sparsecode"]["shape"] = sizes
        return raw

    return change_it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (newer, f"written in format {FORMAT + 1} by a newer sparsecode"),
        (older, "not a sparsecode config"),
        (lambda raw: [raw], "damaged, or not a sparsecode model"),
        (lambda raw: {**raw, "metadata": {}}, "damaged, or not a sparsecode model (KeyError('sparsecode'))"),
        (shape(0, 8), "damaged, or not a sparsecode model"),
        (shape(4, 8), "tensors do not fit cfg.json: decoder.atoms is (64, 64), expected (64, 32)"),
        (provenance(), "damaged: it does not say which data the model was trained on"),
        (provenance(data="0", data_range="wide"), "damaged: it does not say which data the model was trained on"),
    ],
    ids=["newer", "older", "list", "of another kind", "shape of 0", "other shape", "no data", "wrong data"],
)
def test_a_damaged_model_config_is_named(
    copied: Path, tmp_path: Path, change: Callable[[Any], Any], message: str, capsys: Capture
) -> None:
    edit(copied / "model/cfg.json", change)
    np.save(tmp_path / "x.npy", X)
    out = tmp_path / "z.npz"
    assert main(["encode", str(copied), str(tmp_path / "x.npy"), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"sparsecode encode: {copied / 'model'}/")
    assert message in said
    assert not out.exists()


def test_a_longer_plan_in_the_config_of_a_stopped_run_is_noticed(copied: Path, capsys: Capture) -> None:
    edit(copied / "config.json", lambda raw: (raw["spec"]["train"].update(epochs=3), raw)[1])
    before = files(copied)
    assert main(["train", "--resume", str(copied), "--no-figures"]) == 1
    assert (
        f"{copied / STATE}: this run was planned for 14 steps, and its config asks for 42 now; put the old config back, "
        "or train with the new one in another folder\n"
    ) in capsys.readouterr().err
    assert {k: v for k, v in files(copied).items() if k.name != "config.json"} == {
        k: v for k, v in before.items() if k.name != "config.json"
    }


# Data


def train(x: Array, folder: Path, *options: str, **source: Any) -> int:
    """`sparsecode train digits-sdl` on these samples, in folder/run."""
    np.save(folder / "x.npy", x, allow_pickle=x.dtype == object)
    data = json.dumps({"type": "arrays", "path": str(folder / "x.npy"), **source})
    return main(["train", "digits-sdl", "--out", str(folder / "run"), *SHORT, "--set", f"data={data}", *options])


CONSTANT = np.broadcast_to(X[0], X.shape)
WHITEN, STANDARDISE = 'model.normaliser={"type":"whiten"}', 'model.normaliser={"type":"standardise"}'


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (X[:0], [], "x.npy: shape (0, 8, 8); expected [n_samples, ...features], none of them 0"),
        (X[0, 0], [], "x.npy: shape (8,); expected [n_samples, ...features]"),
        (np.float32(1.0), [], "x.npy: shape (); expected [n_samples, ...features]"),
        (X[:1], [], "x.npy: 1 samples cannot be split into 80% train, 10% valid, 10% test; expected at least one in each"),
        (X[:20], [], "train.batch_size is 100, and there are 16 training samples; expected at most 16"),
        (np.full_like(X, 0.5), [], "x.npy: all training values are 0.5; expected data that vary"),
        (CONSTANT, [WHITEN], "Whiten: the 160 training samples are all equal; expected data that vary"),
        (np.where(X > 2, X, np.inf), [], "x.npy: 200 samples with NaN, infinity or values beyond float32, first in row 0"),
        (X.astype(complex), [], "x.npy: values of type complex128; expected real numbers"),
        (X.astype(object), [], "x.npy: holds Python objects; expected real numbers"),
        (X * 1e30, [STANDARDISE], "which span 1e+30, or of their reconstructions do not fit in float32; scale the data to"),
        (X * 1e-30, [], "which span 1e-30, or of their reconstructions do not fit in float32; scale the data to"),
    ],
    ids=["none", "vector", "number", "one", "few", "all equal", "constant pixels, whitened", "infinite", "complex",
         "objects", "huge", "tiny"],
)  # fmt: skip
def test_data_that_cannot_be_learned_from_are_named(
    x: Any, options: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert train(np.asarray(x), tmp_path, *options) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run/model").exists()


def test_the_same_command_works_once_the_data_are_good(tmp_path: Path) -> None:
    assert train(X[:0], tmp_path) == 1
    assert train(X, tmp_path) == 0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the user's array, whitened, with a pixel that never varies."""
    folder = tmp_path_factory.mktemp("own")
    x = X.copy()
    x[:, 0, 0] = 0.5
    assert train(x, folder, WHITEN) == 0
    return folder / "run"


def test_a_pixel_that_never_varies_is_no_obstacle(own: Path) -> None:
    folder = RunFolder(own)
    model, samples = folder.best_model(), folder.config().data.load().test.x
    assert bool(model.encode(samples).isfinite().all())
    assert float((model.reconstruct(samples)[:, 0, 0] - 0.5).detach().abs().max()) < 0.1
    evaluation = folder.evaluation()
    assert evaluation is not None
    assert (evaluation.scores["encode"].psnr or 0.0) > 11


@pytest.mark.draws
def test_splits_of_one_sample_have_no_explained_variance_and_are_drawn(tmp_path: Path) -> None:
    assert train(X[:3], tmp_path, "train.batch_size=1", "--figures", valid=0.34, test=0.34) == 0
    folder = RunFolder(tmp_path / "run")
    evaluation = folder.evaluation()
    assert evaluation is not None
    assert evaluation.scores["encode"].explained_variance is None
    assert (folder.figures / "curves.png").exists()


@pytest.mark.parametrize("kind", ["f2", ">f8", "i2"])
def test_the_kind_and_layout_of_an_array_do_not_matter(kind: str, tmp_path: Path) -> None:
    x = np.asfortranarray((X[:40] * 16).astype(kind))
    np.save(tmp_path / "a.npy", x)
    np.save(tmp_path / "b.npy", np.ascontiguousarray(x, np.float32))
    a, b = (Arrays(path=str(tmp_path / name)).load() for name in ("a.npy", "b.npy"))
    assert a.fingerprint() == b.fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ['model.penalty={"type":"group_l2","size":5,"positive":true}'],
            "n_code is 64 and penalty.size 5; expected whole",
        ),
        (["data.seed=-1"], "Expected `int` >= 0 - at `$.data.seed`"),
        (["model.weight=-1"], "Expected `float` >= 0.0 - at `$.model.weight`"),
        (["model.weight=0"], "weight is 0, which makes no code sparse"),
        (["evaluate.sigmas=[-1]"], "Expected `float` > 0.0 - at `$.evaluate.sigmas[0]`"),
    ],
)
def test_settings_that_cannot_be_are_usage_errors(
    options: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["train", "digits-sdl", "--out", str(tmp_path / "run"), "--set", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# Samples to be coded, images to be denoised


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[0], "samples of shape (8,); this run was trained on (8, 8): expected an array [n, 8, 8] (one sample: x[None])"),
        (X.reshape(200, 64), "samples of shape (64,); this run was trained on (8, 8): expected an array [n, 8, 8]\n"),
        (X[:0], "shape (0, 8, 8); expected [n_samples, ...features], none of them 0"),
        (np.where(np.arange(200)[:, None, None] == 7, np.nan, X), "1 samples with NaN, infinity or values beyond float32, "
         "first in row 7"),
        (np.where(np.arange(200)[:, None, None] == 7, X * 3e38, X), "the sample in row 7 is too large to be coded in float32, "
         "the first of these; scale them as the run's data were"),
    ],
    ids=["one sample", "flat", "none", "nan", "huge"],
)  # fmt: skip
def test_samples_that_cannot_be_coded_leave_no_file(
    trained: Path, tmp_path: Path, x: Array, message: str, capsys: Capture
) -> None:
    np.save(tmp_path / "x.npy", x)
    assert main(["encode", str(trained), str(tmp_path / "x.npy"), "--out", str(tmp_path / "z.npz")]) == 1
    assert f"{tmp_path / 'x.npy'}: {message}" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_one_row_is_coded_as_it_is_among_others(trained: Path, tmp_path: Path) -> None:
    for name, x in (("one", X[:1]), ("many", X[:5])):
        np.save(tmp_path / f"{name}.npy", x)
        assert (
            main(["encode", str(trained), str(tmp_path / f"{name}.npy"), "--out", str(tmp_path / f"{name}.npz")]) == 0
        )
    one, many = (np.load(tmp_path / f"{name}.npz")["z"] for name in ("one", "many"))
    assert one.shape == (1, 64)
    np.testing.assert_allclose(one[0], many[0], atol=1e-5)


@pytest.mark.parametrize(
    ("image", "options", "code", "message"),
    [
        (X[0], ["--sigma", "-1"], 1, "sigma is -1.0; expected a finite number > 0, in the units of the image"),
        (X[0], ["--sigma", "nan"], 1, "sigma is nan; expected a finite number > 0"),
        (X[0], ["--sigma", "0.1", "--seed", "-1"], 2, "--seed -1: expected a whole number from 0 to"),
        (X, ["--sigma", "0.1"], 1, "image.npy: shape (200, 8, 8); expected one grey image [h, w]"),
        (X[0] * np.nan, ["--sigma", "0.1"], 1, "image.npy: 8 samples with NaN"),
        (X[0, :4], ["--sigma", "0.1"], 1, "image is 4 x 8, smaller than the dictionary's patches of 8 x 8; take a larger"),
        (np.full((8, 8), 0.5), ["--sigma", "0.1", "--add-noise"], 1, "image.npy: all values are 0.5: no range to measure a"),
    ],
    ids=["negative sigma", "sigma nan", "negative seed", "three axes", "nan", "small", "constant"],
)  # fmt: skip
def test_images_that_cannot_be_denoised_leave_no_file(
    trained: Path, tmp_path: Path, image: Array, options: list[str], code: int, message: str, capsys: Capture
) -> None:
    np.save(tmp_path / "image.npy", image)
    command = ["denoise", str(tmp_path / "image.npy"), "--dictionary", str(trained), "--out", str(tmp_path / "out")]
    assert main([*command, *options]) == code
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["image.npy"]


def test_a_probe_needs_labels(own: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "probe"
    assert main(["probe", str(own), "--out", str(out)]) == 1
    assert "the data have no class labels; a probe needs a data source with labels, such as" in capsys.readouterr().err
    assert not out.exists()


def test_a_sweep_over_bad_data_fails_run_by_run_and_says_why(tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "x.npy", np.full_like(X, 0.5))
    data = json.dumps({"type": "arrays", "path": str(tmp_path / "x.npy")})
    command = ["sweep", "digits-sdl", "--set", f"data={data}", "--set", "train.epochs=1", "--over", "seed=0,1"]
    assert main([*command, "--out", str(tmp_path / "sweep"), "--accelerator", "cpu"]) == 1
    said = capsys.readouterr().out
    assert said.count("all training values are 0.5; expected data that vary") == 4  # as they come, and at the end
    assert not (tmp_path / "sweep").exists()
    (tmp_path / "sweep").mkdir()
    assert main([*command, "--out", str(tmp_path / "sweep"), "--accelerator", "cpu"]) == 1
    assert not [*(tmp_path / "sweep").iterdir()]  # of a folder that was there its contents


# Functions

ROWS = X.reshape(200, 64)
D = ROWS[:20] + 0.1


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("function", [sparse_encode, omp_encode], ids=["sparse_encode", "omp_encode"])
@pytest.mark.parametrize(
    ("x", "atoms", "error", "message"),
    [
        (ROWS.astype(object), D, TypeError, "^x has dtype object; expected a floating-point type"),
        (ROWS.astype(complex), D, TypeError, "^x has dtype complex128; expected a floating-point type"),
        (ROWS.astype(int), D, TypeError, "^x has dtype int64; .*: convert it to float32 first"),
        (np.float32(1), D, ValueError, r"^x has shape \(\); expected two axes"),
        (np.array(1.0), D, ValueError, r"^x has shape \(\); expected two axes"),
        (X, D, ValueError, r"^x has shape \(200, 8, 8\); expected two axes"),
        (ROWS, D[:0], ValueError, "^D has no rows; expected at least one atom"),
        (np.full_like(ROWS, np.inf), D, ValueError, "^x contains (NaN or )?infinity, first in row 0; expected finite"),
        (ROWS, D * np.nan, ValueError, "^D contains NaN or infinity; expected finite atoms"),
    ],
)
def test_arrays_of_a_wrong_kind_are_named(
    function: Any, x: Any, atoms: Array, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        function(x, atoms, 1)


@pytest.mark.parametrize("change", [np.asfortranarray, lambda x: x.astype(">f4"), lambda x: x[::-1][::-1]])
@pytest.mark.parametrize("function", [sparse_encode, omp_encode], ids=["sparse_encode", "omp_encode"])
def test_the_layout_of_arrays_does_not_matter(function: Any, change: Callable[[Array], Array]) -> None:
    actual = function(change(ROWS), change(D), 1)
    np.testing.assert_allclose(actual, function(ROWS, D, 1), atol=1e-4)


def test_groups_that_do_not_divide_the_atoms_are_named() -> None:
    message = "GroupL2.size is 3; expected a divisor of the number of codes, 20"
    with pytest.raises(ValueError, match=message):
        sparse_encode(ROWS, D, 0.1, penalty=GroupL2(3))
    with pytest.raises(ValueError, match=message):
        learn_dictionary(ROWS, 20, 0.1, penalty=GroupL2(3), max_steps=1)


def test_features_that_never_vary_are_no_obstacle_to_learning() -> None:
    x = ROWS.copy()
    x[:, :3] = (0.0, 0.5, 1.0)
    atoms = learn_dictionary(x, 10, 0.1, max_steps=5).atoms
    assert np.isfinite(atoms).all()
    assert not atoms[:, 0].any()
