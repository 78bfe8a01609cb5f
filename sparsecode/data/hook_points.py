"""Names of hook points: a submodule's path as `named_modules` spells it; other spellings of the same place."""

from __future__ import annotations

import difflib
import re

from torch import nn

__all__ = ["hook_path", "lens_name"]

SHOWN = 10  # names in an error
LENS = re.compile(r"blocks\.(\d+)\.(hook_resid_post|hook_resid_pre|.+)")
BLOCK = re.compile(r"([a-z_]+\.)+(\d+)")
# Blocks of these architectures add to their input and normalise before each part: what a block returns is the residual stream.
PRE_NORM = re.compile(
    r"bloom|codegen|cohere|falcon|gemma2?|gemma3_text|gpt2|gpt_bigcode|gpt_neo|gpt_neox|gptj|granite|llama|mistral|mixtral|mpt|olmo2?|olmoe|"
    r"phi3?|qwen[23](_moe)?|smollm3|stablelm|starcoder2"
)  # model_type


def hook_path(module: nn.Module, hook_point: str) -> str:
    """The path of the submodule `hook_point` in `named_modules` of this module, which is the one spelling that files keep.

    Accepted are also paths with or without the prefix of the model below a head (`transformer.h.5` is `h.5` of GPT-2 without its
    head, and the reverse), and TransformerLens's `blocks.5.hook_resid_post` (`blocks.6.hook_resid_pre`), for the architectures of
    transformers whose blocks return the residual stream.

    Raises ValueError naming `hook_point` and the submodules with the nearest names.
    """
    paths = [path for path, _ in module.named_modules(remove_duplicate=False) if path]
    known = set(paths)
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    for path in (hook_point, prefix + hook_point, hook_point.removeprefix(prefix)):
        if path in known:
            return path
    if (match := LENS.fullmatch(hook_point)) and (blocks := _blocks(module)):
        return _of_lens(module, hook_point, int(match[1]), match[2], blocks)
    raise ValueError(
        f"hook_point {hook_point!r}: no such submodule of {type(module).__name__}; {_nearest(hook_point, paths)}"
    )


def lens_name(hook_point: str, architecture: str | None) -> str | None:
    """TransformerLens's name of a place: `blocks.5.hook_resid_post` for the block `h.5`, of an `architecture` (its `model_type`) whose
    blocks return the residual stream. None where no name is that of the same place for certain.
    """
    if LENS.fullmatch(hook_point):
        return hook_point
    match = BLOCK.fullmatch(hook_point)
    if match is None or architecture is None or not PRE_NORM.fullmatch(architecture):
        return None
    return f"blocks.{match[2]}.hook_resid_post"


def _nearest(hook_point: str, paths: list[str]) -> str:
    if not paths:
        return "there is nothing below it"
    if len(paths) <= SHOWN:
        return f"choose from {', '.join(paths)}"
    near = difflib.get_close_matches(hook_point, paths, SHOWN, 0.5)
    if not near:
        near = [path for path in paths if "." not in path][:SHOWN]
    return f"the nearest of its {len(paths)} are {', '.join(near)}"


def _blocks(module: nn.Module) -> list[str]:
    """Paths of the blocks of a transformer, if there is one list of as many as its config says."""
    n = getattr(getattr(module, "config", None), "num_hidden_layers", None)
    lists = [
        (path, part) for path, part in module.named_modules() if isinstance(part, nn.ModuleList) and len(part) == n
    ]
    outer = [(path, part) for path, part in lists if not any(path.startswith(f"{other}.") for other, _ in lists)]
    return [f"{path}.{i}" for path, part in outer for i in range(len(part))] if len(outer) == 1 else []


def _of_lens(module: nn.Module, hook_point: str, number: int, kind: str, blocks: list[str]) -> str:
    """The path for TransformerLens's name of a place in block `number`."""
    after = number - 1 if kind == "hook_resid_pre" else number
    architecture = getattr(getattr(module, "config", None), "model_type", type(module).__name__)
    if not 0 <= number < len(blocks):
        raise ValueError(
            f"hook_point {hook_point!r}: {architecture} has blocks 0 to {len(blocks) - 1}, the first {blocks[0]}"
        )
    if kind in ("hook_resid_post", "hook_resid_pre") and after >= 0 and PRE_NORM.fullmatch(architecture):
        return blocks[after]
    parts = [f"{blocks[number]}.{name}" for name, _ in module.get_submodule(blocks[number]).named_children()]
    raise ValueError(
        f"hook_point {hook_point!r}: no submodule of {architecture} gives the same values for certain; block {number} is "
        f"{blocks[number]}, its parts are {', '.join(parts[:SHOWN])}"
    )
