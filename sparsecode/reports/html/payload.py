"""The data that the page's script works with: codes, their pool of samples, pictures, curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sparsecode.reports.document import Document, RunReport
from sparsecode.reports.html.curves import Curve
from sparsecode.reports.html.mathematics import in_signs
from sparsecode.reports.html.meaning import meaning

__all__ = ["payload"]

Json = dict[str, Any]


def payload(document: Document, curves: Sequence[Curve]) -> Json:
    """What is embedded as JSON; arrays stay base64 texts of their bytes, and sprite sheets PNGs."""
    return {
        "curves": _plain([curve.arrays() for curve in curves]),
        "runs": [_run(run) for run in document.runs],
        "definitions": {key: in_signs(definition.text) for key, definition in document.definitions.items()},
    }


def _run(run: RunReport) -> Json:
    codes = _plain(run.codes)
    return {
        "name": run.name,
        "sheets": {name: _plain(sheet) for name, sheet in run.sheets.items()},
        "pool": _plain(run.pool),
        "vocabulary": _numbered(codes) if codes is not None else [],
        "codes": codes,
        "meanings": [meaning(detail, run.pool) for detail in run.codes.details] if run.codes is not None else [],
        "decoder": run.samples.decoder if run.samples is not None else None,
    }


def _numbered(codes: Json) -> list[str]:
    """The distinct tokens of all contexts; their places here stand in the contexts in their stead."""
    places: dict[str, int] = {}
    for detail in codes["details"]:
        for example in (example for band in detail["bands"] for example in band["examples"]):
            if "context" in example:
                tokens = example["context"]["tokens"]
                example["context"]["tokens"] = [places.setdefault(token, len(places)) for token in tokens]
    return list(places)


def _plain(value: Any) -> Any:
    """Records as objects without the tags of their types, and without fields that are undefined."""
    return _without_tags(msgspec.to_builtins(value))


def _without_tags(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_tags(v) for k, v in value.items() if k != "type" and v is not None}
    return [_without_tags(v) for v in value] if isinstance(value, list | tuple) else value
