"""What `sparsecode data` takes."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import tyro

__all__ = ["DataGetArguments", "DataLsArguments"]

Name = Literal["mnist", "fashion", "celeba", "cifar10", "dsprites", "olivetti"]


class DataGetArguments(NamedTuple):
    """Download data sets, into $SPARSECODE_DATA if that variable is set, else into the cache folder.

    Files that are there are verified and kept. Each is there only once its checksum is the published one. An interrupted download is
    continued by the same command, if the server sends parts of files.

    Args:
        names: data sets
    """

    names: Annotated[tuple[Name, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]


class DataLsArguments(NamedTuple):
    """List the data sets that have files: what is there, where, how large, and what is missing.

    Nothing is read: checksums are verified by `data get`, and whenever data are loaded.
    """
