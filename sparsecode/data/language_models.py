"""Language models: a Hugging Face folder, or a module at an import path with a tokenizer's folder."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sparsecode.data.hooks import Inputs
from sparsecode.data.import_paths import RANDOM, imported, load_weights, names_import_path
from sparsecode.data.text import TokenBatch
from sparsecode.files import printable
from sparsecode.hub import file_here, local_path, place_name
from sparsecode.specs import parsed

__all__ = ["LanguageModel", "architecture_of", "language_model", "padding_of", "token_texts", "tokenizer_files"]

CONFIG = "config.json"
SPACE = "\u2581"  # what SentencePiece writes for a space
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


class LanguageModel(NamedTuple):
    """A module that takes tokens, its tokenizer, and where both come from."""

    module: nn.Module
    tokeniser: Any
    name: str
    provenance: dict[str, str]

    def starts_decoder(self, hook_points: tuple[str, ...]) -> int | None:
        """The token that the decoder of an encoder-decoder model starts with, if the hook points are in it.

        Raises ValueError for hook points in both, whose rows are of different tokens.
        """
        config = getattr(self.module, "config", None)
        if not getattr(config, "is_encoder_decoder", False):
            return None
        there = [path.startswith("decoder.") or ".decoder." in path for path in hook_points]
        if any(there) and not all(there):
            raise ValueError(
                f"hook_point {' '.join(hook_points)}: in encoder and decoder, whose rows are of different tokens; extract one after the other"
            )
        generation = getattr(self.module, "generation_config", None)
        starts = [getattr(c, "decoder_start_token_id", None) for c in (config, generation)]
        start = next((id for id in (*starts, getattr(config, "pad_token_id", None)) if isinstance(id, int)), 0)
        return start if all(there) else None

    def inputs(self, batch: TokenBatch) -> Inputs:
        """What the module is called with: those named arguments that it takes; the tokens alone, if it has no `input_ids`."""
        parameters = inspect.signature(self.module.forward).parameters
        if "input_ids" not in parameters:
            return batch.inputs["input_ids"]
        return self.inputs_of(batch)

    def inputs_of(self, batch: TokenBatch) -> dict[str, Tensor]:
        """Those named arguments of a batch that the module takes."""
        parameters = inspect.signature(self.module.forward).parameters
        some = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        return {name: value for name, value in batch.inputs.items() if some or name in parameters}


def language_model(
    model: str, tokenizer: str | Path | None = None, *, head: bool = False, weights: str | None = None, seed: int = 0
) -> LanguageModel:
    """The model in a folder, with the head that predicts the next token or without, or at an import path; and its tokenizer. Folders may be on the hub.

    `weights`, of a module at an import path: a file of a state dict, or `random`; `seed` decides weights that are drawn when it is made.
    Errors name what is wrong with the files.
    """
    folder = local_path(tokenizer or model)
    files = tokenizer_files(folder)
    about = {"tokenizer": printable(place_name(tokenizer or model)), "tokenizer_files": files}
    if names_import_path(model):
        tokeniser = _tokeniser(folder)
        torch.manual_seed(seed)
        module = imported(model)
        if weights is not None and weights != RANDOM:
            load_weights(module, Path(weights))
        return LanguageModel(module, tokeniser, model, {"model": model} | about)
    path = local_path(model)
    if not (path / CONFIG).is_file():
        raise FileNotFoundError(f"{path}: not a Hugging Face model folder (no {CONFIG} in it)")
    name = place_name(model)
    about = {"model": printable(name), "config": f"{CONFIG} sha256 {_sha256(path / CONFIG)}"} | about
    return LanguageModel(
        _network(path, "AutoModelForCausalLM" if head else "AutoModel"), _tokeniser(folder), name, about
    )


def architecture_of(model: str) -> str | None:
    """The `model_type` of the model in a folder, of one on the hub if it is in the cache; None for an import path and where no file says it."""
    file = None if names_import_path(model) else file_here(model, CONFIG)
    try:
        kind = None if file is None else parsed(file.read_bytes(), str(file)).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return kind if isinstance(kind, str) else None


def tokenizer_files(folder: Path) -> str:
    """The files of a tokenizer in a folder, also on the hub, with their SHA-256, as provenance keeps them."""
    folder = local_path(folder)
    files = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return ", ".join(f"{file.name} sha256 {_sha256(file)}" for file in files)


def token_texts(folder: Path) -> Callable[[Iterable[int]], dict[int, str]]:
    """A function that gives the texts of token ids of a tokenizer, each with the space that it begins with; `[id]` for ids that it does not have.

    Raises ImportError without transformers, FileNotFoundError or ValueError naming the folder if it holds no tokenizer.
    """
    tokeniser = _tokeniser(_tokenizer_folder(folder))

    def text(number: int) -> str:
        piece = tokeniser.convert_ids_to_tokens(number) if 0 <= number < len(tokeniser) else None
        if piece is None:
            return f"[{number}]"
        if piece.startswith(SPACE):  # of SentencePiece, which decoding one token alone leaves out
            return " " + piece[1:].replace(SPACE, " ")
        return tokeniser.decode([number], clean_up_tokenization_spaces=False)

    return lambda ids: {number: text(number) for number in map(int, ids)}


def padding_of(folder: Path) -> int:
    """The token with which a tokenizer fills up, else that of the end of a text, else 0. Errors as of `token_texts`."""
    tokeniser = _tokeniser(_tokenizer_folder(folder))
    ids = (getattr(tokeniser, name, None) for name in ("pad_token_id", "eos_token_id"))
    return next((number for number in ids if isinstance(number, int)), 0)


def _tokenizer_folder(folder: Path) -> Path:
    """The folder, also of one on the hub. Raises FileNotFoundError naming it if it is not there."""
    here = local_path(folder)
    if not here.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected that of a tokenizer")
    return here


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _transformers() -> Any:
    try:
        import transformers
        from transformers.utils import logging
    except ImportError as error:
        raise ImportError(f"language models need transformers ({error}); pip install 'sparsecode[lm]'") from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return transformers


def _network(folder: Path, kind: str) -> nn.Module:
    """The model of a folder, as this class of transformers; pickled weights are refused."""
    library = _transformers()
    try:
        return getattr(library, kind).from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype="auto")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"{folder}: cannot be loaded: {' '.join(str(error).split())}") from None


def _tokeniser(folder: Path) -> Any:
    library = _transformers()
    try:
        return library.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}: its tokenizer cannot be loaded: {' '.join(str(error).split())}") from None
