"""Where activations came from: the language model, its hook points and the text, so that a measure can run them again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from sparsecode.data.import_paths import RANDOM, names_import_path
from sparsecode.data.language_models import LanguageModel, language_model
from sparsecode.data.text import bytes_of
from sparsecode.data.text_host import TextHost, text_host
from sparsecode.data.token_rows import RowChoice
from sparsecode.hub import hub_place, local_path
from sparsecode.specs import Count, Seed, Spec, from_json

__all__ = ["HOST", "RecordedHost", "host_in", "recorded_path"]

HOST = "host"  # its key in the provenance of shards
GIGA = 1e9


class RecordedHost(Spec, tag="recorded_host"):
    """A language model and a text as `sparsecode extract` had them: absolute paths, and how spans and rows were made.

    `hook_points` are the sites that samples are made of, then that of the target, if there is one.
    """

    model: Annotated[str, Meta(description="folder of the model, or an import path")]
    text: str
    hook_points: tuple[str, ...]
    length: Count
    tokenizer: str | None = None
    weights: str | None = None
    seed: Seed = 0
    column: str = "text"
    bos: bool = False
    skip_first: int = 0
    keep_special: bool = False

    def of_sites(self, names: tuple[str, ...]) -> RecordedHost:
        """The same with some of the hook points, in this order; itself if rows have one site, whose tensor has no name of its own."""
        known = len(self.hook_points) > 1 and all(name in self.hook_points for name in names)
        return msgspec.structs.replace(self, hook_points=names) if known else self

    @property
    def tokenizer_folder(self) -> str:
        """The folder of its tokenizer, which may be on the hub."""
        return self.tokenizer or self.model

    def missing(self, gigabytes: float, text: bool = True) -> str | None:
        """Why the model cannot be run here: what is not there, its `text` too, or is larger than so many gigabytes; None if it can."""
        by_path = names_import_path(self.model)
        try:
            if text:
                local_path(self.text)
                bytes_of(Path(self.text))
            folder = None if by_path else local_path(self.model)
        except (OSError, ValueError, ImportError) as error:
            return str(error)
        if folder is None:
            return None
        if not (folder / "config.json").is_file():
            return f"{folder}: no such model folder"
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / GIGA
        if size > gigabytes:
            return f"{folder}: has {size:.1f} GB of weights, more than {gigabytes:g}"
        return None

    def network(self) -> LanguageModel:
        """The model with the head that predicts the next token. Errors as of `run`."""
        return language_model(self.model, self.tokenizer, head=True, weights=self.weights, seed=self.seed)

    def run(self, device: str | None = None) -> TextHost:
        """`network` with its hook points. Raises FileNotFoundError, ValueError or ImportError naming what is wrong."""
        model = self.network()
        choice = RowChoice(self.keep_special, self.skip_first)
        return text_host(model, self.hook_points, choice, length=self.length, bos=self.bos, device=device)


def recorded_path(path: str | Path) -> str:
    """An absolute path; what is on the hub, at an import path or drawn at random as it is."""
    text = str(path)
    place = hub_place(text)
    if place is not None:
        return str(place)
    return text if names_import_path(text) or text == RANDOM else str(Path(text).absolute())


def host_in(provenance: dict[str, str]) -> RecordedHost | None:
    """The host that the provenance of shards names; None if it names none, as that of earlier versions."""
    known = provenance.get(HOST)
    return None if known is None else from_json(known.encode(), RecordedHost, "provenance.host")
