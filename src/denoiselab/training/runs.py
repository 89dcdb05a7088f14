"""What a run directory holds of a run that is over, or of this one so far: its name, its losses, its grids."""

from __future__ import annotations

import csv
from pathlib import Path

import yaml
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor


def read_name(directory: Path) -> str:
    """The run's name, as its config.yaml says it."""
    return str(yaml.safe_load((directory / "config.yaml").read_text())["name"])


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv, as strings; none where there is no file. A row cut short by a kill is left out."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [row for row in csv.DictReader(file) if row["val_loss"] is not None]


def read_losses(directory: Path) -> tuple[list[int], list[float], list[int]]:
    """(steps, losses, epochs) of the run's training, an entry per step."""
    rows = [row for row in read_metrics(directory / "metrics.csv") if row["loss"]]
    return (
        [int(row["step"]) for row in rows],
        [float(row["loss"]) for row in rows],
        [int(row["epoch"]) for row in rows],
    )


def read_samples(directory: Path, epoch: int) -> tuple[Tensor, int]:
    """The run's grid of samples (C, H, W) in [0, 1] after this epoch, else after its last one; and which it is."""
    grids = {int(path.stem[-3:]): path for path in (directory / "figures").glob("samples_epoch_???.png")}
    found = epoch if epoch in grids else max(grids)
    with Image.open(grids[found]) as image:
        return to_tensor(image), found
