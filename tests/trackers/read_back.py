"""What a tracker has recorded of a run, read by the tracker: python read_back.py NAME FOLDER, where the run is FOLDER/run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FIGURES = ("usage", "atoms", "reconstructions")


def offline_files(files: list[Path], media: list[Path]) -> dict[str, Any]:
    """Of W&B and SwanLab, which write a file per session for a later upload, and pictures beside it."""
    data = b"".join(file.read_bytes() for file in files)
    names = ["evaluate/encode/objective", "train/loss", *(f"pictures/{name}" for name in FIGURES)]
    return {"names": [name for name in names if name.encode() in data], "sessions": len(files), "pictures": len(media)}


def wandb(folder: Path) -> dict[str, Any]:
    home = folder / "run" / "wandb"
    return offline_files(sorted(home.glob("offline-run-*/*.wandb")), sorted(home.rglob("*.png"))) | {
        "runs": len({file.name for file in home.glob("offline-run-*/*.wandb")})
    }


def swanlab(folder: Path) -> dict[str, Any]:
    home = folder / "run" / "swanlab"
    return offline_files(sorted(home.glob("run-*/*.swanlab")), sorted(home.rglob("*.png"))) | {
        "runs": len({file.name for file in home.glob("run-*/*.swanlab")})
    }


def trackio(folder: Path) -> dict[str, Any]:
    from trackio.sqlite_storage import SQLiteStorage  # pyright: ignore

    runs = SQLiteStorage.get_runs("sparsecode")
    logs = [log for run in runs for log in SQLiteStorage.get_logs("sparsecode", run)]
    return {
        "names": sorted({name for log in logs for name in log}),
        "steps": sorted({log["step"] for log in logs if "evaluate/encode/objective" in log}),
        "runs": len(runs),
        "pictures": sum(name.startswith("pictures/") for log in logs for name in log),
    }


def mlflow(folder: Path) -> dict[str, Any]:
    from mlflow import MlflowClient  # pyright: ignore

    client = MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("sparsecode").experiment_id])
    (info, data) = runs[0].info, runs[0].data
    history = client.get_metric_history(info.run_id, "evaluate/encode/objective")
    images = [file.path for file in client.list_artifacts(info.run_id, "images") if file.path.endswith(".png")]
    return {
        "names": [*data.metrics, *(f"pictures/{n}" for n in FIGURES if any(f"/{n}+" in path for path in images))],
        "steps": [metric.step for metric in history],
        "runs": len(runs),
        "pictures": len(images),
        "epochs": data.params["train.epochs"],
        "status": info.status,
    }


if __name__ == "__main__":
    read = {"wandb": wandb, "swanlab": swanlab, "trackio": trackio, "mlflow": mlflow}[sys.argv[1]]
    sys.stdout.write(json.dumps(read(Path(sys.argv[2]))))
