"""The head of a report: what was trained on what, warnings, and the three numbers that matter."""

from __future__ import annotations

from typing import Any, Literal, cast

import msgspec

from sparsecode.evaluate.reconstruction.restoration import Restored
from sparsecode.evaluate.reconstruction.score import Score
from sparsecode.evaluate.variational.elbo import Bound
from sparsecode.leaves import tag_of
from sparsecode.losses.task import Classify, Predict
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_activation, has_gates, has_posterior, has_solver
from sparsecode.nn.decoders import LinearDictionary
from sparsecode.reports.builders.quantities import QUANTITIES, shown
from sparsecode.reports.builders.source import ReportSource, data_words
from sparsecode.reports.document import Head, HeadNumber, Setting, Warned
from sparsecode.runs import Run
from sparsecode.specs import Spec, name_of, plain

__all__ = ["family_of", "head_of", "kind_of", "settings_of"]

Family = Literal["iterative", "amortised", "variational"]
DEAD: dict[Family, str] = {
    "iterative": "lower the penalty weight, train longer, or choose fewer codes",
    "amortised": "add a term for dead codes (auxk or resample), train longer, lower the learning rate, or choose fewer codes",
    "variational": "raise the weights of the divergences more slowly, open more gates by the prior (alpha), or choose fewer codes",
}
BEHIND: dict[Family, str] = {
    "iterative": "train longer or with another learning rate, or lower the penalty weight, which shrinks codes",
    "amortised": "train longer, with another learning rate or more codes; a large amortisation gap means that the encoder is the limit",
    "variational": "lower the weights of the divergences, or train longer; the bound, not the reconstruction, is what is optimised",
}
RESUME = "finish it with sparsecode train --resume"


def family_of(model: AbstractSparseModel) -> Family:
    """The way in which the model infers codes."""
    return cast(Family, tag_of(model.spec))


def kind_of(model: AbstractSparseModel) -> str:
    """The kind of model in the field's words."""
    spec: Any = model.spec
    if has_solver(model):
        linear = isinstance(spec.decoder, LinearDictionary)
        decoder = "a linear dictionary" if linear else f"the decoder {tag_of(spec.decoder)}"
        encoder = "" if spec.encoder is None else f", encoder {tag_of(spec.encoder)}"
        return f"sparse coding with {decoder}{encoder}"
    if has_activation(model):
        what = "sparse autoencoder"
        if isinstance(spec.task, Classify):
            what = "sparse classifier"
        elif isinstance(spec.task, Predict):
            what = "transcoder with a skip connection" if spec.task.skip else "transcoder"
        elif model.n_sites > 1:
            what = f"crosscoder of {model.n_sites} sites"
        elif spec.corruption is not None and spec.corruption.noise is not None:
            what = "network trained with input noise"
        elif spec.corruption is not None:
            what = "denoising autoencoder"
        return f"{what} ({tag_of(spec.activation)})"
    return "variational sparse coder (spike and slab)" if has_gates(model) else "variational autoencoder"


def head_of(source: ReportSource, behind: str = "", warned: tuple[Warned, ...] = ()) -> Head:
    """The head of one run; `behind` is the warning that it reconstructs worse than references, `warned` are further ones."""
    model, config = source.model, source.config
    parameters = sum(p.numel() for p in model.parameters())
    kind = kind_of(model)
    what = f"{kind[0].upper()}{kind[1:]}, {model.n_code:,} codes."
    return Head(
        family=family_of(model),
        kind=kind,
        model=" ".join(filter(None, [what, source.origin])),
        data=data_words(source),
        command=source.command,
        command_note=source.command_note,
        numbers=_numbers(source),
        warnings=(*_warnings(source, behind), *warned),
        unfinished=source.unfinished,
        settings=() if config is None else settings_of(config),
        seed=None if config is None else config.seed,
        n_parameters=parameters,
        shape=model.shape,
    )


def settings_of(config: Run) -> tuple[Setting, ...]:
    """The leaves of a config by path; `changed` where a part has another value than its default."""
    return tuple(_settings(config, ""))


def _settings(value: Any, path: str, default: Any = None) -> list[Setting]:
    if isinstance(value, Spec):
        defaults = {field.name: field.default for field in msgspec.structs.fields(value)}
        inner = [
            setting
            for name in value.__struct_fields__
            for setting in _settings(getattr(value, name), f"{path}.{name}".lstrip("."), defaults.get(name))
        ]
        kind = [Setting(path, str(value.__struct_config__.tag), value != default)] if path else []
        return kind + inner
    if isinstance(value, tuple) and any(isinstance(item, Spec) for item in value):
        return [s for item in value for s in _settings(item, f"{path}.{name_of(item)}")]
    if isinstance(value, dict):
        return [s for key, item in value.items() for s in _settings(item, f"{path}.{key}")]
    return [Setting(path, _text(value), value != default)]


def _text(value: Any) -> str:
    raw = plain(value)
    if isinstance(raw, float):
        return f"{raw:.6g}"
    return ", ".join(map(str, raw)) if isinstance(raw, list | tuple) else str(raw)


def _numbers(source: ReportSource) -> tuple[HeadNumber, ...]:
    """Quality, sparsity and the caveat of the family, as they stand in the evaluation."""
    evaluation, model = source.evaluation, source.model
    if evaluation is None:
        return ()
    coder, score = next(iter(evaluation.scores.items()))
    of = f"of {score.n_code:,} codes"
    if restored := evaluation.of(Restored):
        first = next(iter(restored.values()))
        gain = first.psnr - first.corrupted_psnr
        note = f"{shown(first.corrupted_psnr, 'dB')} of the corrupted samples, so {'better' if gain > 0 else 'worse'} by {shown(abs(gain), 'dB')}"
        quality = _number("psnr", first.psnr, note, "PSNR of restored samples")
    else:
        quality = _quality(score, coder)
    sparsity = _number("l0", score.l0, of)
    if has_posterior(model):
        kind, bound = next(iter(evaluation.of(Bound).items()), ("", None))
        elbo = _number(
            "elbo", None if bound is None else bound.elbo, f"{kind} gates" if kind != "exact" else "one draw"
        )
        return (elbo, sparsity, quality)
    if has_solver(model) and score.gap_max is not None:
        return (quality, sparsity, _number("gap_max", score.gap_max, f"of {score.n:,} samples, by {coder}"))
    return (quality, sparsity, _number("dead", float(score.dead), of))


def _quality(score: Score, coder: str) -> HeadNumber:
    if score.accuracy is not None:
        return _number("accuracy", score.accuracy, f"of {score.n:,} samples")
    if score.explained_variance is not None:
        note = "" if score.psnr is None else f"PSNR {shown(score.psnr, 'dB')}, by {coder}"
        return _number("explained_variance", score.explained_variance, note)
    return _number("psnr", score.psnr, f"by {coder}")


def _number(key: str, value: float | None, note: str, label: str = "") -> HeadNumber:
    known = QUANTITIES[key]
    return HeadNumber(key, label or known.label, value, shown(value, known.unit), note, key, known.better)


def _warnings(source: ReportSource, behind: str) -> tuple[Warned, ...]:
    lines = [
        Warned(text, DEAD[family_of(source.model)] if " are dead: " in text else "")
        for text in (() if source.evaluation is None else source.evaluation.warnings)
    ]
    if behind:
        lines.append(Warned(behind, BEHIND[family_of(source.model)]))
    if source.unfinished:
        text = f"unfinished: {source.unfinished}; all numbers are of the best model so far"
        lines.insert(0, Warned(text, RESUME))
    return tuple(lines)
