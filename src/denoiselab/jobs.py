"""Jobs: the images of an edit's run, split over ranks and batches, each written as soon as it is made.

A run directory of sample.py holds images/JOB_NUMBER.png, or images/JOB_ROLE_NUMBER.png for what is shown beside a
result, frames/JOB_NUMBER.png (the way to it, one frame under the other), figures/EDIT.png and run.json.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image, to_tensor

from denoiselab.edit import Edit, Evaluate, Sampler
from denoiselab.figures import animation, panel
from denoiselab.figures.grids import to_bytes
from denoiselab.files import write_atomically

FRAMES = 60  # of an animation
ANIMATED = 40  # images of an animation


def image_path(directory: Path, job: str, image: int, role: str = "") -> Path:
    """Where the image of this number is."""
    if role == "frames":
        return directory / "frames" / f"{job}_{image:03d}.png"
    return directory / "images" / f"{'_'.join(filter(None, (job, role)))}_{image:03d}.png"


def save_image(picture: Tensor, path: Path) -> None:
    """Writes (C, H, W) in [0, 1] as an 8-bit PNG, whole or not at all."""
    with write_atomically(path) as temporary:
        to_pil_image(to_bytes(picture)).save(temporary)


def load_image(path: Path) -> Tensor:
    """(C, H, W) in [0, 1] of an image of a run."""
    with Image.open(path) as image:
        return to_tensor(image)


def missing_images(edit: Edit, sampler: Sampler, directory: Path) -> list[tuple[str, int]]:
    """(job, number) of the images that are not there."""
    images = [(job.name, n) for job in edit.jobs(sampler) for n in range(job.count)]
    return [(job, n) for job, n in images if not image_path(directory, job, n).exists()]


@torch.no_grad()
def make_images(
    edit: Edit,
    sampler: Sampler,
    directory: Path,
    images: Sequence[tuple[str, int]] | None = None,
    batch_size: int = 16,
) -> list[str]:
    """Makes images and returns a line for each that failed.

    A failure is said on standard error and does not stop the rest: those that were made with it are made alone.

    Args:
        images: (job, number) of each, a rank's share say; None: all that are missing.
        batch_size: images made at once.
    """
    images = missing_images(edit, sampler, directory) if images is None else images
    failures = []
    for job in edit.jobs(sampler):
        numbers = [number for name, number in images if name == job.name]
        batches = [numbers[first : first + batch_size] for first in range(0, len(numbers), batch_size)]
        while batches:
            batch = batches.pop(0)
            try:
                _write(edit.make(sampler, job, batch), directory, job.name, batch)
                continue
            except Exception as error:
                line, ours = f"{type(error).__name__}: {error}", isinstance(error, ValueError | OSError)
                if len(batch) == 1:
                    failures.append(f"{image_path(directory, job.name, batch[0]).name}: {line}")
                    # Ranks share the stream: line and newline go in one piece.
                    sys.stderr.write(f"failed: {failures[-1]}\n")
                    if not ours:
                        traceback.print_exc()
            if len(batch) > 1:  # outside of the handler, which keeps the failed batch's tensors alive
                batches = [[number] for number in batch] + batches
    return failures


def _write(made: dict[str, Tensor], directory: Path, job: str, images: Sequence[int]) -> None:
    for role in sorted(made, reverse=True):  # the result, "", comes last: where it is, the image is done
        for n, picture in zip(images, made[role], strict=True):
            if role == "frames":
                picture = torch.cat(list(picture[_chosen(len(picture))]), dim=1)  # (C, F H, W)
            save_image(picture, image_path(directory, job, n, role))


def _chosen(frames: int) -> list[int]:
    """At most FRAMES of them, the first and the last among them."""
    shown = min(frames, FRAMES)
    return [round(n * (frames - 1) / max(shown - 1, 1)) for n in range(shown)]


def describe(edit: Edit, sampler: Sampler) -> dict[str, dict[str, Any]]:
    """For every image by file name: its job, number, prompts and the job's settings.

    Samples to be measured are too many for that: for every job their number, the prompts in turn and the settings.
    """
    if isinstance(edit, Evaluate):
        turns = {"prompts": list(edit.prompts)}
        return {job.name: {"count": job.count, **turns, **job.settings} for job in edit.jobs(sampler)}
    return {
        image_path(Path(), job.name, n).name: {
            "job": job.name,
            "index": n,
            "prompts": edit.prompts_of(job, n),
            **job.settings,
        }
        for job in edit.jobs(sampler)
        for n in range(job.count)
    }


def save_figures(edit: Edit, sampler: Sampler, directory: Path, name: str) -> list[Path]:
    """Writes figures/NAME.png, its preview and, where there are frames, NAME.gif; missing images are grey."""

    counts = {job.name: job.count for job in edit.jobs(sampler)}

    def cell(job: str, image: int, role: str) -> Tensor:
        path = image_path(directory, job, image, role)
        if path.exists():
            return load_image(path)
        others = (image_path(directory, job, n, role) for n in range(counts[job]))
        other = next((each for each in others if each.exists()), None)  # an edit's pictures may have a shape of its own
        return torch.full(sampler.backbone.shape if other is None else load_image(other).shape, 0.5)

    figure = edit.figure(sampler, cell)
    path = directory / "figures" / f"{name}.png"
    rows = [torch.stack(row) for row in figure.rows]
    preview = panel(rows, path, row_labels=figure.row_labels, column_labels=figure.column_labels, title=figure.title)
    written = [path, preview]
    moving = [(job.name, n) for job in edit.jobs(sampler) for n in range(job.count)]
    strips = [image_path(directory, job, n, "frames") for job, n in moving]
    strips = [strip for strip in strips if strip.exists()][:ANIMATED]
    if strips:
        side = sampler.backbone.shape[-2]
        films = [load_image(strip).unflatten(1, (-1, side)).transpose(0, 1) for strip in strips]  # (F, C, H, W)
        longest = max(map(len, films))
        films = [torch.cat([film[:1].expand(longest - len(film), -1, -1, -1), film]) for film in films]
        columns = next((width for width in (10, 5) if len(films) % width == 0), min(len(films), 10))
        target = path.with_suffix(".gif")
        scale = max(1, 640 // (columns * side))
        animation(list(torch.stack(films, dim=1)), target, columns, scale=scale)
        written.append(target)
    return written


def save_record(path: Path, record: dict[str, Any]) -> None:
    """Writes run.json."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=False) + "\n")


def source_images(found: Mapping[Path, dict[str, Any]]) -> dict[str, Any]:
    """What `Upscale` takes of another run: its pictures, their prompts, and their views or factors.

    Of an inverse hybrid, whose photo is of the first stage's size, the picture is enlarged for its first prompt.

    Args:
        found: the run's images that were made for prompts, 1 or more, with what its run.json says of each.
    """
    first = next(iter(found.values()))
    combined: dict[str, Any] = {key: first[key] for key in ("views", "reduction", "weights", "factors") if key in first}
    if first.get("held") is not None:
        combined = {}
    prompts = [each["prompts"] if combined else each["prompts"][:1] for each in found.values()]
    pictures = torch.stack([load_image(path) for path in found])
    return {"pictures": pictures, "prompts": prompts, **combined}
