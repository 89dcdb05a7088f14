"""The table: what was compared, how it went, what was hoped for, and the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch

import denoiselab
from denoiselab.files import write_atomically
from denoiselab.training.tracking import git_state
from denoiselab.training.trainer import default_precision

T = TypeVar("T")
AT_MOST = ("times as long", "s")  # quantities of which less is better
PACKAGES = ("torch", "lightning", "wandb", "diffusers", "accelerate", "torchcfm", "denoising-diffusion-pytorch")


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: what is done.
        against: what it is compared with; "" for ours alone.
        ours, theirs: how much of it a second, medians over the rounds; of a limit the most.
        unit: of both.
        quantity: what median, low and high are of: "times as fast", "times as long", "of that rate" or "s".
        values: of the rounds, each of which pairs ours with theirs; a limit is the most of all rounds.
        median, low, high: of them.
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
    values: tuple[float, ...]
    median: float
    low: float
    high: float
    goal: float | None
    reached: bool | None
    note: str

    def cells(self) -> list[str]:
        """As the table shows it."""
        ours, theirs = ("" if each is None else f"{each:.4g}" for each in (self.ours, self.theirs))
        spread = "" if self.low == self.high else f" ({self.low:#.3g} to {self.high:#.3g})"
        reached = {True: ", reached", False: ", not reached", None: ""}[self.reached]
        bound = "at most" if self.quantity in AT_MOST else "at least"
        goal = "" if self.goal is None else f"{bound} {self.goal:g}{reached}"
        measured = f"**{self.median:#.3g}** {self.quantity}{spread}"
        return [self.name, self.against, f"{ours} {self.unit}" if ours else "", theirs, measured, goal]


HEADER = ["", "what", "against", "ours", "reference", "median of the rounds' ratios (range)", "goal"]


class Table:
    """Rows are put in one by one, said at once and written as JSON, so that a table which is cut short is there.

    What is said is a line; the notes are in the JSON and below the whole table.

    Args:
        device: what is measured.
        rounds: how often each way is timed.
        quick: whether sizes are cut down, so that nothing is measured.
        path: of the JSON.
        words: of the command line, which say whether a part of the rows was asked for.
        say: prints a line.
    """

    def __init__(
        self,
        device: torch.device,
        rounds: int,
        quick: bool,
        path: Path,
        words: Sequence[str] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        self.device, self.rounds, self.quick, self.path, self.say = device, rounds, quick, path, say
        self.rows: list[Row] = []
        self.machine = machine(device)
        self.record: dict[str, Any] = {
            "began": f"{datetime.now():%Y-%m-%d %H:%M}",
            "git": git_state(Path(denoiselab.__file__).parent),
            "words": list(words),
            "quick": quick,
            "rounds": rounds,
            "machine": self.machine,
            "packages": packages(),
        }
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
        goal, reached = None if self.quick else goal, None
        if goal is not None and self.meant:
            reached = median <= goal if quantity in AT_MOST else median >= goal
        row = Row(name, against, ours, theirs, unit, quantity, tuple(values), median, low, high, goal, reached, note)
        self.rows.append(row)
        warning = ["no measurement"] if self.quick else []
        self.say(" | ".join(filter(None, [*warning, *row.cells()])))
        with write_atomically(self.path) as temporary:
            rows = {"rows": [asdict(row) for row in self.rows]}
            temporary.write_text(json.dumps(self.record | rows, indent=1) + "\n")

    def markdown(self) -> str:
        """The table, its notes, and what it was measured on."""
        numbered = list(enumerate(self.rows, start=1))
        lines = [HEADER, *([str(number), *row.cells()] for number, row in numbered)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
        lines.insert(1, ["-" * width for width in widths])
        shown = [
            f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
        ]
        noted: dict[str, list[str]] = {}
        for number, row in numbered:
            noted.setdefault(row.note, []).append(str(number))
        notes = [f"{', '.join(numbers)}: {note}" for note, numbers in noted.items() if note]
        described = ", ".join(f"{key} {value}" for key, value in (self.machine | self.record["packages"]).items())
        how = f"rounds after one to warm up: {self.rounds}; {described}"
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
        "python": platform.python_version(),
    }


def packages() -> dict[str, str]:
    """Versions of what is timed, of ours and of peers, as far as they are installed."""
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions | {"torch": torch.__version__}  # with its build


def _processor() -> str:
    """Its name, family and model, as a virtual machine's name may say little."""
    cpuinfo = Path("/proc/cpuinfo")
    first = cpuinfo.read_text().split("\n\n")[0] if cpuinfo.exists() else ""
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    if "model name" not in said:
        return platform.processor()
    return f"{said['model name']} (family {said.get('cpu family', '?')}, model {said.get('model', '?')})"
