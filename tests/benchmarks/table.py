"""The table: what was compared, how it went, what was hoped for, and the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from denoiselab.files import write_atomically
from denoiselab.training.trainer import default_precision

T = TypeVar("T")
AT_MOST = ("times as long", "s")  # quantities of which less is better


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: what is done.
        against: what it is compared with; "" for ours alone.
        ours, theirs: how much of it a second, medians over the rounds; of a limit the most.
        unit: of both.
        quantity: what median, low and high are of: "times as fast", "times as long", "share" or "s".
        median, low, high: over the rounds, each of which pairs ours with theirs.
        goal: the median that is hoped for on this device, or None.
        reached: whether it is; None without a goal, without a measurement, or on another machine than it is meant for.
        note: what a reader has to know.
    """

    name: str
    against: str
    ours: float | None
    theirs: float | None
    unit: str
    quantity: str
    median: float
    low: float
    high: float
    goal: float | None
    reached: bool | None
    note: str

    def cells(self) -> list[str]:
        """As the table shows it."""
        ours, theirs = ("" if each is None else f"{each:.4g}" for each in (self.ours, self.theirs))
        spread = f"**{self.median:.3g}** {self.quantity} ({self.low:.3g} to {self.high:.3g})"
        reached = {True: ", reached", False: ", not reached", None: ""}[self.reached]
        goal = "" if self.goal is None else f"{self.goal:g}{reached}"
        return [self.name, self.against, ours, theirs, self.unit, spread, goal]


HEADER = ["", "what", "against", "ours", "reference", "", "median (range)", "goal"]


class Table:
    """Rows are put in one by one, said at once and written as JSON, so that a table which is cut short is there.

    Args:
        device: what is measured.
        rounds: how often each way is timed.
        quick: whether sizes are cut down, so that nothing is measured.
        path: of the JSON.
        say: prints a line.
    """

    def __init__(
        self, device: torch.device, rounds: int, quick: bool, path: Path, say: Callable[[str], None] = print
    ) -> None:
        self.device, self.rounds, self.quick, self.path, self.say = device, rounds, quick, path, say
        self.rows: list[Row] = []
        self.machine = machine(device)
        # Whether the goals are of such a machine.
        self.meant = self.machine["threads"] == 2 if device.type == "cpu" else "H100" in self.machine["device"]

    def size(self, *, cpu: T, cuda: T | None = None, quick: T) -> T:
        """How much is done on this device; on a GPU as on a CPU unless it is said."""
        if self.quick:
            return quick
        return cpu if cuda is None or self.device.type == "cpu" else cuda

    def goal(self, cpu: float, cuda: float) -> float:
        return cpu if self.device.type == "cpu" else cuda

    def compare(
        self,
        name: str,
        against: str,
        seconds: Mapping[str, Sequence[float]],
        ours: str,
        theirs: str,
        count: float,
        goal: float | None = None,
        quantity: str = "times as fast",
        note: str = "",
    ) -> None:
        """The row of two ways that each made, or trained on, `count` images in so many seconds, round by round."""
        pairs = list(zip(seconds[ours], seconds[theirs], strict=True))
        ratios = [b / a if quantity == "times as fast" else a / b for a, b in pairs]
        rates = [count / statistics.median(seconds[way]) for way in (ours, theirs)]
        self.add(name, against, rates[0], rates[1], "images/s", quantity, ratios, goal, note)

    def add(
        self,
        name: str,
        against: str,
        ours: float | None,
        theirs: float | None,
        unit: str,
        quantity: str,
        values: Sequence[float],
        goal: float | None,
        note: str = "",
    ) -> None:
        """The row of values of a quantity, one from each round."""
        median, low, high = statistics.median(values), min(values), max(values)
        reached = None
        if goal is not None and self.meant and not self.quick:
            reached = median <= goal if quantity in AT_MOST else median >= goal
        row = Row(name, against, ours, theirs, unit, quantity, median, low, high, goal, reached, note)
        self.rows.append(row)
        self.say(" | ".join(filter(None, [*row.cells(), row.note])))
        record = {"quick": self.quick, "rounds": self.rounds, "machine": self.machine}
        with write_atomically(self.path) as temporary:
            temporary.write_text(json.dumps(record | {"rows": [asdict(row) for row in self.rows]}, indent=1) + "\n")

    def markdown(self) -> str:
        """The table, its notes, and what it was measured on."""
        numbered = list(enumerate(self.rows, start=1))
        lines = [HEADER, *([str(number), *row.cells()] for number, row in numbered)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
        lines.insert(1, ["-" * width for width in widths])
        shown = [
            f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
        ]
        notes = [f"{number}. {row.note}" for number, row in numbered if row.note]
        how = f"{self.rounds} rounds after one to warm up; " + ", ".join(f"{k} {v}" for k, v in self.machine.items())
        warning = ["NOT A MEASUREMENT: --quick cuts every row down to see that it runs.", ""] if self.quick else []
        return "\n".join([*warning, *shown, "", *notes, "", how])


def machine(device: torch.device) -> dict[str, Any]:
    """What the rows are measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load before": round(os.getloadavg()[0], 2),  # of other work
        "precision of training": default_precision(device.type),
        "float32 convolutions in TF32": device.type == "cuda" and torch.backends.cudnn.allow_tf32,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
