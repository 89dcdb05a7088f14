"""Training: against a notebook's loop, against our own step in a bare loop, and against the hardware."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path

import ours
import pytest
import references
from table import Table
from timing import Maker, timed


@pytest.mark.parametrize("kind", ["class UNet", "denoiser"])
def test_training(kind: str, table: Table, tmp_path: Path) -> None:
    if kind == "class UNet":
        width, batch, steps = table.size(cpu=(64, 64, 30), cuda=(64, 64, 200), quick=(8, 16, 2))
    else:
        width, batch, steps = table.size(cpu=(128, 256, 3), cuda=(128, 256, 30), quick=(8, 16, 2))
    sizes = (kind, width, batch, steps, table.device)
    ways: dict[str, Maker] = {
        "reference": partial(references.training, *sizes),
        "ours": partial(ours.trainer_beside_limit, *sizes, tmp_path),
    }
    if kind == "class UNet":
        ways["bare"] = partial(ours.bare_loop, *sizes)
    seconds = timed(ways, table.rounds)
    name, count = f"training, {kind}, D = {width}, batch {batch}", batch * steps
    goal = table.goal(cpu=3.5, cuda=10) if kind == "class UNet" else table.goal(cpu=3, cuda=4)
    note = ours.differences(kind, width, batch, table.device)
    table.compare(name, "eager fp32 loop of a notebook", seconds, "ours", "reference", count, goal, note=note)
    if kind == "class UNet":
        goal, against = table.goal(cpu=1.05, cuda=1.1), "our step in a bare loop"
        table.compare(name, against, seconds, "ours", "bare", count, goal, "times as long")

    flops = steps * ours.training_flops(kind, width, batch)
    limit = max(seconds["limit"])  # what other work on the machine took of it is not the hardware's
    shares = [flops / taken / limit for taken in seconds["ours"]]
    rate, limit = flops / statistics.median(seconds["ours"]) / 1e12, limit / 1e12
    goal, note = table.goal(cpu=0.75, cuda=0.3), f"{flops / count / 1e9:.3g} GFLOP an image, counted"
    table.add(name, "the rate of large matrix products", rate, limit, "TFLOP/s", "of that rate", shares, goal, note)
