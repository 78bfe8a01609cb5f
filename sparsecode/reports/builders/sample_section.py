"""Samples and what a model makes of them: reconstructions, restorations, traversals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsecode.coders import in_words
from sparsecode.data.splits import Split
from sparsecode.evaluate.metrics import psnr
from sparsecode.evaluate.reconstruction.denoising import add_noise, coder_for
from sparsecode.evaluate.reconstruction.restoration import corrupted
from sparsecode.evaluate.reconstruction.score import wanted_of
from sparsecode.models.base import AbstractSparseModel
from sparsecode.models.capabilities import has_posterior
from sparsecode.ops.rng import generator
from sparsecode.reports.builders.code_details import Looked
from sparsecode.reports.builders.pool import WIDTH, PoolBuilder
from sparsecode.reports.builders.sheets import Sheets
from sparsecode.reports.builders.source import ReportSource
from sparsecode.reports.codes import subject_of
from sparsecode.reports.document import Cell, PackedArray, PictureRow, Reconstruction, SampleSection, Strip, packed
from sparsecode.reports.page import page_data
from sparsecode.reports.run_figures import shown_of

__all__ = ["samples_of"]

EACH = 6  # samples of each rank
ACTIVE = 12  # codes listed with a sample
PICTURES = "pictures"
PRESETS, LARGEST = 12, 1_000_000  # samples that the live decoder starts from; weights up to which there is one
FRAMES, REACH, TRAVERSED = 9, 3.0, 8

Rank = Literal["worst", "median", "best"]


@torch.no_grad()
def samples_of(source: ReportSource, looked: Looked, pool: PoolBuilder, sheets: Sheets) -> SampleSection:
    """The samples of a report; those of reconstructions go to the pool, pictures to the sheets."""
    reconstructions = tuple(_reconstructions(source, looked, pool, sheets))
    strips: list[Strip] = []
    decoder = None
    if sheets.pictured and source.model.reconstructs and source.model.n_sites == 1:
        strips += _strips(source, sheets)
        if has_posterior(source.model):
            strips += _traversals(source, sheets)
            if sum(p.numel() for p in source.model.decoder.parameters()) <= LARGEST:
                subject = subject_of(source.model, source.splits, source.name, n=PRESETS)
                decoder = page_data(subject, source.seed, 16)
    return SampleSection(reconstructions, tuple(strips), decoder)


def _ranked(errors: NDArray[np.float64]) -> Iterator[tuple[Rank, int]]:
    order = np.argsort(-errors, kind="stable")
    n = min(EACH, max(1, len(order) // 3))
    middle = (len(order) - n) // 2
    parts: dict[Rank, NDArray[np.int64]] = {
        "worst": order[:n],
        "median": order[middle : middle + n],
        "best": order[::-1][:n],
    }
    for rank, samples in parts.items():
        for sample in samples.tolist():
            yield rank, sample


def _reconstructions(
    source: ReportSource, looked: Looked, pool: PoolBuilder, sheets: Sheets
) -> Iterator[Reconstruction]:
    model, coded = source.model, looked.coded
    ranked = list(_ranked(coded.errors))
    part = coded.split.take(torch.tensor([sample for _, sample in ranked]))
    words = in_words(model.coders())
    outputs = {words[name]: _output(model, part, coder(part.x)) for name, coder in model.coders().items()}
    pictured = sheets.pictured and model.reconstructs and model.n_sites == 1
    cells: dict[str, range] = {}
    if pictured:
        for name, out in outputs.items():
            rows = part.pixels(out.reshape(part.x.shape)).cpu().numpy()
            cells[name] = sheets.add_samples(PICTURES, rows, source.splits.low, source.splits.high)
    decibels = None
    if model.n_classes is None:
        wanted = wanted_of(model, part)
        first = next(iter(outputs.values())).reshape(wanted.shape)
        decibels = psnr(part.pixels(wanted), part.pixels(first), source.splits.data_range).tolist()
    for i, (rank, sample) in enumerate(ranked):
        codes, values = _active(looked, sample)
        n_numbers = 1 if model.n_classes else int(np.prod(wanted_of(model, part).shape[1:]))
        yield Reconstruction(
            sample=pool.number(sample),
            rank=rank,
            error=float(coded.errors[sample]) / n_numbers,
            psnr=None if decibels is None else decibels[i],
            l0=int(coded.uses[next(iter(coded.uses))].l0[sample]),
            codes=codes,
            activations=values,
            outputs={name: Cell(PICTURES, numbers[i]) for name, numbers in cells.items()},
            values={} if pictured else {name: _values(out[i]) for name, out in outputs.items()},
            label="" if part.label is None or part.label.ndim != 1 else str(int(part.label[i])),
            predicted=str(int(next(iter(outputs.values()))[i].argmax())) if model.n_classes else "",
        )


def _output(model: AbstractSparseModel, part: Split, z: Tensor) -> Tensor:
    """Outputs [n, f] in data space; of classifiers the probabilities of classes."""
    return model.decode(z).softmax(dim=1) if model.n_classes else model.output(part.x, z).flatten(1)


def _values(row: Tensor) -> PackedArray:
    return packed(row.flatten()[:WIDTH].cpu().numpy(), "f4")


def _active(looked: Looked, sample: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The active codes of a sample with the largest contributions |z_j| |d_j|, and their values."""
    coded = looked.coded
    part = slice(coded.offsets[sample], coded.offsets[sample + 1])
    code, value = coded.entries.code[part], coded.entries.value[part].astype(np.float64)
    size = np.abs(value)
    if looked.additions.local is not None:
        size = size * looked.additions.local[torch.from_numpy(code)].norm(dim=1).double().cpu().numpy()
    order = np.argsort(-size, kind="stable")[:ACTIVE]
    return tuple(code[order].tolist()), tuple(value[order].tolist())


def _strips(source: ReportSource, sheets: Sheets) -> Iterator[Strip]:
    """Samples corrupted and restored as in training, and denoised; patches before and after their local contrast was taken out."""
    model, splits, settings, seed = source.model, source.splits, source.settings, source.seed
    shown = shown_of(model, source.samples, source.split, splits)
    part = shown.split
    words = in_words(model.coders())

    def row(label: str, x: Tensor) -> PictureRow:
        numbers = sheets.add_samples(PICTURES, shown.pixels(x.reshape(part.x.shape)), splits.low, splits.high)
        return PictureRow(label, tuple(Cell(PICTURES, i) for i in numbers))

    made = corrupted(model, part.x, generator(seed, "picture"))
    if made is not None:
        rows = [row("clean", part.x), row("corrupted", made[0]), row("restored", model.reconstruct(made[0]))]
        if made[1] is not None:
            hidden = made[1].to(part.x) * (splits.high - splits.low) + splits.low
            numbers = sheets.add_samples(PICTURES, hidden.cpu().numpy(), splits.low, splits.high)
            rows.insert(2, PictureRow("covered (white)", tuple(Cell(PICTURES, i) for i in numbers)))
        caption = "Samples corrupted as in training, and what the model makes of them."
        yield Strip("restored", "restored samples", caption, (), tuple(rows))
    if settings.sigmas:
        sigma = settings.sigmas[len(settings.sigmas) // 2]
        noisy = add_noise(model, part, sigma, settings.unit, splits.data_range, generator(seed, "picture"))
        rows = [row("clean", part.x), row("noisy", noisy)]
        for name in model.coders():
            z = coder_for(model, name, part.x, noisy, settings.noise_weight)(noisy)
            rows.append(row(words[name], model.output(noisy, z)))
        unit = "standard deviations of the model's input" if settings.unit == "input" else "of the data range"
        caption = f"Samples with Gaussian noise of {sigma:.4g} {unit}, coded and decoded."
        yield Strip("denoised", "denoised samples", caption, (), tuple(rows))
    if part.ctx is not None:
        low, high = float(part.x.amin()), float(part.x.amax())
        numbers = sheets.add_samples("patches", part.x.cpu().numpy(), low, high)
        seen = PictureRow("as the model sees them", tuple(Cell("patches", i) for i in numbers))
        caption = "Patches of images before and after their local mean and contrast were taken out."
        yield Strip("patches", "patches", caption, (), (row("pixels", part.x), seen))


def _traversals(source: ReportSource, sheets: Sheets) -> Iterator[Strip]:
    """One code at a time of a few samples, and draws from the prior."""
    assert has_posterior(source.model)
    subject = subject_of(source.model, source.splits, source.name)
    low, high = subject.span
    values = np.linspace(-REACH, REACH, FRAMES)

    def cells(images: NDArray[np.floating]) -> tuple[Cell, ...]:
        return tuple(Cell(PICTURES, i) for i in sheets.add_samples(PICTURES, images, low, high))

    rows: list[PictureRow] = []
    z = subject.z[0]
    for j in subject.used(z)[:TRAVERSED]:
        codes = z.repeat(FRAMES, 1)
        codes[:, j] = torch.from_numpy(values).to(z)
        rows.append(PictureRow(f"code {j}", cells(subject.decoded(codes))))
    caption = (
        f"Sample {subject.rows[0]} of the test split with one of its codes at a time at the value above each column."
    )
    yield Strip("traversal", "traversals", caption, tuple(f"{v:.3g}" for v in values), tuple(rows))
    drawn = subject.decoded(subject.prior_codes(4 * FRAMES, source.seed))
    lines = tuple(PictureRow("", cells(drawn[i : i + FRAMES])) for i in range(0, len(drawn), FRAMES))
    yield Strip("prior", "draws from the prior", "Decodings of codes drawn from the model's prior.", (), lines)
