"""`sparsecode latents`: bounds, use of the codes and disentanglement of variational runs."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.table import Table

from sparsecode.cli.arguments import UsageError, scoring
from sparsecode.cli.console import Console, described
from sparsecode.cli.paths import refuse_to_overwrite, run_labels
from sparsecode.data import Splits
from sparsecode.evaluate.variational.elbo import per_batch
from sparsecode.evaluate.variational.gate_use import ALWAYS, DEAD
from sparsecode.evaluate.variational.variational_report import Latents, latents
from sparsecode.files import printable, write_atomic
from sparsecode.models.capabilities import has_posterior
from sparsecode.models.variational import VariationalModel
from sparsecode.runs import RunFolder
from sparsecode.specs import Spec, to_json

__all__ = ["LatentsReport", "latents_command"]

BATCH = 32  # of the replication, whose VLB is a mean over batches


class LatentsReport(Spec, tag="latents_report"):
    """What `--json` writes: folders of the runs by name, and the measurements of each."""

    runs: dict[str, str]
    latents: dict[str, Latents]


def latents_command(args: scoring.LatentsArguments) -> None:
    """Bounds on log p(x), use of the codes and, for data of known factors, disentanglement of variational runs."""
    run, others, split, draws, samples, seed, json, force, moved = args
    for name, value in (("draws", draws), ("samples", samples)):
        if value < 1:
            raise UsageError(f"--{name} {value}: expected at least 1")
    if json is not None:
        refuse_to_overwrite("--json", json, force)
    paths, console = (run, *others), Console()
    names = run_labels(paths, console)
    models = {name: _model(path) for name, path in zip(names, paths, strict=True)}
    loaded: dict[bytes, Splits] = {}
    results: dict[str, Latents] = {}
    for (name, model), path in zip(models.items(), paths, strict=True):
        folder = RunFolder(path)
        splits = folder.splits(moved, loaded)
        part = {"train": splits.train, "valid": splits.valid, "test": splits.test}[split]
        with console.status(f"{described(name)}: {split} split"):
            results[name] = latents(model, part, splits.data_range, splits.factors, split, samples, draws, seed)
    console.print(_bounds(results))
    console.print(_use(results))
    if any(each.disentanglement for each in results.values()):
        console.print(_disentanglement(results))
    if json is not None:
        report = LatentsReport({n: printable(str(p)) for n, p in zip(names, paths, strict=True)}, results)
        write_atomic(json, to_json(report))
        console.print(f"scores {json}", highlight=False, soft_wrap=True)


def _model(path: Path) -> VariationalModel:
    model = RunFolder(path).best_model()
    if not has_posterior(model):
        kind = type(model.spec).__struct_config__.tag
        raise UsageError(
            f"{path}: its model is {kind!r}; expected 'variational': `sparsecode eval` and `analyse` are for others"
        )
    return model


def _table(title: str, *columns: str) -> Table:
    table = Table(
        box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left", caption_justify="left"
    )
    table.add_column(columns[0], overflow="fold", min_width=7)
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _bounds(measured: dict[str, Latents]) -> Table:
    """A row per run and kind of gate."""
    any_found = next(iter(measured.values()))
    k = any_found.importance.k
    table = _table(
        f"bounds on log p(x), {any_found.split} split, nats per sample",
        "run", "gates", "elbo", "recon", "slab", "spike", f"VLB/{BATCH}", f"IWAE-{k}",
    )  # fmt: skip
    for name, each in measured.items():
        for i, (gates, b) in enumerate(each.bounds.items()):
            error = f" ± {each.importance.error:.2f}" if each.importance.n > 1 else ""
            weighted = f"{each.importance.bound:.2f}{error}" if i == 0 else ""
            parts = (b.elbo, b.recon, b.kl_slab, b.kl_spike + b.kl_choice, per_batch(-b.elbo, b.n, BATCH))
            table.add_row(name if i == 0 else "", gates, *(f"{value:.2f}" for value in parts), weighted)
    table.caption = f"relaxed gates, as in training, give no bound\nslab, spike: divergences; VLB/{BATCH}: minus the elbo, summed over a batch of {BATCH}\nIWAE-{k}: hard gates, {any_found.importance.n} samples, ± standard error"
    return table


def _use(measured: dict[str, Latents]) -> Table:
    table = _table(
        "use of the codes",
        "run", "K", "on", "gates", "all", "dead", "AU", "select", "Hoyer", "PSNR", "SSIM", "gap",
    )  # fmt: skip
    for name, each in measured.items():
        use = each.use
        table.add_row(
            name,
            str(use.n_code),
            f"{use.active:.2f}",
            f"{use.expected:.2f}",
            str(use.always_on),
            str(use.dead),
            str(use.active_units),
            f"{sum(use.selection) / use.n_code:.4f}",
            "-" if use.hoyer is None else f"{use.hoyer:.3f}",
            f"{use.psnr:.2f}",
            "-" if use.ssim is None else f"{use.ssim:.3f}",
            "-" if use.hard_gap is None else f"{use.hard_gap:.2f}",
        )
    table.caption = (
        "K: codes; on: with gamma > 1/2; gates: sum of gamma; all, dead: codes on for\n"
        f"more than {ALWAYS:.0%}, less than {DEAD:.1%} of samples; AU: active units; select: variance\n"
        "of gamma, mean over codes; PSNR, SSIM: hard codes; gap: elbo relaxed less hard"
    )
    return table


def _disentanglement(measured: dict[str, Latents]) -> Table:
    scored = {name: each.disentanglement for name, each in measured.items() if each.disentanglement is not None}
    table = _table("disentanglement of gamma mu", "run", "MIG", "SAP", "FactorVAE", "D", "C", "I")
    for name, d in scored.items():
        numbers = (d.mig, d.sap, d.factor_vae, d.dci.disentanglement, d.dci.completeness, d.dci.informativeness)
        table.add_row(name, *(f"{number:.3f}" for number in numbers))
    by_factor = (
        f"{name}: {', '.join(f'{f} {x:.0%}' for f, x in d.informativeness.items())}" for name, d in scored.items()
    )
    table.caption = "\n".join(
        ("D, C, I: disentanglement, completeness, informativeness (below, by factor)", *by_factor)
    )
    return table
