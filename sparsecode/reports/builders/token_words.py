"""Texts of the tokens in a report: from the tokenizer that is given, that of the data, or features that were stored."""

from __future__ import annotations

from pathlib import Path

from sparsecode.data.host_stream import HostStream
from sparsecode.data.import_paths import names_import_path
from sparsecode.data.language_models import token_texts, tokenizer_files
from sparsecode.data.shards import ShardStream
from sparsecode.data.splits import Splits
from sparsecode.evaluate.units.features import Features
from sparsecode.hub import hub_place, local_path
from sparsecode.reports.builders.source import ReportSource
from sparsecode.reports.document import Warned

__all__ = ["tokenizer_of", "with_texts"]

REMEDY = "name the folder of the tokenizer by --tokenizer"


def with_texts(features: Features, source: ReportSource) -> tuple[Features, tuple[Warned, ...]]:
    """The features with the texts of their tokens, and a warning where these are not known."""
    if features.contexts is None:
        return features, ()
    ids = set(features.contexts.token_id.tolist())
    if source.tokenizer is not None:
        return features._replace(texts=token_texts(source.tokenizer)(ids)), ()
    if ids <= source.texts.keys():
        return features._replace(texts=source.texts), ()
    try:
        return features._replace(texts=token_texts(tokenizer_of(source.splits))(ids)), ()
    except (OSError, ValueError, ImportError) as problem:
        what = "some tokens are" if ids & source.texts.keys() else "tokens are"
        return features._replace(texts=source.texts), (Warned(f"{what} shown by number: {problem}", REMEDY),)


def tokenizer_of(splits: Splits) -> Path:
    """The folder of the tokenizer that made the tokens of these samples, as their source names it.

    Nothing is downloaded. Raises FileNotFoundError if it is not known or not there, ValueError if its files have changed.
    """
    host = splits.host
    named = None if host is None else host.tokenizer or (None if names_import_path(host.model) else host.model)
    if named is None:
        raise FileNotFoundError("the data do not say which tokenizer made them")
    if hub_place(named) is not None and not isinstance(splits.stream, HostStream):
        raise FileNotFoundError(f"{named} is not on this computer")
    folder = local_path(named)
    if isinstance(splits.stream, ShardStream):
        there = splits.stream.contents.provenance.get("tokenizer_files", "")
        if there and there != tokenizer_files(folder):
            raise ValueError(f"{folder}: its files are not those that made the tokens")
    return folder
