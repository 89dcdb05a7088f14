"""How long `python train.py experiment=class_flow` takes to the end of its first step, files being in the cache."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from table import Table

ROOT = Path(__file__).parents[2]
ROWS_AFTER_A_STEP = 2  # of metrics.csv: the names and the step
MOST_SECONDS = 300


def first_step(run: Path, *words: str) -> float:
    """Seconds from the command to the first step in its metrics.csv, which is written once the loss is known."""
    command = [sys.executable, str(ROOT / "train.py"), *words, f"hydra.run.dir={run}", "callbacks.metrics.every=1"]
    metrics, start = run / "metrics.csv", time.perf_counter()
    with (run.parent / f"{run.name}.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while not metrics.exists() or metrics.read_text().count("\n") < ROWS_AFTER_A_STEP:
                taken = time.perf_counter() - start
                assert process.poll() is None and taken < MOST_SECONDS, Path(log.name).read_text()
                time.sleep(0.01)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


def test_start(table: Table, tmp_path: Path) -> None:
    files = ROOT / "data" / "MNIST"
    data = ["data=mnist", f"data.root={files.parent}", "data.download=false"] if files.exists() else ["data=synthetic"]
    words = ["experiment=class_flow", *data, f"trainer.accelerator={table.device.type}"]
    words += ["trainer.compile=true"] * (table.device.type == "cuda")  # as its goal is meant
    taken = [first_step(tmp_path / str(round_), *words) for round_ in range(table.rounds + 1)][1:]
    name, goal = f"start: train.py experiment=class_flow {data[0]} to the end of step 1", table.goal(cpu=8, cuda=15)
    compiled = ", trainer.compile=true, what it compiled before being in its cache" * (table.device.type == "cuda")
    table.add(name, "", None, None, "", "s", taken, goal, f"with Weights & Biases, offline{compiled}")
