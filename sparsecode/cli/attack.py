"""`sparsecode attack`: accuracy under adversarial changes."""

from __future__ import annotations

from rich.table import Table

from sparsecode.cli.arguments import UsageError, scoring
from sparsecode.cli.console import Console, described
from sparsecode.cli.paths import refuse_to_overwrite, run_labels
from sparsecode.data.splits import Split
from sparsecode.evaluate.networks.robustness import Attack, Robustness, robustness
from sparsecode.files import write_atomic
from sparsecode.models.amortised import AmortisedModel
from sparsecode.models.capabilities import classifies
from sparsecode.nn.adversarial import PGD
from sparsecode.runs import RunFolder
from sparsecode.specs import Spec, to_json

__all__ = ["attack_command"]


class AttackReport(Spec, tag="attack_report"):
    """What `--json` writes."""

    runs: dict[str, tuple[Robustness, ...]]


def _noisy(model: AmortisedModel) -> bool:
    """Whether training changed samples at random."""
    return model.corruption is not None and not isinstance(model.corruption.spec, PGD)


def attack_command(args: scoring.AttackArguments) -> None:
    """Accuracy of classifiers under adversarial attack, with their training noise off and averaged over draws of it."""
    run, others, eps, kind, norm, steps, draws, samples, seed, json, force, moved = args
    if min(samples, steps) < 1 or draws < 0:
        raise UsageError(f"--samples {samples}, --steps {steps}, --draws {draws}: expected at least 1, 1 and 0")
    if json is not None:
        refuse_to_overwrite("--json", json, force)
    console, paths = Console(), (run, *others)
    table = Table(title=f"accuracy under {kind} with {steps} steps, norm {norm}", title_justify="left")
    for column in ("run", "noise", "eps", "clean", "random", "attacked"):
        table.add_column(column, justify="left" if column in ("run", "noise") else "right")
    results: dict[str, tuple[Robustness, ...]] = {}
    for name, path in zip(run_labels(paths, console), paths, strict=True):
        folder = RunFolder(path)
        model = folder.best_model()
        if not classifies(model):
            raise UsageError(f"{path}: expected a model that classifies (task 'classify')")
        splits = folder.splits(moved)
        test: Split = splits.test.take(slice(samples)).to(
            next(model.parameters()).device, next(model.parameters()).dtype
        )
        clip = (splits.low, splits.high) if len(splits.shape) > 1 else None
        done: list[Robustness] = []
        for size in eps:
            for number in (0, draws) if draws and _noisy(model) else (0,):
                attack = Attack(kind=kind, eps=size, norm=norm, steps=steps, draws=number)
                with console.status(f"{described(name)}: attacking at {size:.3g}"):
                    done.append(robustness(model, test, attack, clip, seed))
                r = done[-1]
                noise = f"mean of {number}" if number else "off"
                table.add_row(name, noise, f"{size:.3g}", f"{r.clean:.1%}", f"{r.random:.1%}", f"{r.attacked:.1%}")
        results[name] = tuple(done)
    console.print(table)
    if json is not None:
        write_atomic(json, to_json(AttackReport(results)))
        console.print(f"report   {json}", highlight=False, soft_wrap=True)
