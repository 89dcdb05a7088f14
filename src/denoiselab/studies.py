"""Studies: the samples of `edit=evaluate` measured, and the measures of a sweep's runs in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denoiselab.edit import Evaluate, Sampler
from denoiselab.evaluation import Evaluator, read_digits
from denoiselab.figures import save_grid, study_figure, study_table
from denoiselab.jobs import image_path, load_image
from denoiselab.runs import read_measured, save_measured

MISREAD = 60  # of a run, shown at most


def measure(
    edit: Evaluate, sampler: Sampler, directory: Path, evaluator: Evaluator, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Measures the images of a run of `edit=evaluate`, which are all there, and writes metrics.json.

    Where guidance is 0 no digit is asked for, so there is none to be read.

    Args:
        directory: the run directory.
        about: what all rows have in common, e.g. {"model": "class_flow", "epoch": 20}.

    Returns:
        {"rows": a row for each job, its settings and what `Evaluator.measure` says, "floors": those of `Evaluator`}.
    """
    rows, misread, jobs = [], [], edit.jobs(sampler)
    asked = _labels([edit.prompts_of(jobs[0], n)[0] for n in range(edit.samples)])
    for job in jobs:
        images = torch.stack([load_image(image_path(directory, job.name, n)) for n in range(job.count)])
        labels = asked if job.settings["guidance_scale"] != 0 else None
        settings = {name: value for name, value in job.settings.items() if name != "steps"}
        rows.append({**about, **settings, **evaluator.measure(images, labels)})
        if labels is not None:
            misread.append(images[read_digits(evaluator.judge, images) != labels][: max(1, MISREAD // len(jobs))])
    study = {"rows": rows, "floors": evaluator.floors(edit.samples, balanced=asked is not None)}
    save_measured(directory, study)
    picture = directory / "figures" / "misread.png"
    shown = torch.cat(misread) if misread else torch.empty(0)
    if len(shown):
        save_grid(shown, picture, 10, title="samples that the judge reads as another digit")
    return study


def save_study(sweep: Path) -> None:
    """Draws what the runs of a sweep have measured so far into its quality.png, and prints the table; or does nothing.

    Runs of several seeds are one point, see `study_figure`; the floors are those of the first.
    """
    jobs = sorted(sweep.iterdir(), key=lambda job: (len(job.name), job.name))
    studies = [study for study in map(read_measured, jobs) if "rows" in study]
    if studies:
        together = {"rows": [row for study in studies for row in study["rows"]], "floors": studies[0]["floors"]}
        study_figure(sweep / "quality.png", together)
        print(f"{study_table(together)}\nstudy: {sweep / 'quality.png'}")


def _labels(prompts: Sequence[str]) -> Tensor | None:
    """The digits asked for, (B,), or None where some image was asked for none."""
    return torch.tensor([int(prompt) for prompt in prompts]) if all(prompts) else None
