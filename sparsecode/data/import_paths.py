"""Modules at an import path, `package.module:NAME`, and state dicts for them."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from sparsecode.files import absent

__all__ = ["RANDOM", "imported", "load_weights", "names_import_path"]

IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*")
RANDOM = "random"  # in the place of a file of weights: leave a module as it starts


def names_import_path(text: str) -> bool:
    """Whether it is an import path, `package.module:NAME`, and no file or folder."""
    return bool(IMPORT_PATH.fullmatch(text)) and not Path(text).exists()


def imported(path: str) -> nn.Module:
    """The module, or the result of the function without arguments, at an import path; seen from the present folder, too.

    Raises ImportError if there is nothing, ValueError if it is something else.
    """
    place, _, name = path.partition(":")
    sys.path.insert(0, "")  # the present folder, as with python -m
    try:
        loaded = getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"{path}: {error}; expected package.module:NAME of a module, or of a function that gives one"
        ) from None
    finally:
        sys.path.remove("")
    made = loaded if isinstance(loaded, nn.Module) or not callable(loaded) else loaded()
    if not isinstance(made, nn.Module):
        raise ValueError(
            f"{path}: is {type(made).__name__}; expected an nn.Module, or a function without arguments that gives one"
        )
    return made


def load_weights(module: nn.Module, path: Path) -> None:
    """Put a state dict into the module; tensors of a head that the module lacks are left out."""
    if not path.is_file():
        raise FileNotFoundError(f"--weights {absent(path, f'a state dict, or {RANDOM}')}")
    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        state = next((state[key] for key in ("state_dict", "model") if isinstance(state.get(key), dict)), state)
        missing, _ = module.load_state_dict(state, strict=False)
    except (SafetensorError, RuntimeError, OSError, EOFError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"--weights {path}: {' '.join(str(error).split())[:200]}; expected a state dict of the model"
        ) from None
    except Exception as error:  # pickles of anything but tensors, and damaged ones
        raise ValueError(f"--weights {path}: {type(error).__name__}; expected a state dict of tensors alone") from None
    if missing:
        raise ValueError(
            f"--weights {path}: lacks {missing[0]} and {len(missing) - 1} more of the model's tensors; expected all of them"
        )
