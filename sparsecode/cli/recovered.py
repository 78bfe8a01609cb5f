"""`sparsecode recovered`: the loss of a language model with activations replaced by a run's reconstructions."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from pathlib import Path

from rich.progress import track

from sparsecode.cli.arguments import UsageError, explaining
from sparsecode.cli.console import Console
from sparsecode.cli.paths import refuse_to_overwrite
from sparsecode.cli.tables import rich_table
from sparsecode.data.host import Host
from sparsecode.data.language_models import language_model
from sparsecode.data.shard_index import INDEX, read_index
from sparsecode.data.text_host import text_host
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


def recovered_command(args: explaining.RecoveredArguments) -> None:
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
    language = language_model(str(args.model), args.tokenizer, head=True)
    choice = RowChoice(args.keep_special, args.skip_first)
    host = text_host(language, names, choice, length=args.length, bos=args.bos, device=args.device)
    network, hook_points = host.network, host.hook_points
    with closing(host.batches(args.text, args.batch_size, args.column)) as stream:
        spans = list(islice(stream, -(-args.spans // args.batch_size)))
    batches = [HostBatch(language.inputs_of(b), b.ids, b.real, choice.chosen(b)[0]) for b in spans]
    passes = iter(("mean rows", "losses"))

    def shown() -> Iterable[HostBatch]:
        return track(batches, f"{next(passes)} of {language.name}", console=console, transient=True)

    losses = recovered_losses(network, model, hook_points, shown)
    console.print(rich_table(RecoveredLoss.table(f"loss of {language.name} recovered", losses)))
    if args.json is not None:
        report = RecoveredReport(
            printable(args.run.resolve().name), printable(language.name), printable(args.text.name), hook_points, losses
        )
        write_atomic(args.json, to_json(report))
        console.print(f"report   {args.json}", highlight=False, soft_wrap=True)


def _stored(run: Path) -> tuple[str, ...]:
    """The hook points that a run's activations are from, those of shards where these say so. Raises UsageError if they are not to be had."""
    folder = RunFolder(run)
    data = folder.config().data if folder.exists else None
    if isinstance(data, Host):
        return data.sites_in_order
    path = getattr(data, "path", None)
    if path is not None and (Path(path) / INDEX).is_file():
        provenance = read_index(Path(path)).provenance
        if "hook_point" in provenance:
            return tuple(provenance["hook_point"].split(", "))
    raise UsageError("--hook-point: expected the submodule that the run's activations are from; its data do not say")
