"""Studies: the samples of `edit=evaluate` measured, as metrics.json and a picture of those misread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denoiselab.edit import Evaluate, Sampler
from denoiselab.evaluation import Evaluator, Setting, read_digits
from denoiselab.figures import save_grid
from denoiselab.jobs import image_path, load_image
from denoiselab.runs import save_measured

MISREAD = 60  # of a run, shown at most


def measure(
    edit: Evaluate, sampler: Sampler, directory: Path, evaluator: Evaluator, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Measures the images of a run of `edit=evaluate`, which are all there, and writes metrics.json.

    Where guidance is 0 no digit is asked for, so there is none to be read.

    Args:
        directory: the run directory.
        about: of `Setting`, what all rows have in common; the jobs say the rest.

    Returns:
        {"rows": a row for each job, its settings and what `Evaluator.measure` says, "floors": those of `Evaluator`}.
    """
    rows, misread, jobs = [], [], edit.jobs(sampler)
    asked = _labels([edit.prompts_of(jobs[0], n)[0] for n in range(edit.samples)])
    for job in jobs:
        images = torch.stack([load_image(image_path(directory, job.name, n)) for n in range(job.count)])
        labels = asked if job.settings["guidance_scale"] != 0 else None
        settings = {name: value for name, value in job.settings.items() if name != "steps"}
        rows.append(asdict(Setting(**about, **settings)) | evaluator.measure(images, labels))
        if labels is not None:
            misread.append(images[read_digits(evaluator.judge, images) != labels][: max(1, MISREAD // len(jobs))])
    study = {"rows": rows, "floors": evaluator.floors(edit.samples, balanced=asked is not None)}
    save_measured(directory, study)
    picture = directory / "figures" / "misread.png"
    shown = torch.cat(misread) if misread else torch.empty(0)
    if len(shown):
        save_grid(shown, picture, 10, title="samples that the judge reads as another digit")
    return study


def _labels(prompts: Sequence[str]) -> Tensor | None:
    """The digits asked for, (B,), or None where some image was asked for none."""
    return torch.tensor([int(prompt) for prompt in prompts]) if all(prompts) else None
