"""`sparsecode push`: a run as a repository on the Hugging Face hub."""

from __future__ import annotations

from sparsecode.cli.arguments import sharing
from sparsecode.cli.console import Console
from sparsecode.cli.paths import run_labels
from sparsecode.publishing import prepare_folder, push

__all__ = ["push_command"]


def push_command(args: sharing.PushArguments) -> None:
    """Upload a run with its model card, or write what would be uploaded to a folder."""
    console = Console()
    run_labels((args.run,), console)
    if args.out is not None:
        files = prepare_folder(args.run, args.repo, args.out, licence=args.licence, name=args.name)
        done = f"{args.out}: {len(files)} files for {args.repo}, nothing was uploaded"
    else:
        pushed = push(
            args.run,
            args.repo,
            public=args.public,
            licence=args.licence,
            name=args.name,
            revision=args.revision,
            force=args.force,
        )
        files, done = pushed.files, f"{pushed.address}: {len(pushed.files)} files in commit {pushed.commit[:10]}"
    for file in files:
        console.print(f"  {file}", highlight=False, soft_wrap=True)
    console.print(done, highlight=False, soft_wrap=True)
