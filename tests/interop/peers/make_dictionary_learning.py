"""Files of dictionary_learning: every class trained by its trainer, and backups."""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import json
import shutil

import torch
from case import Case, D, K, M, N
from run import RUN, import_dictionary_learning

__all__ = ["as_they_lie", "dictionary_learning"]

import_dictionary_learning()
from dictionary_learning import trainers, training  # noqa: E402
from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew  # noqa: E402
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer  # noqa: E402
from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate  # noqa: E402
from dictionary_learning.trainers.top_k import AutoEncoderTopK  # noqa: E402


class Batches:
    """The same batches again and again, fresh tensors every time: training changes them in place."""

    def __init__(self) -> None:
        self.config = {"ctx_len": 128}

    def __iter__(self):
        rng = torch.Generator().manual_seed(3)
        mixing = torch.randn(24, D, generator=rng)
        while True:
            yield (
                3.0 * (torch.rand(128, 24, generator=rng) * (torch.rand(128, 24, generator=rng) < 0.15)) @ mixing + 0.5
            )


def dictionary_learning() -> None:
    """Write fixtures/dictionary_learning."""
    run = RUN["dictionary_learning"]
    common = {
        "activation_dim": D,
        "dict_size": M,
        "layer": 8,
        "lm_name": "gpt2",
        "device": "cpu",
        "steps": 150,
        "seed": 0,
    }
    short = {"lr": 1e-2, "warmup_steps": 5}
    sparsity = {"l1_penalty": 0.03, "sparsity_warmup_steps": 5}
    thresholded = {"k": K, "threshold_start_step": 5, "threshold_beta": 0.9}
    classes = {
        "AutoEncoder": {"trainer": trainers.StandardTrainer, **short, **sparsity},
        "AutoEncoderNew": {"trainer": StandardTrainerAprilUpdate, "dict_class": AutoEncoderNew, **short, **sparsity},
        "GatedAutoEncoder": {"trainer": trainers.GatedSAETrainer, **short, **sparsity},
        "JumpReluAutoEncoder": {
            "trainer": trainers.JumpReluTrainer,
            "bandwidth": 0.05,
            "target_l0": 5.0,
            "sparsity_warmup_steps": 5,
            **short,
        },
        "AutoEncoderTopK": {"trainer": trainers.TopKTrainer, **short, **thresholded},
        "BatchTopKSAE": {"trainer": trainers.BatchTopKTrainer, **short, **thresholded},
        "MatryoshkaBatchTopKSAE": {
            "trainer": MatryoshkaBatchTopKTrainer,
            "group_fractions": [0.25, 0.25, 0.5],
            **short,
            **thresholded,
        },
    }

    def trained(name: str, settings: dict) -> Case:
        case = Case("dictionary_learning", name)
        out = case.folder / "run"
        training.trainSAE(
            Batches(),
            [{**common, **settings}],
            steps=150,
            save_dir=str(out),
            device="cpu",
            normalize_activations=name != "AutoEncoderNew",
        )
        shutil.rmtree(case.model)
        (out / "trainer_0").rename(case.model)
        out.rmdir()
        return case

    inputs = next(iter(Batches()))[:N].clone()
    for name, settings in classes.items():
        case = trained(name, dict(settings))
        if name == "AutoEncoderNew":  # version 0.1.0 writes the wrong class into its config, and fails on its own file
            shutil.copytree(case.model, case.folder / "as_written")
            text = (case.model / "config.json").read_text()
            (case.model / "config.json").write_text(text.replace('"AutoEncoder"', '"AutoEncoderNew"'))
        case.expect(run, x=inputs)
    trained("refused_unset_threshold", {**classes["BatchTopKSAE"], "threshold_start_step": 10_000})
    for name in ("BatchTopKSAE", "GatedAutoEncoder"):
        # the layout of backups in later versions: the model as it is trained, on inputs divided by norm_factor
        case = Case("dictionary_learning", f"backup_{name}")
        settings = {**common, **classes[name]}
        trainer = settings.pop("trainer")(**settings)
        factor = 4.25
        for step, batch in zip(range(100), Batches(), strict=False):
            trainer.update(step, batch / factor)
        backup = {
            "step": 100, "ae": trainer.ae.state_dict(), "optimizer": trainer.optimizer.state_dict(),
            "config": trainer.config, "norm_factor": factor,
        }  # fmt: skip
        torch.save(backup, case.model / "ae.pt")
        (case.model / "config.json").write_text(json.dumps({"trainer": trainer.config, "buffer": Batches().config}))
        trainer.ae.scale_biases(factor)
        case.expect(lambda _, x, ae=trainer.ae: (ae.encode(x), ae(x)), x=inputs)
    as_they_lie()


def as_they_lie() -> None:
    """Files that the trainers of 0.1.0 do not write: atoms of free norm, and a top-k from before k and threshold were buffers."""
    run = RUN["dictionary_learning"]
    case = Case("dictionary_learning", "AutoEncoder_free_norms")
    model = AutoEncoder(D, M)
    case.fill(model)
    torch.save(model.state_dict(), case.model / "ae.pt")
    write_config(case, "AutoEncoder")
    case.expect(run)
    case = Case("dictionary_learning", "AutoEncoderTopK_without_buffers")
    model = AutoEncoderTopK(D, M, K)
    case.fill(model)
    torch.save(model.state_dict(), case.model / "ae.pt")
    write_config(case, "AutoEncoderTopK", k=K)
    case.expect(run)
    torch.save({k: v for k, v in model.state_dict().items() if k not in ("k", "threshold")}, case.model / "ae.pt")


def write_config(case: Case, name: str, **more: int) -> None:
    trainer = {"dict_class": name, "activation_dim": D, "dict_size": M, "layer": 8, "lm_name": "gpt2", **more}
    (case.model / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}, indent=4))
