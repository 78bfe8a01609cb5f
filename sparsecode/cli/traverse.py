"""`sparsecode traverse`: figures, an animation and an interactive page of a variational model's codes."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparsecode.cli.arguments import UsageError, using
from sparsecode.cli.console import Console
from sparsecode.cli.paths import refuse_file, run_labels
from sparsecode.files import write_atomic
from sparsecode.models.capabilities import has_posterior
from sparsecode.plots import is_picture
from sparsecode.plots.saving import save_figure
from sparsecode.reports import Subject, interactive_page, subject_of
from sparsecode.reports.page import n_weights
from sparsecode.runs import RunFolder

__all__ = ["film_of", "traverse_command"]

GREYS = 128  # of a film's 256 colours
FRAME = 80  # milliseconds for which a film shows a frame
LARGE = 5_000_000  # bytes of a page, from which on it says what they are
PRESETS = 12  # samples that the page starts from


def traverse_command(args: using.TraverseArguments) -> None:
    """Draw how the codes of a variational model change its images."""
    run, samples, codes, coder, frames, reach, step, share, gif, html, bits, out, seed, moved = args
    if frames < 2:
        raise UsageError(f"--frames {frames}: expected at least 2")
    if not 0 < share <= 1:
        raise UsageError(f"--share {share}: expected above 0, at most 1")
    if not reach > 0 or (step is not None and not step > 0):
        raise UsageError(f"--reach {reach}, --step {step}: expected numbers above 0")
    refuse_file("--out", out)
    folder, console = RunFolder(run), Console()
    model = folder.best_model()
    if not has_posterior(model):
        raise UsageError(f"{run}: its model is no variational one; traversals need a prior (try sparsecode plot {run})")
    if not is_picture(model.shape):
        raise UsageError(f"{run}: its samples have shape {model.shape}; expected images [h, w], [1, h, w] or [3, h, w]")
    unknown = [j for j in codes if not 0 <= j < model.spec.n_code]
    if unknown:
        raise UsageError(f"--codes {' '.join(map(str, unknown))}: expected 0 to {model.spec.n_code - 1}")
    (label,) = run_labels((run,), console)
    splits = folder.splits(moved)
    try:
        subject = subject_of(model, splits, label, samples, coder=coder)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not bool((subject.z != 0).any(dim=1).all()):
        console.print(
            f"warning: samples without an active code; traversals move inactive ones (coders: {', '.join(model.coders())})",
            style="yellow",
            highlight=False,
            markup=False,
        )
    place = folder.figures if out is None else out
    figures = {
        "encoding": subject.encodings(),
        "edits": subject.edits(),
        "traversals": subject.traversals(codes, frames, reach, step),
        "conditional": subject.conditional(seed, share),
        "prior": subject.prior(seed),
    }
    if bool((subject.codes == 0).any()):
        figures["fitted"] = subject.fitted(seed)
    if len(subject.rows) > 1:
        figures["interpolation"] = subject.interpolations(frames)
    for title, figure in figures.items():
        path = place / f"{title}.png"
        save_figure(path, figure)
        console.print(str(path), highlight=False, soft_wrap=True)
    if gif:
        path = place / "traversal.gif"
        write_atomic(path, film_of(subject, codes[0] if codes else None, reach))
        console.print(f"{path} ({path.stat().st_size / 1e3:.0f} kB)", highlight=False, soft_wrap=True)
    if html:
        path = place / "play.html"
        others = subject_of(model, splits, subject.name, n=PRESETS, coder=coder).rows
        played = subject_of(model, splits, subject.name, tuple(dict.fromkeys([*samples, *others])), coder=coder)
        write_atomic(path, interactive_page(played, seed, bits).encode())
        size, weights = path.stat().st_size, f"{n_weights(model):,} weights at {bits} bits"
        message = f"{path} ({size / 1e3:.0f} kB): open it in a browser, it needs no network"
        if size > LARGE:
            message = f"{path} ({size / 1e6:.0f} MB, {weights}): open it in a browser, it needs no network"
            message += "; --bits 8 makes it half as large" if bits == 16 else ""
        console.print(message, highlight=False, soft_wrap=True)


def film_of(subject: Subject, code: int | None, reach: float) -> bytes:
    """A GIF that loops. All frames are quantised as one picture, so that they share their colours."""
    frames = list(subject.film(code, reach=reach))
    height, width = frames[0].shape[:2]
    whole = _in_256_colours(np.concatenate(frames))
    first, *rest = [whole.crop((0, i * height, width, (i + 1) * height)) for i in range(len(frames))]
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=FRAME, loop=0, comment="sparsecode")
    return file.getvalue()


def _in_256_colours(pixels: NDArray[np.uint8]) -> Image.Image:
    """Pixels [h, w, 3] with a separate palette, in which grey stays grey: at most 128 levels, one apart from what it was."""
    grey = np.ptp(pixels, axis=2) == 0
    levels, index = np.unique(pixels[..., 0][grey], return_inverse=True)
    if len(levels) > GREYS:
        levels = np.round(np.linspace(0, 255, GREYS)).astype(np.uint8)
        index = np.abs(levels.astype(int) - np.arange(256)[:, None]).argmin(axis=1)[pixels[..., 0][grey]]
    entries = np.zeros(grey.shape, np.uint8)
    entries[grey] = index
    palette = np.repeat(levels, 3).tolist()
    if not grey.all():  # of the rest alone: a median cut puts greys and pale colours into one box
        rest = Image.fromarray(pixels[~grey][None]).quantize(256 - len(levels), dither=Image.Dither.NONE)
        entries[~grey] = np.asarray(rest)[0] + len(levels)
        palette += rest.getpalette() or []
    whole = Image.fromarray(entries, "P")
    whole.putpalette(palette[: 3 * 256])
    return whole
