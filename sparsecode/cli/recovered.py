"""`sparsecode recovered`: the loss of a language model with activations replaced by a run's reconstructions."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from pathlib import Path

import torch
from rich.progress import track

from sparsecode.cli.arguments import UsageError, scoring
from sparsecode.cli.console import Console
from sparsecode.cli.language_models import causal_model
from sparsecode.cli.paths import refuse_to_overwrite
from sparsecode.cli.tables import rich_table
from sparsecode.data.hook_points import hook_path
from sparsecode.data.hooks import longest
from sparsecode.data.shard_index import INDEX, read_index
from sparsecode.data.text import token_batches
from sparsecode.data.token_rows import RowChoice
from sparsecode.evaluate.reconstruction.host_loss import HostBatch, RecoveredLoss, recovered_losses
from sparsecode.files import printable, write_atomic
from sparsecode.init_from import model_at
from sparsecode.runs import RunFolder
from sparsecode.specs import Spec, to_json

__all__ = ["RecoveredReport", "recovered_command"]


class RecoveredReport(Spec, tag="recovered_report"):
    """What `--json` writes: names of the run, the model and the text, the hook points, and the losses by what is replaced."""

    run: str
    model: str
    text: str
    hook_points: tuple[str, ...]
    losses: dict[str, RecoveredLoss]


def recovered_command(args: scoring.RecoveredArguments) -> None:
    """Loss recovered: the cross-entropy and KL of a language model with activations replaced by a run's reconstructions."""
    if min(args.batch_size, args.spans) < 1:
        raise UsageError(f"--batch-size {args.batch_size}, --spans {args.spans}: expected at least 1")
    if not 0 <= args.skip_first < args.length:
        raise UsageError(f"--skip-first {args.skip_first}: expected 0 to {args.length - 1}, less than --length")
    if args.json is not None:
        refuse_to_overwrite("--json", args.json, args.force)
    console = Console()
    model = model_at(args.run).eval()
    names = args.hook_point or _stored(args.run)
    host = causal_model(args.model, args.tokenizer)
    limit = longest(host.module)
    if limit is not None and args.length > limit:
        raise UsageError(f"--length {args.length}: expected at most {limit}, the most that {host.name} takes")
    bos = getattr(host.tokeniser, "bos_token_id", None) if args.bos else None
    if args.bos and bos is None:
        raise UsageError(f"--bos: the tokenizer of {host.name} has no beginning-of-sequence token; leave it out")
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    network = host.module.to(device)
    hook_points = tuple(hook_path(network, name) for name in names)
    choice = RowChoice(args.keep_special, args.skip_first)
    with closing(
        token_batches(
            args.text, host.tokeniser, length=args.length, batch_size=args.batch_size, bos=bos, column=args.column
        )
    ) as stream:
        spans = list(islice(stream, -(-args.spans // args.batch_size)))
    batches = [HostBatch(dict(host.inputs_of(b)), b.ids, b.real, choice.chosen(b)[0]) for b in spans]
    passes = iter(("mean rows", "losses"))

    def shown() -> Iterable[HostBatch]:
        return track(batches, f"{next(passes)} of {host.name}", console=console, transient=True)

    losses = recovered_losses(network, model, hook_points, shown)
    console.print(rich_table(RecoveredLoss.table(f"loss of {host.name} recovered", losses)))
    if args.json is not None:
        report = RecoveredReport(
            printable(args.run.resolve().name), printable(host.name), printable(args.text.name), hook_points, losses
        )
        write_atomic(args.json, to_json(report))
        console.print(f"report   {args.json}", highlight=False, soft_wrap=True)


def _stored(run: Path) -> tuple[str, ...]:
    """The hook points that the shards of a run's data were extracted at. Raises UsageError if they are not to be had."""
    folder = RunFolder(run)
    data = folder.config().data if folder.exists else None
    path = getattr(data, "path", None)
    if path is not None and (Path(path) / INDEX).is_file():
        provenance = read_index(Path(path)).provenance
        if "hook_point" in provenance:
            return tuple(provenance["hook_point"].split(", "))
    raise UsageError("--hook-point: expected the submodule that the run's activations are from; its data do not say")
