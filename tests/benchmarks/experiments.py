"""Trains every experiment in turn, each in a process of its own, and says how long each took and where it ended.

    python tests/benchmarks/experiments.py DIRECTORY [KEY=VALUE ...] [--names class_flow ...]

Runs go to DIRECTORY/NAME. Those of EXPERIMENTS.md that are looked at beside another come after it (B2.6b, B2.6c), and
show it. A run that is there and stopped early is gone on with; one that is complete is only put into the table. With
`data.root=data` and a data folder that is filled it needs no network.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
NAMES = [
    "quickstart",
    "class_flow",
    "class_flow_best",
    "class_flow_constant_lr",
    "time_flow",
    "time_ddpm",
    "class_ddpm",
    "denoiser",
    "denoiser_pure_noise",
    "text_digits",
    "text_digits_upscaler",
    "digit_features",
    "digit_judge",
]
BESIDE = {"class_flow_constant_lr": "class_flow", "class_ddpm": "time_ddpm"}


def command(directory: Path, name: str, overrides: list[str]) -> list[str]:
    """The words after train.py, for a run that starts or goes on."""
    run = directory / name
    if (run / "checkpoints" / "last.ckpt").exists():
        return [f"resume={run}"]
    words = [f"experiment={name}", f"hydra.run.dir={run}", "logger=none", "trainer.progress_bar=false"]
    other = directory / BESIDE.get(name, name)
    if other != run and list(other.glob("figures/samples_epoch_*.png")):
        words.append(f"beside=[{other}]")
    return [*words, *overrides]


def row(run: Path, minutes: float, status: int) -> list[str]:
    """A line of the table, from what the run directory holds."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    speeds = [float(row["images_per_s"]) for row in rows if row["images_per_s"]]
    validation = [float(row["val_loss"]) for row in rows if row["val_loss"]]
    epochs = f"{len(validation)}/{config['trainer']['max_epochs']}"
    speed = f"{statistics.median(speeds):.0f}" if speeds else "-"
    loss = f"{validation[-1]:.4f}" if validation else "-"
    return [run.name, epochs, f"{minutes:.1f}", speed, loss, "ok" if status == 0 else f"status {status}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--names", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_intermixed_args()
    table = [["experiment", "epochs", "minutes", "images/s", "val_loss", ""]]
    for name in options.names:
        start = time.perf_counter()
        words = command(options.directory, name, options.overrides)
        print("train.py", *words, flush=True)
        status = subprocess.run([sys.executable, str(ROOT / "train.py"), *words]).returncode
        if (options.directory / name / "metrics.csv").exists():
            table.append(row(options.directory / name, (time.perf_counter() - start) / 60, status))
        else:
            table.append([name, "-", "-", "-", "-", f"status {status}"])
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
