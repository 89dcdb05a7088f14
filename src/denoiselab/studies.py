"""Studies: the samples of `edit=evaluate` measured, as metrics.json and a picture of those misread.

Coloured digits are measured as grey ones, and whether their colour is as asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denoiselab.data.words import COLOURS, digit_and_colour
from denoiselab.edit import Evaluate, Sampler
from denoiselab.evaluation import Evaluator, Setting, grey, mean_interval, read_colours, read_digits
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
    digits, colours = _asked([edit.prompts_of(jobs[0], n)[0] for n in range(edit.samples)])
    for job in jobs:
        images = torch.stack([load_image(image_path(directory, job.name, n)) for n in range(job.count)])
        shown = grey(images) if images.shape[1] == 3 else images
        guided = job.settings["guidance_scale"] != 0
        settings = {name: value for name, value in job.settings.items() if name != "steps"}
        measured = evaluator.measure(shown, digits if guided else None)
        if guided and colours is not None:
            right = (read_colours(images) == colours).double()
            measured["colour_accuracy"] = mean_interval(right, evaluator.seed)
        rows.append(asdict(Setting(**about, **settings)) | measured)
        if guided and digits is not None:
            misread.append(images[read_digits(evaluator.judge, shown) != digits][: max(1, MISREAD // len(jobs))])
    study = {"rows": rows, "floors": evaluator.floors(edit.samples, balanced=digits is not None)}
    save_measured(directory, study)
    picture = directory / "figures" / "misread.png"
    wrong = torch.cat(misread) if misread else torch.empty(0)
    if len(wrong):
        save_grid(wrong, picture, 10, title="samples that the judge reads as another digit")
    return study


def _asked(prompts: Sequence[str]) -> tuple[Tensor | None, Tensor | None]:
    """The digits and the numbers of the colours asked for, each (B,), or None where some image was asked for none."""
    asked = [digit_and_colour(prompt) for prompt in prompts]
    digits = [digit for digit, _ in asked if digit is not None]
    colours = [list(COLOURS).index(colour) for _, colour in asked if colour is not None]
    return (
        torch.tensor(digits) if len(digits) == len(asked) else None,
        torch.tensor(colours) if len(colours) == len(asked) else None,
    )
