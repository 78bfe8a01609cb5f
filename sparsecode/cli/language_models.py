"""Language models for `sparsecode extract`: a Hugging Face folder, or a module at an import path with a tokenizer's folder."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from torch import Tensor, nn

from sparsecode.cli.arguments import UsageError, sweep_extract
from sparsecode.cli.image_models import TIMM, image_model, names_image_model
from sparsecode.data.hooks import Inputs
from sparsecode.data.text import TokenBatch
from sparsecode.files import printable

__all__ = ["LanguageModel", "causal_model", "language_model", "tokenizer_files"]

CONFIG = "config.json"
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

        Raises UsageError for hook points in both, whose rows are of different tokens.
        """
        config = getattr(self.module, "config", None)
        if not getattr(config, "is_encoder_decoder", False):
            return None
        there = [path.startswith("decoder.") or ".decoder." in path for path in hook_points]
        if any(there) and not all(there):
            raise UsageError(
                f"--hook-point {' '.join(hook_points)}: in encoder and decoder, whose rows are of different tokens; extract one after the other"
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


def language_model(args: sweep_extract.ExtractArguments) -> LanguageModel:
    """The model and the tokenizer that the arguments name. Errors name what is wrong with the files."""
    folder = Path(args.tokenizer or args.model)
    tokenizer = tokenizer_files(folder)
    provenance = {"tokenizer": printable(folder.resolve().name), "tokenizer_files": tokenizer}
    if names_image_model(args.model):
        if args.model.startswith(TIMM):
            raise UsageError(f"--tokenizer is of language models, and {args.model} is an image model: leave it out")
        tokeniser = _tokeniser(folder)
        module = image_model(args.model, args.weights, args.seed).module
        return LanguageModel(module, tokeniser, args.model, {"model": args.model} | provenance)
    model = Path(args.model)
    if not (model / CONFIG).is_file():
        raise FileNotFoundError(f"{model}: not a Hugging Face model folder (no {CONFIG} in it)")
    name = model.resolve().name
    about = {"model": printable(name), "config": f"{CONFIG} sha256 {_sha256(model / CONFIG)}"}
    return LanguageModel(_network(model), _tokeniser(folder), name, about | provenance)


def causal_model(folder: Path, tokenizer: Path | None = None) -> LanguageModel:
    """The model of a folder with the head that predicts the next token, and its tokenizer. Errors name what is wrong with the files."""
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder}: not a Hugging Face model folder (no {CONFIG} in it)")
    module = _network(folder, "AutoModelForCausalLM")
    return LanguageModel(module, _tokeniser(tokenizer or folder), folder.resolve().name, {})


def tokenizer_files(folder: Path) -> str:
    """The files of a tokenizer in a folder with their SHA-256, as provenance keeps them."""
    files = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return ", ".join(f"{file.name} sha256 {_sha256(file)}" for file in files)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _transformers() -> Any:
    try:
        import transformers
        from transformers.utils import logging
    except ImportError as error:
        raise ImportError(f"extract needs transformers ({error}); pip install 'sparsecode[lm]'") from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return transformers


def _network(folder: Path, kind: str = "AutoModel") -> nn.Module:
    """The model of a folder, by default without a head; pickled weights are refused."""
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
