"""Folders of repositories on the Hugging Face hub, `hf://org/repo/sub@revision`, as folders in its cache."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

__all__ = ["HubPlace", "client", "file_here", "hub_place", "local_path", "place_name", "refuse_hub", "translated"]

PREFIX = "hf:"  # `Path` makes one slash of the two behind it
RECENT = 300.0  # seconds for which a folder is not looked up again
LISTED = 12  # folders that an error names
MODEL = ("cfg.json", "hyperparams.json", "model/cfg.json")
WEIGHTS = (".safetensors", ".npz", ".pt", ".pth", ".bin")
OTHERS = ("*.h5", "*.msgpack", "*.ot", "*.onnx", "onnx/*", "*.tflite", "*.gguf")  # the same weights for other programs
COPIES = ("saelens", "figures", "resume")  # in a run that `push` has uploaded: not needed to read it
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")

_seen: dict[tuple[str, ...], tuple[float, Path]] = {}


class HubPlace(NamedTuple):
    """A repository on the hub, a folder or file in it (empty: all of it), and the revision: a branch, a tag or a commit."""

    repo: str
    sub: str = ""
    revision: str | None = None
    kind: str = "model"

    @property
    def name(self) -> str:
        """The name for tables and figures: that of the folder, or of the repository."""
        return PurePosixPath(self.sub or self.repo).name

    def __str__(self) -> str:
        prefix = "" if self.kind == "model" else f"{self.kind}s/"
        return f"hf://{prefix}{self.repo}{self.sub and '/' + self.sub}{f'@{self.revision}' if self.revision else ''}"


def hub_place(path: str | Path) -> HubPlace | None:
    """The place that `hf://org/repo/sub@revision` names; None for any other path.

    `hf://org/repo@revision/sub` is read as well, for revisions without a slash, and `hf://datasets/org/repo/sub` for repositories of data.
    Raises ValueError naming what is wrong.
    """
    text = str(path).replace("\\", "/")
    if not text.startswith(f"{PREFIX}/"):
        return None
    text = text.removeprefix(PREFIX).lstrip("/")
    kind = "dataset" if text.startswith("datasets/") else "model"
    parts = text.removeprefix("datasets/").split("/", 2)
    org, repo, sub = (*parts, "", "", "")[:3]
    repo, at, revision = repo.partition("@")
    if not at and sub:
        sub, at, revision = sub.partition("@")
    elif revision == "refs" and sub:  # hf://org/repo@refs/pr/1
        revision, sub = f"{revision}/{sub}", ""
    sub = sub.strip("/")
    wrong = not org or not repo or "@" in org or (at and not revision) or ".." in sub.split("/")
    if wrong:
        raise ValueError(f"{PREFIX}//{text}: expected hf://ORGANISATION/REPOSITORY, /FOLDER in it and @REVISION")
    return HubPlace(f"{org}/{repo}", sub, revision or None, kind)


def place_name(path: str | Path) -> str:
    """The name of a file or folder for tables and figures, also of one on the hub."""
    place = hub_place(path)
    return Path(path).resolve().name if place is None else place.name


def local_path(path: str | Path) -> Path:
    """`path`, or for `hf://org/repo/sub@revision` its folder or file in the cache of the hub, downloaded if it is not there.

    What is in the cache is used without a connection (and with HF_HUB_OFFLINE=1 no connection is tried); else the newest files of
    the revision are had. Within five minutes a process looks the same place up once. Endpoint, token and cache are those of
    huggingface_hub (HF_ENDPOINT, HF_TOKEN, HF_HOME).

    Raises ImportError without huggingface_hub, FileNotFoundError if there is no such repository, revision or folder, PermissionError
    without access, ConnectionError if the hub cannot be reached and the cache does not have it.
    """
    place = hub_place(path)
    if place is None:
        return Path(path)
    key = (str(place), *(os.environ.get(name, "") for name in ("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", *OFFLINE)))
    stamp, known = _seen.get(key, (0.0, Path()))
    if stamp and time.monotonic() - stamp < RECENT and known.exists():
        return known
    result = _fetched(place)
    _seen[key] = (time.monotonic(), result)
    return result


def file_here(folder: str | Path, name: str) -> Path | None:
    """The file `name` in a folder, of one on the hub if the cache has it: without a connection. None if it is not there."""
    place = hub_place(folder)
    if place is None:
        file = Path(folder, name)
        return file if file.is_file() else None
    try:
        inside = str(PurePosixPath(place.sub, name))
        cached = _library().try_to_load_from_cache(place.repo, inside, _cache(), place.revision, place.kind)
    except ImportError:
        return None
    return Path(cached) if isinstance(cached, str) else None


def refuse_hub(path: str | Path) -> None:
    """Raise OSError for a place on the hub where something would be written."""
    if str(path).startswith(f"{PREFIX}/"):
        raise OSError(
            f"{hub_place(path)}: is on the hub, which is only read here; write to a folder and upload that with sparsecode push"
        )


def client() -> Any:
    """The client of the hub, `huggingface_hub.HfApi`. Raises ImportError if it is not installed."""
    return _library().HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="sparsecode")


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(f"hf:// needs huggingface_hub ({error}); pip install 'sparsecode[hub]'") from None
    return huggingface_hub


def _cache() -> str | None:
    """The cache that the environment names now; huggingface_hub looks at it once, when it is imported."""
    home = os.environ.get("HF_HOME")
    return os.environ.get("HF_HUB_CACHE") or (str(Path(home).expanduser() / "hub") if home else None)


def _fetched(place: HubPlace) -> Path:
    library, api = _library(), client()
    offline = any(os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON") for name in OFFLINE)
    sub = place.sub
    with translated(place):
        if not offline:
            try:
                info = api.repo_info(place.repo, revision=place.revision, repo_type=place.kind)
                files = [file.rfilename for file in info.siblings or ()]
            except Exception as error:
                if not _unreachable(error):
                    raise
                files, offline = None, True
            if files is not None:
                sub = _readable(place, files)
        inside = f"{sub}/" if sub else ""
        folder = library.snapshot_download(
            place.repo,
            repo_type=place.kind,
            revision=place.revision,
            cache_dir=_cache(),
            endpoint=os.environ.get("HF_ENDPOINT") or None,
            allow_patterns=[sub, f"{inside}*"] if sub else None,
            ignore_patterns=[*OTHERS, *(f"{inside}{name}/*" for name in COPIES)],
            local_files_only=offline,
        )
    result = Path(folder, place.sub)
    if not result.exists():
        raise FileNotFoundError(f"{place}: not in the cache ({folder}), and the hub is not asked or cannot be reached")
    return result


def _readable(place: HubPlace, files: Sequence[str]) -> str:
    """What is downloaded for a place: its folder, or that of its file.

    Raises FileNotFoundError if nothing is there; ValueError for a folder that holds several models, which may be terabytes.
    """
    inside = f"{place.sub}/" if place.sub else ""
    below = [name.removeprefix(inside) for name in files if name.startswith(inside)]
    if place.sub in files:
        return str(PurePosixPath(place.sub).parent).removeprefix(".")
    if not below:
        folders = sorted({str(PurePosixPath(name).parent) for name in files} - {"."})
        there = f"there are {_some(folders)}" if folders else f"there are the files {_some(sorted(files))}"
        raise FileNotFoundError(f"{place}: no such folder in the repository; {there}")
    single = any(name in below for name in MODEL)
    single = single or any("/" not in name and name.endswith(WEIGHTS) for name in below)
    holders = sorted({str(PurePosixPath(name).parent) for name in below if name.endswith(WEIGHTS)})
    if place.kind == "model" and not single and len(holders) > 1:
        raise ValueError(f"{place}: holds several models; name one of its folders: {_some(holders)}")
    return place.sub


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _unreachable(error: Exception) -> bool:
    """Whether this is a failure to reach the hub, and no answer of it."""
    if getattr(error, "response", None) is not None:
        return getattr(error.response, "status_code", 0) >= 500  # pyright: ignore[reportAttributeAccessIssue]
    transport = type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore2", "requests", "urllib3")
    return transport or isinstance(error, ConnectionError | TimeoutError)


@contextmanager
def translated(place: HubPlace, doing: str = "read") -> Generator[None]:
    """Within, errors of huggingface_hub become built-in ones whose messages name the place and hold neither addresses nor tokens."""
    _library()
    from huggingface_hub import errors

    signed_in = "sign in with `hf auth login`, or set HF_TOKEN to a token that may"
    try:
        yield
    except errors.GatedRepoError:
        raise PermissionError(f"{place}: gated; ask for access on its page, and {signed_in} {doing} it") from None
    except errors.RepositoryNotFoundError:
        raise FileNotFoundError(f"{place}: no such repository, or a private one: {signed_in} {doing} it") from None
    except errors.RevisionNotFoundError:
        raise FileNotFoundError(f"{place}: no such revision; expected a branch, a tag or a commit") from None
    except errors.LocalEntryNotFoundError as error:
        inner = error.__cause__ or error.__context__
        if inner is not None and not _unreachable(inner) and not isinstance(inner, errors.OfflineModeIsEnabled):  # pyright: ignore[reportArgumentType]
            raise ConnectionError(f"{place}: cannot be had: {type(inner).__name__}") from None
        raise ConnectionError(
            f"{place}: the hub cannot be reached or is not asked (HF_HUB_OFFLINE), and the cache does not have all of it; "
            "call the same again with a connection"
        ) from None
    except errors.HFValidationError:
        raise ValueError(f"{place}: {place.repo!r} cannot be the name of a repository") from None
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise PermissionError(f"{place}: no permission ({status}); {signed_in} {doing} it") from None
        if status == 404:
            raise FileNotFoundError(f"{place}: the hub has no such place") from None
        if status is not None:
            raise ConnectionError(f"{place}: the hub answered with status {status}; try again later") from None
        cause: BaseException | None = error
        while cause is not None and not (isinstance(cause, Exception) and _unreachable(cause)):
            cause = cause.__cause__
        if cause is None:
            raise
        raise ConnectionError(
            f"{place}: the connection to the hub broke off ({type(cause).__name__}); call the same again: what has arrived is kept"
        ) from None
