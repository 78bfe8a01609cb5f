"""Metadata that depend on where the source is published: the README on a package index, and the project's addresses.

An index shows the README without the files beside it, so that relative links lead nowhere there. With `repository` in
`[tool.hatch.metadata.hooks.custom]` they become absolute, at the tag of the version; without it links become their text and
pictures are left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^]]*)\]\((?!\w+:|#)([^)]+)\)")
# a picture alone in its paragraph, and the caption in italics after it
PICTURE = re.compile(r"^!\[[^]]*\]\((?!\w+:)[^)]+\)\n\n(?:\*[^*]+\*\n\n)?", re.MULTILINE)


def on_index(text: str, repository: str, tag: str) -> str:
    """`text`, Markdown with links relative to the root of the repository, for readers without the files."""
    if not repository:
        return LINK.sub(r"\2", PICTURE.sub("", text))

    def absolute(link: re.Match[str]) -> str:
        mark, words, path = link.groups()
        return f"{mark}[{words}]({repository}/{'raw' if mark else 'blob'}/{tag}/{path})"

    return LINK.sub(absolute, text)


class PublishedMetadata(MetadataHookInterface):
    """Fills `readme` and, if the repository is known, `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        repository = str(self.config.get("repository", "")).rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": on_index(text, repository, f"v{metadata['version']}"),
        }
        if repository:
            pages = {"Source": "", "Documentation": "/tree/main/docs", "Changes": "/blob/main/CHANGELOG.md"}
            metadata["urls"] = {name: repository + page for name, page in pages.items()}
