"""What each lever is worth: our training step and our guided step beside the same with one thing left out, or added."""

from __future__ import annotations

from functools import partial

import ours
from table import Table
from timing import Maker, timed


def test_training_levers(table: Table) -> None:
    width, batch, steps = table.size(cpu=(64, 64, 15), cuda=(64, 64, 200), quick=(8, 16, 2))
    sizes = ("class UNet", width, batch, steps, table.device)
    ways: dict[str, Maker] = {
        change: partial(ours.bare_loop, *sizes, change=change) for change in ("", *ours.TRAINING_CHANGES)
    }
    seconds = timed(ways, table.rounds)
    for change in ours.TRAINING_CHANGES:
        name = f"our training step in a bare loop, class UNet, D = {width}, batch {batch}"
        table.compare(name, f"the same {change}", seconds, "", change, batch * steps)


def test_sampling_levers(table: Table) -> None:
    width, count, steps = table.size(cpu=(64, 40, 15), cuda=(64, 40, 300), quick=(8, 10, 2))
    made = {"kind": "class UNet", "width": width, "solver": {"name": "euler"}, "steps": steps, "total": 300}
    made |= {"scale": 5.0, "dtype": "auto"}
    ways: dict[str, Maker] = {
        change: partial(ours.sampling, count, table.device, **made, change=change)
        for change in ("", *ours.SAMPLING_CHANGES)
    }
    seconds = timed(ways, table.rounds)
    for change in ours.SAMPLING_CHANGES:
        name = f"our guided step with backbone.dtype=auto, D = {width}, batch {count}"
        table.compare(name, f"the same {change}", seconds, "", change, count * steps)
