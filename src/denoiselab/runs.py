"""What a run directory holds of a run that is over, or of this one so far: its name, losses, grids, measures.

Imports no torch: the config's check of `beside` reads it too.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from denoiselab.files import write_atomically


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Keeps other processes from running in the run directory, which is made if it is missing.

    Raises ValueError where another process is running there: both would write the same files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"hydra.run.dir={directory}: another process is running there; take another") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is ours
        lock.release()


@contextmanager
def removed_if_empty(directory: Path) -> Iterator[None]:
    """Removes the directory, which Hydra makes before a mistake is found, where the body leaves nothing in it."""
    try:
        yield
    finally:
        with suppress(OSError):  # rmdir takes only empty ones
            directory.rmdir()


def read_config(directory: Path) -> dict[str, Any]:
    """The run's config.yaml.

    Raises OSError or ValueError, in one line, where there is none, or none with a name.
    """
    path = directory / "config.yaml"
    try:
        config: dict[str, Any] = yaml.safe_load(path.read_text())
        config["name"]
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: has no name") from error
    return config


def read_name(directory: Path) -> str:
    """The run's name, as its config.yaml says it; raises as `read_config`."""
    return str(read_config(directory)["name"])


def run_place(directory: Path) -> str:
    """Where the run lies, in short: "sweep/3"."""
    return "/".join(directory.parts[-2:])


def run_label(directory: Path) -> str:
    """The run's name and where it lies, for pictures that show several runs: "class_flow (sweep/3)"."""
    return f"{read_name(directory)} ({run_place(directory)})"


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


def last_epoch(directory: Path) -> int:
    """The last that the run's metrics.csv has whole, from 1; 0 for none."""
    return max((int(row["epoch"]) for row in read_metrics(directory / "metrics.csv") if row["val_loss"]), default=0)


def last_val_loss(directory: Path) -> float | None:
    """Of the last epoch in the run's metrics.csv."""
    values = [float(row["val_loss"]) for row in read_metrics(directory / "metrics.csv") if row["val_loss"]]
    return values[-1] if values else None


def recipe(config: Mapping[str, Any]) -> str:
    """A digest of all that decides what a run of train.py learns, but its seed: runs that share it have one recipe.

    What is off (null, none, false, 0) is as if it were not there, so a run from before there was such an option is of
    the recipe still.
    """
    trainer = {name: config["trainer"][name] for name in ("max_epochs", "devices", "num_nodes", "precision")}
    parts = {
        "model": config["model"],
        "schedule": config["schedule"],
        "data": {name: value for name, value in config["data"].items() if name not in ("root", "download")},
        "ema": config["callbacks"]["ema"],
        "trainer": trainer | {"gradient_clip_val": config["trainer"]["gradient_clip_val"]},
    }
    return hashlib.sha256(json.dumps(_without_off(parts), sort_keys=True).encode()).hexdigest()[:8]


def _without_off(node: Any) -> Any:
    """The node of a config without the keys whose values are off, and those that hold nothing else."""
    if not isinstance(node, Mapping):
        return node
    inside = {name: _without_off(value) for name, value in node.items()}
    return {name: value for name, value in inside.items() if value and value != "none"}


def read_measured(directory: Path) -> dict[str, Any]:
    """The run's metrics.json; nothing where there is none.

    Raises ValueError, naming the file, where it is damaged or its rows are of an earlier version.
    """
    path = directory / "metrics.json"
    try:
        measured: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path}: is no JSON ({error})") from error
    try:
        for row in measured.get("rows", []):
            row["model"], row["samples"], row["epoch"], row["frechet_distance"]["value"]
        if "rows" in measured:
            measured["floors"]["train_subset"]["balanced"], measured["floors"]["test"]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: its rows are not as this version measures them ({error!r}); remove it") from error
    return measured


def measured_epochs(directory: Path) -> set[int]:
    """After which the run's samples, or what it denoises, have been measured."""
    measured = read_measured(directory)
    denoised = {int(name.removeprefix("epoch_")) for name in measured.get("denoising", {})}
    return denoised | {row["epoch"] for row in measured.get("rows", [])}


def save_measured(directory: Path, values: dict[str, Any]) -> None:
    """Puts values into the run's metrics.json in place of those of the same keys; what is not finite is null."""
    with write_atomically(directory / "metrics.json") as temporary:
        merged = read_measured(directory) | _finite(values)
        temporary.write_text(json.dumps(merged, indent=1, allow_nan=False) + "\n")


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def sample_grids(directory: Path) -> dict[int, Path]:
    """The run's grids of samples, figures/samples_epoch_NNN.png, by epoch."""
    named = [(re.fullmatch(r"samples_epoch_(\d+)\.png", path.name), path) for path in directory.glob("figures/*.png")]
    return {int(match[1]): path for match, path in named if match}
