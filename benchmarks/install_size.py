"""Size on disk of the package and of everything that it requires without extras: files of the installed distributions, compiled Python left out.

    python benchmarks/install_size.py

Reads the environment that runs it. Prints a table and saves results/install-size.json.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from common import RESULTS, save, show
from packaging.requirements import Requirement

NAME = "sparsecode"


def closure(name: str) -> set[str]:
    """The names of all distributions that `name` requires, itself included, on this machine and without extras."""
    names: set[str] = set()
    waiting = [name]
    while waiting:
        key = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if key in names:
            continue
        try:
            requires = distribution(key).requires or []
        except PackageNotFoundError:  # of a name that another distribution provides
            continue
        names.add(key)
        needed = (Requirement(line) for line in requires)
        waiting += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return names


def megabytes(name: str) -> float:
    """Of its files; of the package itself, which may be installed as a link, those of its source."""
    if name == NAME:
        files = [path for path in (RESULTS.parents[1] / NAME).rglob("*") if path.is_file()]
    else:
        files = [Path(str(path.locate())) for path in distribution(name).files or ()]
    kept = (path for path in files if "__pycache__" not in path.parts and path.is_file())
    return sum(path.stat().st_size for path in kept) / 1e6


def main() -> None:
    """Add up, print, save."""
    sizes = {name: round(megabytes(name), 1) for name in closure(NAME)}
    sizes = dict(sorted(sizes.items(), key=lambda item: -item[1]))
    total = round(sum(sizes.values()))
    show("MB on disk", ("distribution", "MB"), [*((n, f"{mb:.1f}") for n, mb in sizes.items()), ("all", str(total))])
    save("install-size", {"megabytes": sizes, "total": total}, ("numba",))


if __name__ == "__main__":
    main()
