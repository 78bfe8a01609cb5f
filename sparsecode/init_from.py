"""Where a training starts from: parts of a model that is on disk, frozen or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sparsecode.hub import hub_place, local_path
from sparsecode.interop import native
from sparsecode.interop.formats import read_any
from sparsecode.leaves import foreign_types, tag_of
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.storage import load_model
from sparsecode.nn.affine import Affine, BiasedDictionary
from sparsecode.specs import Spec, plain

__all__ = ["InitFrom", "model_at"]

PREDICT = "predict"
ALL = ("encoder", "decoder", "activation", "normaliser", "projection", "likelihood", "prior", PREDICT)
STARTS = ("start", "scale", "bias", "constraint", "frozen", "sites")  # of a decoder: not what it computes


class InitFrom(Spec, tag="init_from"):
    """Weights to start from: those of some `parts` of a model on disk; the rest starts as usual.

    The model is that of a run, of a model folder, or of a file of another library that `interop` reads. `all` are its encoder,
    decoder, activation and normaliser, and of models that predict a target its normaliser and the skip connection. What is `frozen` is not trained: it keeps its bits. Otherwise the constraints of the new
    model hold from the first step on.
    """

    run: Annotated[
        str,
        Meta(
            min_length=1,
            description="a run, a model folder, or a file or folder of another library; also on the hub, hf://org/repo/sub",
        ),
    ]
    parts: Annotated[
        tuple[Literal["encoder", "decoder", "activation", "all"], ...], Meta(min_length=1, description="what is taken")
    ] = ("encoder",)
    frozen: Annotated[bool, Meta(description="these parts are not trained")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        # the run must find the same folder from wherever it is resumed
        place = hub_place(self.run)
        msgspec.structs.force_setattr(self, "run", str(Path(self.run).absolute() if place is None else place))

    def frozen_in(self, model: AbstractSparseModel) -> tuple[str, ...]:
        """The names of the parameters that are not to be trained."""
        return tuple(n for n, _ in model.named_parameters() if n.split(".")[0] in self._wanted) if self.frozen else ()

    @property
    def freezes_thresholds(self) -> bool:
        """Whether calibration after training must not move them."""
        return self.frozen and "activation" in self._wanted

    def apply_(self, model: AbstractSparseModel) -> None:
        """Put the weights into `model`.

        Raises FileNotFoundError if there is no such model, ValueError if its weights do not fit or are no encoder's own.
        """
        source = self._source(foreign_types(model.spec))
        wanted = self._wanted
        unlike = [part for part in wanted if _kind(_part(model.spec, part)) != _kind(_part(source.spec, part))]
        if unlike:
            raise ValueError(f"init_from.run {self.run}: {_differences(model.spec, source.spec, unlike)}")
        tied = getattr(getattr(model.spec, "encoder", None), "tied", False)
        if "encoder" in wanted and tied and "decoder" not in wanted:
            raise ValueError("init_from.parts names 'encoder', which is tied: its weights are the decoder's")
        there, target = source.state_dict(), model.state_dict()
        optional = f"{PREDICT}.skip"  # one that is not there starts at 0
        names = [name for name in target if name.split(".")[0] in wanted and (name in there or name != optional)]
        wrong = [n for n in names if n not in there or there[n].shape != target[n].shape]
        wrong += [optional] if PREDICT in wanted and optional in there and optional not in target else []
        if wrong or not names:
            what = wrong[0] if wrong else " or ".join(self.parts)
            sizes = f"{tuple(there[what].shape) if what in there else 'missing'} there, {tuple(target[what].shape) if what in target else 'missing'} here"
            setting = "".join(f"; expected --set {text}" for text in _size(model.spec, source.spec) if wrong)
            raise ValueError(f"init_from.run {self.run}: {what} does not fit this model: {sizes}{setting}")
        model.load_state_dict({**target, **{name: there[name].to(target[name]) for name in names}})

    @property
    def _wanted(self) -> tuple[str, ...]:
        return ALL if "all" in self.parts else self.parts

    def _source(self, leaves: Sequence[type]) -> AbstractSparseModel:
        try:
            return model_at(Path(self.run), leaves)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f"init_from.run {error}") from None


def model_at(path: Path, leaves: Sequence[type] = ()) -> AbstractSparseModel:
    """The model of a run, of a model folder, or of a file or folder of another library; also on the hub (`local_path`).

    Raises FileNotFoundError, or ValueError naming the file if it is damaged or of no known format.
    """
    path = local_path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file or folder; expected a run, a model folder, or a file or folder of another library"
        )
    target = native.model_folder(path)
    return native.to_model(read_any(path)) if target is None else load_model(target, leaves)


def _part(spec: Spec, part: str) -> Any:
    """A part's spec; of what a model predicts the target's normaliser."""
    return getattr(getattr(spec, "task", None), "normaliser", None) if part == PREDICT else getattr(spec, part, None)


def _kind(part: Any) -> Any:
    """What an affine encoder or decoder computes, less how it starts; the kind of anything else."""
    if not isinstance(part, Affine | BiasedDictionary):
        return part and tag_of(part)
    without = ("start", "scale") if isinstance(part, Affine) else STARTS
    return {name: value for name, value in msgspec.to_builtins(part).items() if name not in without}


def _differences(ours: Any, theirs: Any, parts: Sequence[str]) -> str:
    """In which parts two models differ, and the settings that make the first one as the second."""
    words, settings = [], []
    for part in parts:
        path = "task.normaliser" if part == PREDICT else part
        (here, kind), (there, other) = ((_part(spec, part), _kind(_part(spec, part))) for spec in (ours, theirs))
        if isinstance(kind, dict) and isinstance(other, dict) and kind["type"] == other["type"]:
            changed = {f"{path}.{name}": (value, other[name]) for name, value in kind.items() if value != other[name]}
        else:
            changed = {path: (here and plain(here), there and plain(there))}
        for name, values in changed.items():
            mine, its = (value.get("type") if isinstance(value, dict) else value for value in values)
            words.append(f"its {name} is {its}, and this model's {mine}")
            settings.append(f"'model.{name}={json.dumps(values[1])}'")
    settings += _size(ours, theirs)
    return f"{'; '.join(words)}; expected the same: --set {' '.join(settings)}"


def _size(ours: Any, theirs: Any) -> list[str]:
    """The setting that makes the first model as wide as the second, if they differ."""
    here, there = (getattr(spec, "n_code", None) for spec in (ours, theirs))
    return [f"model.n_code={there}"] if there is not None and here is not None and here != there else []
