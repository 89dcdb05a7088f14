"""Studies: the samples of `edit=evaluate` measured, as metrics.json and a picture of those misread.

Coloured digits are measured as grey ones, and whether their colour is as asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denoiselab.data import MNIST
from denoiselab.data.words import COLOURS, digit_and_colour
from denoiselab.edit import Edit, Evaluate, Sampler
from denoiselab.evaluation import DigitClassifier, Evaluator, Setting, grey, mean_interval, read_colours, read_digits
from denoiselab.figures import save_grid
from denoiselab.jobs import image_path, load_image
from denoiselab.runs import save_measured

MISREAD = 60  # of a run, shown at most


def reference(root: str) -> MNIST:
    """The MNIST in a data folder, which samples are measured against."""
    return MNIST(root, batch_size=1, seed=0, val_size=1)


@cache
def evaluator_of(root: str, device: torch.device) -> Evaluator:
    """The Evaluator of the MNIST in a data folder, made once in a process: the jobs of a sweep share its floors."""
    data = reference(root)
    data.setup()
    return Evaluator(data.train_images, data.train_labels, data.test_images, data.test_labels, device=device)


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


def read_images(edit: Edit, sampler: Sampler, directory: Path, judge: DigitClassifier) -> dict[str, dict[str, Any]]:
    """What the judge reads in the images of a run, which are all there, by job, into metrics.json as "read".

    Of each job "images", how many; "right", the share whose pictures are all read as asked for; "roles", the share by
    role, of a job with several (the views of an anagram). Jobs of which not every prompt names one digit are left out,
    and so is the colour, where prompts name one.
    """
    found: dict[str, dict[str, Any]] = {}
    for job in edit.jobs(sampler):
        asked = [edit.roles_read(job, n) for n in range(job.count)]
        digits = {role: _asked([each[role] for each in asked])[0] for role in asked[0]}
        if not digits or any(each is None for each in digits.values()):
            continue
        right = {}
        for role, wanted in digits.items():
            pictures = torch.stack([load_image(image_path(directory, job.name, n, role)) for n in range(job.count)])
            right[role] = read_digits(judge, grey(pictures) if pictures.shape[1] == 3 else pictures) == wanted
        together = torch.stack(list(right.values())).all(0)
        found[job.name] = {"images": job.count, "right": float(together.double().mean())}
        if len(right) > 1:
            found[job.name]["roles"] = {role: float(each.double().mean()) for role, each in right.items()}
    if found:
        save_measured(directory, {"read": found})
    return found


def _asked(prompts: Sequence[str]) -> tuple[Tensor | None, Tensor | None]:
    """The digits and the numbers of the colours asked for, each (B,), or None where some image was asked for none."""
    asked = [digit_and_colour(prompt) for prompt in prompts]
    digits = [digit for digit, _ in asked if digit is not None]
    colours = [list(COLOURS).index(colour) for _, colour in asked if colour is not None]
    return (
        torch.tensor(digits) if len(digits) == len(asked) else None,
        torch.tensor(colours) if len(colours) == len(asked) else None,
    )
