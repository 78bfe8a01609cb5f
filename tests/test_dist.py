"""What is released: files, metadata, the README on a package index, and the wheel in a clean environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from installing import ROOT, Environment, built

from sparsecode.version import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = re.compile(r"\[[^]]*\]\(([^)]+)\)")
# what each extra is for: a module that the library imports with it
EXTRAS = {
    "lm": "transformers",
    "robustness": "art.attacks.evasion",
    "ray": "ray",
    "restoration": "skimage.restoration",
    "tensorboard": "torch.utils.tensorboard",
    "wandb": "wandb",
    "trackio": "trackio",
    "swanlab": "swanlab",
    "mlflow": "mlflow",
    "timm": "timm",
    "parquet": "pyarrow.parquet",
    "docs": "sphinx",
    "hub": "huggingface_hub",
}


def on_index(repository: str) -> str:
    spec = spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec
    assert spec.loader
    hook = module_from_spec(spec)
    spec.loader.exec_module(hook)
    return hook.on_index(README, repository, "v1")


def test_an_index_shows_no_link_that_leads_nowhere() -> None:
    assert LINKS.findall(README), "the README has links"
    text = on_index("")
    assert not [link for link in LINKS.findall(text) if "://" not in link]
    assert "atoms, most used first" not in text, "the caption of a picture that is left out"
    blocks = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    assert blocks.findall(text) == blocks.findall(README)
    assert "\n\n\n" not in text


def test_with_a_repository_links_are_those_of_the_version_and_pictures_are_files() -> None:
    links, there = LINKS.findall(on_index("https://a.example/b")), LINKS.findall(README)
    for link, path in zip(links, there, strict=True):
        kind = "raw" if path.endswith(".png") else "blob"
        assert link == f"https://a.example/b/{kind}/v1/{path}"
        assert (ROOT / path.partition("#")[0]).is_file()


def test_the_citation_is_of_this_version() -> None:
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {__version__}" in lines
    assert f"  - name: {PROJECT['authors'][0]['name']}" in lines


def test_every_extra_is_tried() -> None:
    assert {*PROJECT["optional-dependencies"]} == {*EXTRAS, "dev"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist: those in the folder $SPARSECODE_DIST, or made here."""
    folder = os.environ.get("SPARSECODE_DIST")
    if folder:
        (wheel,), (sdist,) = Path(folder).glob("*.whl"), Path(folder).glob("*.tar.gz")
        return wheel.absolute(), sdist.absolute()
    out = tmp_path_factory.mktemp("dist")
    return built("wheel", out), built("sdist", out)


@pytest.fixture(scope="module")
def clean(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An environment with the wheel and what it requires, at the pinned versions, and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    place = Environment(folder)
    place.pip("install", "--quiet", "--constraint", ROOT / "constraints.txt", files[0])
    yield place
    shutil.rmtree(folder)  # more than a gigabyte, which pytest would keep


@pytest.mark.slow
def test_files_are_those_of_the_checkout(files: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = files
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    package = {name for name in tracked.stdout.splitlines() if name.startswith("sparsecode/")}
    assert {"sparsecode/py.typed", "sparsecode/__init__.pyi", "sparsecode/reports/play.html"} <= package
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    assert {name for name in content if ".dist-info/" not in name} == package
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    hidden = {name for name in tracked.stdout.splitlines() if name.startswith(".")}
    missing = {*tracked.stdout.splitlines()} - hidden - {p.relative_to(source).as_posix() for p in source.rglob("*")}
    assert not missing
    with zipfile.ZipFile(built("wheel", tmp_path / "again", source)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == content


@pytest.mark.slow
def test_metadata_are_complete_and_valid(files: tuple[Path, Path]) -> None:
    from packaging.metadata import Metadata
    from trove_classifiers import classifiers

    with zipfile.ZipFile(files[0]) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        data = archive.read(name)
        assert f"sparsecode-{__version__}.dist-info/licenses/LICENSE" in archive.namelist()
    # the newest version of the format may be newer than `packaging`, and holds the same fields
    metadata = Metadata.from_email(re.sub(rb"\AMetadata-Version: .*", b"Metadata-Version: 2.4", data), validate=True)
    assert (metadata.name, str(metadata.version), metadata.author) == (
        "sparsecode",
        __version__,
        "sparsecode developers",
    )
    assert metadata.license_expression == "MIT"
    assert metadata.description_content_type == "text/markdown"
    assert {*(metadata.classifiers or ())} <= {*classifiers}
    assert metadata.description == on_index("")


@pytest.mark.slow
def test_the_wheel_runs_the_readme_and_the_demo_without_the_checkout(clean: Environment) -> None:
    packages = str(clean.packages)
    clean.call(clean.python, "-c", f"import sparsecode; assert sparsecode.__file__.startswith({packages!r})")
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    clean.call(clean.python, "-W", "error", "-c", "\n".join(blocks))
    clean.command("train", "photos-sdl", "--train.epochs", "1", "--out", "runs/demo")
    assert {path.name for path in (clean.work / "runs/demo/figures").iterdir()} >= {"atoms.png", "curves.png"}
    clean.command("encode", "runs/demo", "--split", "test", "--out", "codes.npz")
    clean.pip("check")


@pytest.mark.slow
@pytest.mark.parametrize("extra", EXTRAS)
def test_extras_are_enough_for_what_they_are_for(
    clean: Environment, files: tuple[Path, Path], tmp_path: Path, extra: str
) -> None:
    place = Environment(tmp_path, clean.packages)
    module = EXTRAS[extra]
    result = "import importlib.util as u, sys; sys.exit(u.find_spec(sys.argv[1]) is not None)"
    place.call(place.python, "-c", result, module.partition(".")[0] if module[:5] != "torch" else extra)
    place.pip("install", "--quiet", f"{files[0]}[{extra}]")
    place.call(place.python, "-c", f"import {module}, sparsecode")
    place.pip("check")
    shutil.rmtree(tmp_path)
