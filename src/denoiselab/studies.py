"""Studies: the samples of `edit=evaluate` measured, as metrics.json and a picture of those misread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denoiselab.edit import Evaluate, Sampler
from denoiselab.evaluation import Evaluator, read_digits
from denoiselab.figures import save_grid
from denoiselab.files import write_atomically
from denoiselab.jobs import image_path, load_image

MISREAD = 60  # of a run, shown at most


def measure(
    edit: Evaluate, sampler: Sampler, directory: Path, evaluator: Evaluator, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Measures the images of a run of `edit=evaluate`, which are all there, and writes metrics.json.

    Args:
        directory: the run directory.
        about: what all rows have in common, e.g. {"model": "class_flow", "epoch": 20}.

    Returns:
        {"rows": a row for each job, its settings and what `Evaluator.measure` says, "floors": those of `Evaluator`}.
    """
    rows, misread = [], []
    for job in edit.jobs(sampler):
        images = torch.stack([load_image(image_path(directory, job.name, n)) for n in range(job.count)])
        labels = _labels([edit.prompts_of(job, n)[0] for n in range(job.count)])
        settings = {name: value for name, value in job.settings.items() if name != "steps"}
        rows.append({**about, **settings, **evaluator.measure(images, labels)})
        if labels is not None:
            misread.append(images[read_digits(evaluator.judge, images) != labels])
    study = {"rows": rows, "floors": evaluator.floors(edit.samples)}
    with write_atomically(directory / "metrics.json") as temporary:
        temporary.write_text(json.dumps(study, indent=1) + "\n")
    shown = torch.cat(misread)[:MISREAD] if misread else torch.empty(0)
    if len(shown):
        title = "samples that the judge reads as another digit"
        save_grid(shown, directory / "figures" / "misread.png", 10, title=title)
    return study


def _labels(prompts: Sequence[str]) -> Tensor | None:
    """The digits asked for, (B,), or None where some image was asked for none."""
    return torch.tensor([int(prompt) for prompt in prompts]) if all(prompts) else None


def read_study(directory: Path) -> dict[str, Any]:
    """metrics.json of a run of `edit=evaluate`."""
    return json.loads((directory / "metrics.json").read_text())  # type: ignore[no-any-return]
