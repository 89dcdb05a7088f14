"""What is measured of the images of a run: the samples of `edit=evaluate`, and whether digits are read as asked.

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
from denoiselab.evaluation import (
    VERSION,
    DigitClassifier,
    Evaluator,
    Setting,
    grey,
    levelled,
    load_digits,
    plain_values,
    read_colours,
    read_digits,
    share_interval,
)
from denoiselab.figures import panel, study_figure, study_table
from denoiselab.jobs import image_path, load_image
from denoiselab.runs import last_epoch, read_config, read_measured, recipe, run_place, save_measured

MISREAD, COLUMNS = 60, 10  # of a run, shown at most; to a row


def reference(root: str) -> MNIST:
    """The MNIST in a data folder, which samples are measured against."""
    return MNIST(root, batch_size=1, seed=0, val_size=1)


@cache
def evaluator_of(root: str, device: torch.device) -> Evaluator:
    """The Evaluator of the MNIST in a data folder, made once in a process: the jobs of a sweep share its floors.
    What it finds of the real images alone is kept in the data folder.
    """
    data = reference(root)
    data.setup()
    splits = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    return Evaluator(*splits, device=device, cache=Path(root))


def training_of(node: Mapping[str, Any], backbone: Any) -> tuple[Path, dict[str, Any], int]:
    """The run directory that a backbone of a config node is from, its config, and how many epochs it was trained for.

    Raises OSError or ValueError, as `read_config` does, for a pipeline that lies in no run. A config.yaml beside it may
    still be of something else.
    """
    if "run" in node:
        return Path(node["run"]), backbone.trained, backbone.epoch
    run = Path(node["path"]).parent
    return run, read_config(run), last_epoch(run)


def evaluate(config: Mapping[str, Any], edit: Evaluate, sampler: Sampler, directory: Path) -> dict[str, float]:
    """`measure` of a run of sample.py, its table printed, and figures/quality.png; returns the values as JOB/NAME.

    Of a run that has been measured, by this version, the pictures alone are made anew.
    """
    run, trained, epoch = training_of(config["backbone"], sampler.backbone)
    about = {
        "model": trained["name"],
        "lever": trained["lever"],
        "recipe": recipe(trained),
        "run": run_place(run),
        "training_seed": trained["seed"],
        "epoch": epoch,
        "solver": " ".join(map(str, sampler.solver.values())),
        "seed": sampler.seed,
        "dtype": config["backbone"]["dtype"],
        "guidance_interval": config["guidance_interval"],
        "guidance_rescale": config["guidance_rescale"],
    }
    study = read_measured(directory)
    if study.get("version") != VERSION:
        evaluator = evaluator_of(config["edit"]["data_root"], sampler.backbone.device)
        study = measure(edit, sampler, directory, evaluator, about)
    beside = [read_measured(Path(other)) for other in config["beside"]]
    print(study_table(study, beside))
    study_figure(directory / "figures" / "quality.png", study, beside)
    jobs = zip(edit.jobs(sampler), study["rows"], strict=True)
    return {f"{job.name}/{name}": value for job, row in jobs for name, value in plain_values(row).items()}


def read_as_asked(config: Mapping[str, Any], edit: Edit, sampler: Sampler, directory: Path) -> dict[str, float]:
    """`read_images` of a run of sample.py on a model that was trained here on MNIST's digits, a line for each job;
    returns the shares as JOB/read_as_asked.
    """
    try:
        data = str(training_of(config["backbone"], sampler.backbone)[1]["data"]["_target_"])
    except (OSError, ValueError, KeyError, TypeError):  # a pipeline from elsewhere, whatever lies beside it
        return {}
    if data.rsplit(".")[-1] not in ("MNIST", "ColouredMNIST"):
        return {}
    found = read_images(edit, sampler, directory, load_digits("judge"))
    for job, each in found.items():
        roles = ", ".join(f"{role} {share:.0%}" for role, share in each.get("roles", {}).items())
        print(f"{job}: {each['right']:.0%} of {each['images']} read as asked{f' ({roles})' if roles else ''}")
    return {f"{job}/read_as_asked": each["right"] for job, each in found.items()}


def measure(
    edit: Evaluate, sampler: Sampler, directory: Path, evaluator: Evaluator, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Measures the images of a run of `edit=evaluate`, which are all there, and writes metrics.json.

    Where guidance is 0 no digit is asked for, so there is none to be read.

    Args:
        directory: the run directory.
        about: of `Setting`, what all rows have in common; the jobs say the rest.

    Returns:
        {"rows": a row for each job, its settings and what `Evaluator.measure` says, "floors": those of `Evaluator`, of
        the digits in turn where some job asks for them, "version": of what is measured}.
    """
    rows, jobs = [], edit.jobs(sampler)
    misread: dict[str, Tensor] = {}
    shown_rows = max(1, MISREAD // COLUMNS // len(jobs))
    digits, colours = _asked([edit.prompts_of(jobs[0], n)[0] for n in range(edit.samples)])
    for job in jobs:
        images = torch.stack([load_image(image_path(directory, job.name, n)) for n in range(job.count)])
        shown = grey(images) if images.shape[1] == 3 else images
        guided = job.settings["guidance_scale"] != 0
        settings = {name: value for name, value in job.settings.items() if name != "steps"}
        if guided and digits is not None:
            read = evaluator.read(shown)
            measured = evaluator.measure(shown, digits, read)
            wrong = images[read != digits]
            if len(wrong):
                words = f"{job.label or job.name}: {len(wrong):,} of {job.count:,}"
                misread[words] = wrong[: shown_rows * COLUMNS]
            if images.shape[1] == 3:
                measured["levelled_accuracy"] = share_interval(evaluator.read(levelled(shown)) == digits)
        else:
            measured = evaluator.measure(shown, None)
        if guided and colours is not None:
            measured["colour_accuracy"] = share_interval(read_colours(images) == colours)
        rows.append(asdict(Setting(**about, **settings)) | measured)
    in_turn = digits is not None and any(job.settings["guidance_scale"] != 0 for job in jobs)
    study = {"rows": rows, "floors": evaluator.floors(edit.samples, balanced=in_turn), "version": VERSION}
    if misread:
        _save_misread(misread, directory / "figures" / "misread.png")
    save_measured(directory, study)  # last: it says that the run is measured
    return study


def _save_misread(misread: Mapping[str, Tensor], path: Path) -> None:
    """A grid of samples, rows of COLUMNS for each {label: (N, C, H, W)}; cells that are left over are black."""
    rows, labels = [], []
    for label, images in misread.items():
        for first in range(0, len(images), COLUMNS):
            row = images[first : first + COLUMNS]
            rows.append(torch.cat([row, torch.zeros(COLUMNS - len(row), *row.shape[1:])]))
            labels.append("" if first else label)
    panel(rows, path, row_labels=labels, title="samples that the judge reads as another digit")


def read_images(edit: Edit, sampler: Sampler, directory: Path, judge: DigitClassifier) -> dict[str, dict[str, Any]]:
    """What the judge reads in the images of a run, which are all there, by job, into metrics.json as "read".

    Of each job "images", how many; "right", the share whose pictures are all read as asked for, in digit and, where all
    prompts name one, colour; "roles", the share by role, of a job with several (the views of an anagram). Jobs of which
    not every prompt names one digit are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for job in edit.jobs(sampler):
        asked = [edit.roles_read(job, n) for n in range(job.count)]
        wanted = {role: _asked([each[role] for each in asked]) for role in asked[0]}
        if not wanted or any(digits is None for digits, _ in wanted.values()):
            continue
        right: dict[str, Tensor] = {}
        for role, (digits, colours) in wanted.items():
            assert digits is not None
            pictures = torch.stack([load_image(image_path(directory, job.name, n, role)) for n in range(job.count)])
            right[role] = read_digits(judge, levelled(grey(pictures)) if len(pictures[0]) == 3 else pictures) == digits
            if colours is not None:
                right[role] &= read_colours(pictures) == colours
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
