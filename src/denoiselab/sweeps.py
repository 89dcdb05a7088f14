"""What the runs of a sweep have measured, in one picture."""

from __future__ import annotations

import sys
from pathlib import Path

from filelock import FileLock

from denoiselab.figures import study_figure, study_table
from denoiselab.files import write_atomically
from denoiselab.runs import read_measured


def draw_sweep(directory: Path) -> None:
    """Draws what a sweep's runs have measured so far into DIR/quality.png, with the table in DIR/quality.txt.

    Does nothing where they have measured nothing. Jobs that end together take turns, so the last one sees all. A file
    that cannot be read is a warning: the sweep goes on.
    """
    try:
        with FileLock(directory / ".quality.lock"):
            # Jobs in their order, which their names are numbers for: 2 before 10.
            runs = sorted(
                (path.parent for path in directory.rglob("metrics.json")), key=lambda run: (len(run.name), run)
            )
            studies = [study for study in map(read_measured, runs) if "rows" in study]
            if not studies:
                return
            study_figure(directory / "quality.png", studies[0], studies[1:])
            with write_atomically(directory / "quality.txt") as temporary:
                temporary.write_text(study_table(studies[0], studies[1:]) + "\n")
            print(f"study: {directory / 'quality.png'}")
    except (OSError, ValueError) as error:
        print(f"warning: no picture of the sweep: {error}", file=sys.stderr)
