"""What commands take that share runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from sparsecode.cli.arguments import RunPath

__all__ = ["PushArguments"]

Off = tyro.conf.FlagCreatePairsOff


class PushArguments(NamedTuple):
    """Upload a run, or a model of ours, to the Hugging Face hub, with a card that says what it is and how to load it.

    Uploaded are the config, the scores and the history of the run, its best model in our format and, where SAELens can compute it, in that of
    SAELens, and README.md: a model card with data, scores and their definitions. Paths in the config are reduced to the last name in them.
    The token is that of huggingface_hub: HF_TOKEN, or what `hf auth login` has stored. Needs pip install 'sparsecode[hub]'.

    Args:
        run: run folder, or a folder with a model of ours
        repo: org/repo, or org/repo/folder for one model of several in a repository
        public: a new repository is public; else it is private. Of one that is there the visibility stays
        licence: of the weights, an identifier of the hub such as mit, apache-2.0 or cc-by-4.0; none is written by default
        name: title of the card; default the name of the run
        revision: branch, made if it is not there; default the main one
        out: write what would be uploaded to this folder, and upload nothing
        force: replace files that are in the repository already
    """

    run: RunPath
    repo: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ORG/REPO")]
    public: Annotated[bool, Off] = False
    licence: str | None = None
    name: str | None = None
    revision: str | None = None
    out: Path | None = None
    force: Annotated[bool, Off] = False
