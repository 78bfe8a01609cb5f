"""The README of a run on the hub: what it is, its data, its scores with their definitions, and how to load it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sparsecode.data.shard_index import INDEX
from sparsecode.evaluate import base as evaluated
from sparsecode.files import printable
from sparsecode.leaves import tag_of
from sparsecode.models.base import AbstractSparseModel
from sparsecode.runs import RunFolder
from sparsecode.specs import parsed
from sparsecode.version import __version__

__all__ = ["CardPlace", "model_card"]

FAMILIES = {
    "amortised": "Sparse autoencoder: codes come from an encoder",
    "iterative": "Sparse coding: codes minimise an energy",
    "variational": "Variational sparse coding: codes are sampled from a posterior",
}
TASKS = {
    "reconstruct": "",
    "predict": " It predicts a target (a transcoder, or an autoencoder with a skip connection).",
    "classify": " It classifies.",
}
PARTS = ("activation", "encoder", "decoder", "normaliser", "penalty", "prior", "likelihood", "task")


class CardPlace(NamedTuple):
    """Where the model will be: the name of the repository, the folder in it (or nothing), and its files for other libraries."""

    repo: str
    sub: str
    licence: str | None
    saelens: str  # folder for SAELens; empty if it cannot be written
    refused: str = ""  # why


def model_card(place: CardPlace, name: str, model: AbstractSparseModel, run: RunFolder | None) -> str:
    """The text of a README.md with YAML in front, for a model and the run that it comes from, if it comes from one."""
    front = ["library_name: sparsecode", *([f"license: {place.licence}"] if place.licence else [])]
    family = tag_of(model.spec)
    tags = {"amortised": "sparse-autoencoder", "iterative": "sparse-coding", "variational": "variational-sparse-coding"}
    front += [
        "tags:",
        "- sparsecode",
        f"- {tags[family]}",
        *(["- saelens"] if place.saelens else []),
        "- interpretability",
    ]
    parts = [
        "---\n" + "\n".join(front) + "\n---",
        f"# {_inline(name)}",
        _about(model),
        *([] if run is None else [_data(run), _scores(run)]),
        _loading(place, model.shape),
        f"Written by sparsecode {__version__}" + ("." if run is None else "; `config.json` holds the whole config."),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(model: AbstractSparseModel) -> str:
    spec: Any = msgspec.to_builtins(model.spec)
    family = tag_of(model.spec)
    task = spec.get("task")
    target = "" if model.target_shape is None else f", targets of {tuple(model.target_shape)}"
    rows = [("codes", str(model.n_code)), ("samples", f"shape {tuple(model.shape)}{target}")]
    rows += [(part, _described(spec[part])) for part in PARTS if spec.get(part) is not None]
    rows += [("terms of the loss", ", ".join(map(_described, spec["terms"])))] if spec.get("terms") else []
    sentence = FAMILIES[family] + "." + (TASKS.get(task["type"], "") if isinstance(task, dict) else "")
    return sentence + "\n\n" + _table(("part", ""), rows)


def _described(part: Any) -> str:
    """A part's type and the fields that are numbers or words."""
    if not isinstance(part, dict):
        return f"`{part}`"
    fields = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in part.items()
        if name != "type" and isinstance(value, int | float | str) and not isinstance(value, bool)
    ]
    return f"`{part.get('type', '')}`" + (f" ({', '.join(fields)})" if fields else "")


def _data(run: RunFolder) -> str:
    config, provenance = run.config(), run.provenance()
    rows = [("source", f"`{tag_of(config.data)}`")]
    path = getattr(config.data, "path", None)
    if path is not None:
        rows.append(("name", _inline(Path(path).name)))
        rows += [(key.replace("_", " "), _inline(value)) for key, value in _origin(Path(path)).items()]
    low, high = provenance.data_range
    rows += [("fingerprint", f"`{provenance.data}`"), ("least and largest value", f"{low:.6g}, {high:.6g}")]
    train = config.train
    rows += [("training", f"{train.epochs:g} epochs of batches of {train.batch_size}, seed {config.seed}")]
    if state := run.unfinished:
        rows.append(("unfinished", f"{state}: this is the best model so far"))
    return "## Data and training\n\n" + _table(("", ""), rows)


def _origin(folder: Path) -> dict[str, str]:
    """What the index of shards says of their origin: network, hook point and text."""
    if not (folder / INDEX).is_file():
        return {}
    spec = parsed((folder / INDEX).read_bytes(), str(folder / INDEX)).get("spec")
    provenance = spec.get("provenance") if isinstance(spec, dict) else None
    known = ("model", "hook_point", "text", "spans", "bos", "skip_first", "max_norm")
    return {name: str(provenance[name]) for name in known if name in provenance} if isinstance(provenance, dict) else {}


def _scores(run: RunFolder) -> str:
    evaluation = run.evaluation()
    if evaluation is None:
        return ""
    blocks = [f"## Scores\n\nOf the {evaluation.split} split, in data space."]
    for name, results in evaluation.measures.items():
        table: evaluated.Table | None = type(next(iter(results.values()))).table(name, results)
        if table is not None:
            blocks.append(f"### {_inline(table.title)}\n\n" + _table(table.header, table.rows))
            blocks.append("  \n".join(_inline(line) for line in table.caption.splitlines()))
    if evaluation.warnings:
        blocks.append("Warnings:\n\n" + "\n".join(f"- {_inline(text)}" for text in evaluation.warnings))
    return "\n\n".join(block for block in blocks if block)


def _loading(place: CardPlace, sizes: Sequence[int]) -> str:
    shape = ", ".join(map(str, sizes))
    folder = f"{place.repo}{place.sub and '/' + place.sub}"
    text = f"""## Loading

```python
import sparsecode as sc  # pip install 'sparsecode[hub]'

model = sc.load_model("hf://{folder}/model")
z = model.encode(x)  # x: an array or a tensor [n, {shape}] in the units of the data
x_hat = model.reconstruct(x)
```

`sparsecode eval hf://{folder}`, `encode`, `convert` and `recovered` take the same name."""
    if place.saelens:
        inner = f"{place.sub and place.sub + '/'}{place.saelens}"
        return f"""{text} In SAELens:

```python
from sae_lens import SAE

sae = SAE.from_pretrained("{place.repo}", "{inner}")
```

Both compute the same; the differences found on probe inputs are in `{place.saelens}/cfg.json`, under `metadata.sparsecode`."""
    return f"{text} There are no files for SAELens: {_inline(place.refused)}." if place.refused else text


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_inline(cell).replace("\n", " ") for cell in line) + " |" for line in lines)


def _inline(text: str) -> str:
    """Text in Markdown: nothing in it that ends a cell or begins a tag."""
    return printable(text, kept="\n").replace("|", r"\|").replace("<", "&lt;")
