"""Iterative denoising of a noisy photo with the model's own solver (A1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from denoiselab.denoise import Estimate
from denoiselab.edit.edit import Cells, Edit, Figure, Job, Sampler, repeated
from denoiselab.edit.filters import gaussian_blur
from denoiselab.edit.times import check_start


@dataclass(kw_only=True)
class Iterative(Edit):
    """Iterative denoising of a noisy photo, beside one step and a blur (A1.4).

    Args:
        image: the photo, (C, H, W) in [0, 1].
        start: the position in the list of times where the photo is put, noised to that level.
        every: of the way, every so many steps are shown.
        prompt: the model's condition.
        guidance_scale: of it; 1 is none.
        sigma: of the blur it is compared with, in pixels of a 64 px picture.
    """

    image: Tensor
    start: int = 10
    every: int = 5
    prompt: str = ""
    guidance_scale: float = 1.0
    sigma: float = 2.0

    def shown(self, sampler: Sampler) -> list[int]:
        """The positions in the list of times that are shown on the way."""
        return list(range(self.start, len(sampler.times), self.every))

    def role(self, sampler: Sampler, position: int) -> str:
        return f"t{sampler.times[position]:03d}"

    def jobs(self, sampler: Sampler) -> list[Job]:
        check_start(self.start, sampler.times, "edit.start")
        return [Job("iterative", 1, "iterative", {"start": self.start, "t": sampler.times[self.start]})]

    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        x = sampler.noised(self.image, sampler.times[self.start], images)
        denoiser, condition = sampler.plain(self.guidance_scale, [self.prompt] * len(images))
        times = sampler.path_times(sampler.times)[self.start :]
        pictures = sampler.backbone.pictures
        one_step = denoiser(x, times[0], condition).x_0
        way = {self.role(sampler, self.start): pictures(x).cpu()}

        def keep(step: int, s: Tensor, x: Tensor, estimate: Estimate) -> None:
            if self.start + step in self.shown(sampler):
                way[self.role(sampler, self.start + step)] = pictures(x).cpu()

        made = sampler.run(denoiser, x, images, condition, times, callback=keep, label="iterative")
        return {
            **made,
            **way,
            "one_step": pictures(one_step).cpu(),
            "blur": pictures(gaussian_blur(x, self.sigma)).cpu(),
            "original": repeated(self.image, len(images))[""],
        }

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        way = [cell("iterative", 0, self.role(sampler, position)) for position in self.shown(sampler)]
        compared = ["original", "", "one_step", "blur"]
        rows = [way, [cell("iterative", 0, role) for role in compared]]
        empty = torch.zeros_like(rows[0][0])
        width = max(map(len, rows))
        rows = [row + [empty] * (width - len(row)) for row in rows]
        labels = ["trajectory: t = " + ", ".join(str(sampler.times[i]) for i in self.shown(sampler))]
        labels.append("original, iterative, one step, blur")
        return Figure(rows, labels, title=f"iterative denoising from t = {sampler.times[self.start]}")

    def prompts_of(self, job: Job, image: int) -> list[str]:
        return [self.prompt]
