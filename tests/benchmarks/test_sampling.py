"""Guided sampling of the class UNet against a notebook's loop: the same steps, and the steps that do as well."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import ours
import references
import yaml
from table import Table
from timing import Maker, timed
from workload import EULER, SCALE, digits, network, noise

COMPARED = 10  # pictures whose pixels are compared, after all steps
EXPERIMENT = Path(__file__).parents[2] / "conf" / "experiment" / "class_flow_best.yaml"


def test_grid(table: Table) -> None:
    width, count, steps = table.size(cpu=(64, 40, 15), cuda=(64, 40, EULER), quick=(8, 10, 2))
    dtypes = {"sample.py": "fp32", "sample.py with backbone.dtype=auto": "auto", "train.py": None}
    made = {"kind": "class UNet", "width": width, "solver": {"name": "euler"}, "steps": steps, "total": EULER}
    settings = {way: {**made, "scale": SCALE, "dtype": dtype} for way, dtype in dtypes.items()}
    ways: dict[str, Maker] = {way: partial(ours.sampling, count, table.device, **settings[way]) for way in settings}
    ways["reference"] = partial(references.sampling, width, count, table.device, steps, EULER, SCALE)
    seconds = timed(ways, table.rounds)
    x = noise(COMPARED, table.device)
    net = network("class UNet", width).to(table.device).eval()
    plain = references.guided_euler(net, x, digits(COMPARED, table.device), EULER, EULER, SCALE).cpu()
    for way in settings:
        whole: dict[str, Any] = {**settings[way], "steps": EULER}
        mine = ours.sampler(device=table.device, **whole)(x)
        difference, largest = float((mine - plain).abs().max()), float(plain.abs().max())
        note = f"after {EULER} steps pixels differ by at most {difference:.1e}, the largest is {largest:.1f}"
        note += "" if steps == EULER else f"; timed on {steps} of the {EULER} steps, which are all alike"
        name = f"guided grid of {count}, {EULER} Euler steps, D = {width}, in one batch, as {way} computes it"
        goal = table.goal(cpu=4, cuda=10)
        images = count * steps / EULER
        table.compare(name, "eager fp32, two calls a step", seconds, way, "reference", images, goal, note=note)


def test_equal_quality(table: Table) -> None:
    # On a CPU the reference is faster in small batches (0.38 against 0.27 images/s), ours in large ones.
    width, count, theirs, steps = table.size(cpu=(64, 200, 40, 15), cuda=(64, 1000, 1000, 50), quick=(8, 20, 10, 2))
    chosen = yaml.safe_load(EXPERIMENT.read_text())["callbacks"]["samples"]
    evaluations, scale = chosen["steps"], chosen["guidance_scale"]
    made = {"kind": "class UNet", "width": width, "solver": {"name": "dpmpp"}, "steps": evaluations}
    made |= {"total": evaluations, "scale": scale, "prediction": "x_0"}
    dtypes = {"sample.py": "fp32", "sample.py with backbone.dtype=auto": "auto"}
    ways: dict[str, Maker] = {
        way: partial(ours.sampling, count, table.device, **made, dtype=dtype) for way, dtype in dtypes.items()
    }
    ways["reference"] = partial(references.sampling, width, theirs, table.device, steps, EULER, SCALE)
    seconds = timed(ways, table.rounds)
    seconds["reference"] = [taken * EULER / steps * count / theirs for taken in seconds["reference"]]
    name = f"guided 10,000 images in batches of {count}, class_flow_best's DPM-Solver++ in {evaluations} evaluations"
    note = (
        f"rates of one batch, the reference's of {theirs}; its time is {EULER / steps:g} "
        f"times that of {steps} steps, which are all alike; other pictures: for how good they are see Measured quality "
        "in the README"
    )
    goal, against = table.goal(cpu=40, cuda=100), f"eager fp32, {EULER} Euler steps of two calls"
    for way in dtypes:
        table.compare(f"{name}, as {way} computes it", against, seconds, way, "reference", count, goal, note=note)
