"""Pure functions of tensors."""

import os

import torch


def _use_one_thread() -> None:
    """A forked process inherits torch's thread pool without its threads and would wait for them for ever."""
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_use_one_thread)
