"""How long `python train.py experiment=class_flow` takes to the end of its first step, files being in the cache."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from table import Table

ROOT = Path(__file__).parents[2]
# Runs a script as `python SCRIPT` would, and says when the first training step has ended.
PROBE = """
import os, runpy, sys, time
import denoiselab.training.step as step
import torch
def ended(self, *rest):
    if self.device.type == "cuda":
        torch.cuda.synchronize(self.device)
    print("\\nENDED", time.time(), flush=True)
    os._exit(0)
step.StepModule.on_train_batch_end = ended
sys.argv[0] = sys.argv.pop(1)
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def first_step(*words: str) -> float:
    """Seconds from the command to the end of its first step."""
    start = time.time()
    done = subprocess.run([sys.executable, "-c", PROBE, str(ROOT / "train.py"), *words], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("ENDED")]
    assert lines, done.stdout + done.stderr
    return float(lines[0].split()[1]) - start


def test_start(table: Table, tmp_path: Path) -> None:
    files = ROOT / "data" / "MNIST"
    data = ["data=mnist", f"data.root={files.parent}", "data.download=false"] if files.exists() else ["data=synthetic"]
    words = ["experiment=class_flow", *data, f"trainer.accelerator={table.device.type}"]
    taken = [first_step(*words, f"hydra.run.dir={tmp_path / str(round_)}") for round_ in range(table.rounds + 1)][1:]
    name, goal = f"start: train.py experiment=class_flow {data[0]} to the end of step 1", table.goal(cpu=8, cuda=15)
    table.add(name, "", None, None, "", "s", taken, goal, "with Weights & Biases, offline")
