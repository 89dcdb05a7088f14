"""What each lever is worth: our training step and our guided step beside the same without it, or compiled."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from shutil import which
from typing import Any

import ours
import pytest
from table import Table
from timing import Maker, timed
from torch import Tensor
from workload import EULER, SCALE, noise


def test_step(table: Table) -> None:
    width, batch, steps = table.size(cpu=(64, 64, 15), cuda=(64, 64, 200), quick=(8, 16, 2))
    sizes = ("class UNet", width, batch, steps, table.device)
    changes = [change for change, on in ours.TRAINING_CHANGES.items() if on in (None, table.device.type)]
    ways: dict[str, Maker] = {change: partial(ours.bare_loop, *sizes, change=change) for change in ("", *changes)}
    seconds = timed(ways, table.rounds)
    for change in changes:
        name = f"our training step in a bare loop, class UNet, D = {width}, batch {batch}"
        note = ours.differences("class UNet", width, batch, table.device) if change == "in float32" else ""
        table.compare(name, f"the same {change}", seconds, "", change, batch * steps, note=note)


def guided(table: Table) -> tuple[str, float, dict[str, Any]]:
    """The guided step with backbone.dtype=auto: its name, the pictures that its steps make, `ours.sampling`'s settings.

    A picture takes the grid's 300 of them.
    """
    width, count, steps = table.size(cpu=(64, 40, 15), cuda=(64, 40, EULER), quick=(8, 10, 2))
    made = {"kind": "class UNet", "width": width, "solver": {"name": "euler"}, "steps": steps, "total": EULER}
    made |= {"count": count, "device": table.device, "scale": SCALE, "dtype": "auto"}
    return f"our guided step with backbone.dtype=auto, D = {width}, batch {count}", count * steps / EULER, made


def test_guided(table: Table) -> None:
    name, images, made = guided(table)
    ways: dict[str, Maker] = {
        change: partial(ours.sampling, **made, change=change) for change in ("", *ours.SAMPLING_CHANGES)
    }
    seconds = timed(ways, table.rounds)
    plain = pixels(made)
    for change in ours.SAMPLING_CHANGES:
        note = differing(made, plain, pixels(made, change=change))
        table.compare(name, f"the same {change}", seconds, "", change, images, note=note)


def pixels(made: dict[str, Any], **changed: Any) -> Tensor:
    """Of the steps that are timed, of the same noise at every call."""
    settings = {name: value for name, value in made.items() if name != "count"}
    return ours.sampler(**settings, **changed)(noise(made["count"], made["device"]))


def differing(made: dict[str, Any], a: Tensor, b: Tensor) -> str:
    return f"after {made['steps']} steps pixels differ by at most {float((a - b).abs().max()):.1e}"


def test_compiled(table: Table, tmp_path: Path) -> None:
    if table.device.type == "cpu" and not (which("g++") or which("clang++")):
        pytest.skip("torch.compile has no C++ compiler here")
    width, batch, steps = table.size(cpu=(64, 64, 30), cuda=(64, 64, 200), quick=(8, 16, 2))
    sizes = ("class UNet", width, batch, steps, table.device)
    ways: dict[str, Maker] = {
        "compiled": partial(ours.trainer, *sizes, tmp_path / "compiled", compiled=True),
        "ours": partial(ours.trainer, *sizes, tmp_path / "ours"),
    }
    name = f"training, class UNet, D = {width}, batch {batch}, trainer.compile=true"
    seconds = timed(ways, table.rounds)
    note = "compiled: " + ours.differences("class UNet", width, batch, table.device, compiled=True)
    table.compare(name, "the same uncompiled", seconds, "compiled", "ours", batch * steps, note=note)

    name, images, made = guided(table)
    ways = {
        "compiled": partial(ours.sampling, **made, compiled=True),
        "ours": partial(ours.sampling, **made),
    }
    seconds = timed(ways, table.rounds)
    note = differing(made, pixels(made), pixels(made, compiled=True))
    table.compare(f"{name}, compiled", "the same uncompiled", seconds, "compiled", "ours", images, note=note)
