"""`sparsecode traverse`: what the codes of a variational model stand for, in pictures and to play with."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image
from rich.console import Console

from sparsecode.cli.options import UsageError
from sparsecode.files import save_atomic, write_atomic
from sparsecode.models.variational import VariationalModel
from sparsecode.plots import is_picture
from sparsecode.reports import Subject, interactive_page, subject_of
from sparsecode.runs import RunFolder

__all__ = ["traverse_command"]

FRAME = 80  # milliseconds for which a film shows a frame
PRESETS = 12  # samples that the page starts from


def traverse_command(argv: list[str]) -> int:
    tyro.cli(_traverse, args=argv, prog="sparsecode traverse")
    return 0


def _traverse(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="run folder", metavar="RUN")],
    /,
    *,
    samples: tuple[int, ...] = (),
    codes: tuple[int, ...] = (),
    coder: str | None = None,
    frames: int = 9,
    reach: float = 3.0,
    step: float | None = None,
    share: float = 0.8,
    gif: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    html: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    out: Path | None = None,
    seed: int = 0,
) -> None:
    """Draw what the codes of a variational model of images stand for.

    Test samples encoded; the largest code of one edited; codes swept one at a time; active codes drawn anew; paths from
    sample to sample; draws from the prior, and with gates fitted to samples. Files of earlier calls are written over.

    Args:
        run: run folder
        samples: rows of the test split; default three with active codes
        codes: which to sweep; default the most used of those active
        coder: which of the model's coders; default its first
        frames: pictures in a row
        reach: codes are swept from -reach to reach
        step: instead, sweep each code from its own value towards 0 and beyond, this much for every picture
        share: of the active codes, how many are drawn anew
        gif: also a film: a code swept there and back
        html: also a page with a slider for each used code, which decodes in the browser, offline
        out: folder for the files; default the run's figures
        seed: of the draws
    """
    if frames < 2:
        raise UsageError(f"--frames {frames}: expected at least 2")
    if not 0 < share <= 1:
        raise UsageError(f"--share {share}: expected above 0, at most 1")
    if not reach > 0 or (step is not None and not step > 0):
        raise UsageError(f"--reach {reach}, --step {step}: expected numbers above 0")
    folder, console = RunFolder(run), Console()
    model = folder.best_model()
    if not isinstance(model, VariationalModel):
        raise UsageError(f"{run}: its model is no variational one; traversals need a prior (try sparsecode plot {run})")
    if not is_picture(model.shape):
        raise UsageError(f"{run}: its samples have shape {model.shape}; expected images [h, w], [1, h, w] or [3, h, w]")
    unknown = [j for j in codes if not 0 <= j < model.spec.n_code]
    if unknown:
        raise UsageError(f"--codes {' '.join(map(str, unknown))}: expected 0 to {model.spec.n_code - 1}")
    splits = folder.config().data.load()
    folder.check_data(splits)
    try:
        subject = subject_of(model, splits, run.resolve().name, samples, coder=coder)
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
        save_atomic(path, lambda file, f=figure: f.savefig(file, dpi=120))
        console.print(str(path), highlight=False, soft_wrap=True)
    if gif:
        path = place / "traversal.gif"
        write_atomic(path, _film(subject, codes[0] if codes else None, reach))
        console.print(f"{path} ({path.stat().st_size / 1e3:.0f} kB)", highlight=False, soft_wrap=True)
    if html:
        path = place / "play.html"
        others = subject_of(model, splits, subject.name, n=PRESETS, coder=coder).rows
        played = subject_of(model, splits, subject.name, tuple(dict.fromkeys([*samples, *others])), coder=coder)
        write_atomic(path, interactive_page(played, seed).encode())
        console.print(
            f"{path} ({path.stat().st_size / 1e3:.0f} kB): open it in a browser, it needs no network",
            highlight=False,
            soft_wrap=True,
        )


def _film(subject: Subject, code: int | None, reach: float) -> bytes:
    """A GIF that loops. All frames are quantised as one picture: then they share their colours, and white stays white."""
    frames = list(subject.film(code, reach=reach))
    height, width = frames[0].shape[:2]
    whole = Image.fromarray(np.concatenate(frames)).quantize(256, dither=Image.Dither.NONE)
    first, *rest = [whole.crop((0, i * height, width, (i + 1) * height)) for i in range(len(frames))]
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=FRAME, loop=0)
    return file.getvalue()
