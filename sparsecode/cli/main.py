"""Command dispatch and exit codes."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from sparsecode.cli.arguments import UsageError, data, parsed, parsed_subcommand, repeated, train, using
from sparsecode.cli.console import Console
from sparsecode.errors import NonFiniteLossError, OverrideError, RunConflictError
from sparsecode.files import printable

__all__ = ["main"]

OK, FAILED, USAGE, REFUSED, UNREAD = 0, 1, 2, 3, 141
LISTING = ("recipes", "runs")  # which need not say so when `head` has read enough


class Command(NamedTuple):
    help: str
    home: str  # imported only when there is work to do: torch takes seconds
    arguments: str = (
        ""  # file of the record of its arguments, `EvalArguments` of eval; those of train come from a config
    )


COMMANDS = {
    "train": Command("train a recipe, or resume a run", "sparsecode.cli.train"),
    "eval": Command("score a trained run on a split", "sparsecode.cli.eval_plot", "scoring"),
    "extract": Command(
        "activations of a language or image model, as data to train on", "sparsecode.cli.extract", "sweep_extract"
    ),
    "patches": Command(
        "patches of images by local contrast normalisation, as arrays", "sparsecode.cli.patches", "sweep_extract"
    ),
    "encode": Command(
        "encode an array, or a split of the run's data, with a trained run", "sparsecode.cli.encode", "using"
    ),
    "analyse": Command(
        "compare runs with references, with the truth, with each other", "sparsecode.cli.analyse", "scoring"
    ),
    "features": Command(
        "what each code stands for: examples, contexts, histograms, neighbours", "sparsecode.cli.features", "explaining"
    ),
    "concepts": Command(
        "codes that stand for the classes of labelled data, and their absorption",
        "sparsecode.cli.concepts",
        "explaining",
    ),
    "match": Command("which codes two dictionaries share", "sparsecode.cli.match", "comparing"),
    "units": Command(
        "activity and receptive fields of units of noise-trained networks", "sparsecode.cli.units", "scoring"
    ),
    "traverse": Command(
        "figures, animation and interactive page of a variational model's codes", "sparsecode.cli.traverse", "using"
    ),
    "threshold": Command(
        "errors of reconstructions from codes above a threshold, or the k largest",
        "sparsecode.cli.threshold",
        "comparing",
    ),
    "curves": Command("validation values of several runs over epochs", "sparsecode.cli.curves", "comparing"),
    "anomaly": Command("detection of classes that training has not seen", "sparsecode.cli.anomaly", "comparing"),
    "restore": Command("restored images beside classical methods", "sparsecode.cli.restore", "comparing"),
    "probe": Command("classify with the codes of runs and few labels", "sparsecode.cli.probe", "scoring"),
    "attack": Command("accuracy of classifiers under adversarial changes", "sparsecode.cli.attack", "scoring"),
    "recovered": Command(
        "loss of a language model with activations replaced by reconstructions",
        "sparsecode.cli.recovered",
        "explaining",
    ),
    "latents": Command(
        "bounds, use of codes and disentanglement of variational runs", "sparsecode.cli.latents", "scoring"
    ),
    "forgetting": Command("accuracy on earlier tasks after continual learning", "sparsecode.cli.forgetting", "scoring"),
    "denoise": Command("denoise pictures with a dictionary", "sparsecode.cli.denoise", "using"),
    "path": Command("codes of an array at many penalty weights, to choose one", "sparsecode.cli.path", "using"),
    "convert": Command(
        "write a sparse autoencoder in another library's format, and compare the two", "sparsecode.cli.convert", "using"
    ),
    "push": Command("upload a run to the Hugging Face hub, with a model card", "sparsecode.cli.push", "sharing"),
    "sweep": Command("train a grid of changes over recipes, or an experiment", "sparsecode.cli.sweep", "sweep_extract"),
    "report": Command("report of runs: training, codes, samples, measures", "sparsecode.cli.report", "reporting"),
    "plot": Command("draw a run's figures again", "sparsecode.cli.eval_plot", "using"),
    "recipes": Command("list recipes, or print one as JSON", "sparsecode.cli.recipes", "using"),
    "runs": Command("list, show and compare runs", "sparsecode.cli.runs"),
    "completion": Command("a script for the shell, which completes by Tab", "sparsecode.cli.completion", "using"),
    "data": Command("download data sets, and list those that are there", "sparsecode.cli.data"),
}
SUBCOMMANDS = {
    "runs": {"ls": using.RunsLsArguments, "show": using.RunsShowArguments, "compare": using.RunsCompareArguments},
    "data": {"get": data.DataGetArguments, "ls": data.DataLsArguments},
}

EXIT_CODES = (
    "0 done · 1 failed · 2 wrong usage · 3 refused to replace existing files · 130 / 143 / 141 interrupted by Ctrl-C / "
    "SIGTERM / a closed output, state saved"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _overview(Console())
        return OK
    if arguments[0] == "--version":
        from sparsecode.version import __version__

        print(f"sparsecode {__version__}")
        return OK
    name, *rest = arguments
    for stream in (sys.stdout, sys.stderr):  # a name may hold what their encoding does not
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    error = Console(stderr=True, soft_wrap=True)
    if name not in COMMANDS:
        error.print(
            f"sparsecode: no command {name!r}; choose from {', '.join(COMMANDS)}", highlight=False, markup=False
        )
        return USAGE
    try:
        with _plain_warnings():
            return _run(name, rest, alone=argv is None)
    except SystemExit as wanted:  # tyro has printed the help (0) or the error (2)
        return wanted.code if isinstance(wanted.code, int) else USAGE
    except KeyboardInterrupt:
        error.print("interrupted")
        return 130
    except BrokenPipeError:  # the reader of a pipe has left: let Python's exit say nothing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if name not in LISTING:
            error.print(
                f"sparsecode {name}: standard output was closed; finished files are kept; run the same command to complete the rest"
            )
        return UNREAD
    except Exception as problem:
        from sparsecode.cli.signals import is_first_process

        code = _code_of(problem)
        if code is not None and not is_first_process():
            return code
        if code is None or os.environ.get("SPARSECODE_TRACEBACK"):
            raise
        words = problem.strerror if isinstance(problem, OSError) and problem.filename is None else None
        if _needs_memory(problem):
            reason = str(problem).strip().partition("\n")[0]
            words = (
                f"not enough memory{reason and f' ({reason})'}; choose smaller sizes, smaller batches or fewer samples"
            )
        text = str(words or problem)  # less the [Errno 28]
        if not isinstance(problem, RunConflictError):  # which lists what differs
            text = printable(text)
        error.print(f"sparsecode {name}: {text}", highlight=False)
        return code


@contextmanager
def _plain_warnings() -> Generator[None]:
    """Warnings of the library as lines without the place in its source."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _code_of(problem: Exception) -> int | None:
    """The exit code for errors whose message is meant for the user; None for defects of ours."""
    if isinstance(problem, UsageError | OverrideError):
        return USAGE
    if isinstance(problem, FileExistsError | BlockingIOError):
        return REFUSED
    known = isinstance(problem, OSError | ValueError | ImportError | NonFiniteLossError) or _needs_memory(problem)
    return FAILED if known else None


def _needs_memory(problem: Exception) -> bool:
    """Whether memory ran out; torch has a separate error for it on GPUs only."""
    return isinstance(problem, MemoryError) or (isinstance(problem, RuntimeError) and "allocate" in str(problem))


def _run(name: str, argv: list[str], alone: bool) -> int:
    """Read the arguments, which is all that help needs, and only then import what does the work.

    `alone` in the process, what imports make is never searched for garbage: it stays to the end, and the search takes a fifth of a short command.
    """
    command = COMMANDS[name]
    args: Any = argv
    if name == "train":
        if not argv or argv[0] in train.HELP:
            _train_overview(Console())
            return OK
        train.print_help(argv)
    if name in SUBCOMMANDS:
        args = parsed_subcommand(SUBCOMMANDS[name], argv, f"sparsecode {name}")
    elif command.arguments:
        kind = getattr(import_module(f"sparsecode.cli.arguments.{command.arguments}"), f"{name.capitalize()}Arguments")
        args = parsed(kind, repeated(argv, ("--set", "--over", "--start-set", "--start-over")), f"sparsecode {name}")
    if alone:
        gc.disable()
    work = getattr(import_module(command.home), f"{name}_command")
    if alone:
        gc.freeze()
        gc.enable()
    return work(args) or OK


def _train_overview(console: Console) -> None:
    from sparsecode.recipes import RECIPES

    console.print(
        "usage: sparsecode train RECIPE [--out FOLDER] [OPTIONS]\n"
        "       sparsecode train --resume FOLDER\n\n"
        f"recipes: {', '.join(RECIPES)}\n"
        "Each has its own options, one per number in its config: sparsecode train RECIPE --help",
        highlight=False,
        markup=False,
    )


def _overview(console: Console) -> None:
    console.print(Text.assemble(("sparsecode", "bold"), ": explain data by codes in which almost everything is zero\n"))
    console.print("usage: sparsecode COMMAND [OPTIONS]     (each command has --help)\n", markup=False)
    table = Table.grid(padding=(0, 3))
    for name, command in COMMANDS.items():
        table.add_row(f"  {name}", command.help)
    console.print(table)
    console.print("\ntry: sparsecode train photos-sdl     (a minute on a laptop, no download)")
    console.print(f"exit codes: {EXIT_CODES}", highlight=False)
