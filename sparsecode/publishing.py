"""Runs and models as repositories on the Hugging Face hub: the files, their card, and the upload."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import msgspec

from sparsecode.files import printable, write_atomic
from sparsecode.hub import HubPlace, client, hub_place, translated
from sparsecode.interop.affine_sae import CannotExpressError
from sparsecode.interop.conversion import convert
from sparsecode.interop.native import model_folder
from sparsecode.models.storage import CONFIG, WEIGHTS, load_model
from sparsecode.reports.model_card import CardPlace, model_card
from sparsecode.runs import RunFolder
from sparsecode.specs import parsed

__all__ = ["Pushed", "prepare_folder", "push"]

CARD, MODEL, SAELENS = "README.md", "model", "saelens"
LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")


class Pushed(NamedTuple):
    """What `push` has done: the address by which the library reads it, the commit, and the files."""

    address: str
    commit: str
    files: tuple[str, ...]


def prepare_folder(
    run: str | Path, repo: str, folder: str | Path, *, licence: str | None = None, name: str | None = None
) -> tuple[str, ...]:
    """Write what `push` uploads to an empty `folder`: config, scores and history of a run, the model in our format and that of SAELens, and README.md.

    `run` is a run, or a folder with a model of ours. Paths in the config are reduced to the last name in them. Returns the files,
    as they will be named below `repo`. Raises ValueError for other models and names, FileNotFoundError if there is no model,
    FileExistsError if the folder is not empty.
    """
    place = _place(repo)
    if licence is not None and not LICENCE.fullmatch(licence):
        raise ValueError(
            f"licence is {licence!r}; expected an identifier of the hub, such as mit, apache-2.0 or cc-by-4.0"
        )
    source, folder = RunFolder(run), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder}: exists already and is not empty; choose another name")
    stored = model_folder(source.path)
    if stored is None:
        raise FileNotFoundError(
            f"{source.path}: neither a run with a model nor a model of sparsecode; convert it with --to sparsecode first"
        )
    model = load_model(stored)
    if source.exists:
        config = parsed(source.config_file.read_bytes(), str(source.config_file))
        write_atomic(folder / "config.json", msgspec.json.format(msgspec.json.encode(_without_folders(config))) + b"\n")
        for file in (source.metrics_file, source.eval_file):
            if file.is_file():
                write_atomic(folder / file.name, file.read_bytes())
    for file in (CONFIG, WEIGHTS):
        write_atomic(folder / MODEL / file, (stored / file).read_bytes())
    try:
        convert(source.path, folder / SAELENS, "saelens")
        refused = ""
    except CannotExpressError as error:
        refused = str(error)
        shutil.rmtree(folder / SAELENS, ignore_errors=True)
    card = CardPlace(place.repo, place.sub, licence, "" if refused else SAELENS, refused)
    title = name or printable(source.name)
    text = model_card(card, title, model, source if source.exists else None)
    write_atomic(folder / CARD, text.encode(), checked=True)
    return tuple(_names(folder))


def push(
    run: str | Path,
    repo: str,
    *,
    public: bool = False,
    licence: str | None = None,
    name: str | None = None,
    revision: str | None = None,
    force: bool = False,
) -> Pushed:
    """Upload a run or a model of ours to `repo`, `org/repo` or `org/repo/folder` on the Hugging Face hub, in one commit.

    A repository that is not there is created, private unless `public`; of one that is there the visibility stays. Files that are
    there are replaced with `force` alone. `revision` is a branch, made from the main one if it is not there. The token is that of
    huggingface_hub: HF_TOKEN, or what `hf auth login` has stored.

    Raises ImportError without huggingface_hub, PermissionError if the token may not write, FileExistsError for files that are there,
    ConnectionError if the hub cannot be reached: nothing is in the repository then.
    """
    place = _place(repo)
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside, "upload")
        files = prepare_folder(run, repo, folder, licence=licence, name=name)
        api = client()
        target = place._replace(revision=revision)
        with translated(target, "write to"):
            if not api.repo_exists(place.repo):
                api.create_repo(place.repo, private=not public)
            if revision is not None:
                api.create_branch(place.repo, branch=revision, exist_ok=True)
            there = set(api.list_repo_files(place.repo, revision=revision))
            prefix = f"{place.sub}/" if place.sub else ""
            if not force and (known := [file for file in files if prefix + file in there]):
                raise FileExistsError(
                    f"{target}: holds {known[0]} already{f' and {len(known) - 1} more of these files' if len(known) > 1 else ''}; "
                    "choose another folder in it, or write a new version with --force"
                )
            commit = api.upload_folder(
                repo_id=place.repo,
                folder_path=folder,
                path_in_repo=place.sub or None,
                revision=revision,
                commit_message=f"Upload {name or printable(RunFolder(run).name)} with sparsecode",
            )
    return Pushed(str(target), str(getattr(commit, "oid", "")), files)


def _place(repo: str) -> HubPlace:
    try:
        place = hub_place(repo if repo.startswith("hf:/") else f"hf://{repo}")
    except ValueError:
        place = None
    if place is None or place.kind != "model" or place.revision is not None:
        raise ValueError(
            f"repo is {repo!r}; expected org/repo or org/repo/folder, and the revision by its own argument"
        )
    return place


def _without_folders(value: Any) -> Any:
    """JSON in which absolute paths are the last name in them: where files lay on this machine concerns nobody."""
    if isinstance(value, dict):
        return {key: _without_folders(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_folders(part) for part in value]
    if isinstance(value, str) and len(value) > 1 and (value.startswith("/") or PureWindowsPath(value).is_absolute()):
        return PureWindowsPath(value).name
    return value


def _names(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
