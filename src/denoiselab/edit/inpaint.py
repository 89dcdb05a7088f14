"""Inpainting: part of a photo is made anew, the rest is kept (A1.7.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from denoiselab.edit.edit import Cells, Edit, Figure, Job, Sampler, repeated
from denoiselab.edit.hold import HoldPhoto
from denoiselab.edit.times import resampled


@dataclass(kw_only=True)
class Inpaint(Edit):
    """RePaint (Lugmayr et al. 2022): after every step the known pixels are the photo's, noised to the step's level.

    Args:
        image: the photo, (C, H, W) in [0, 1].
        mask: (1, H, W), 1 where pixels are made new, 0 where the photo is kept.
        prompts: what is made, a picture each; "" is no prompt.
        count: results for each prompt.
        guidance_scale: of classifier-free guidance; None: the backbone's usual one.
        jump: length of RePaint's jumps back, in steps.
        resamples: how often each stretch of `jump` steps is done; 1: no jumps, as in the course; RePaint: 10.
    """

    image: Tensor
    mask: Tensor
    prompts: Sequence[str]
    count: int = 1
    guidance_scale: float | None = None
    jump: int = 10
    resamples: int = 1

    def jobs(self, sampler: Sampler) -> list[Job]:
        if self.jump < 1 or self.resamples < 1:
            raise ValueError(f"edit.jump={self.jump}, edit.resamples={self.resamples}: allowed are 1 or more")
        if self.resamples > 1 and sampler.solver["name"] == "dpmpp":
            raise ValueError("solver=dpmpp: allowed with edit.resamples > 1 is a solver without memory, ddpm say")
        settings = {"guidance_scale": sampler.scale(self.guidance_scale), "resamples": self.resamples}
        return [Job("given", 1, given=True), Job("inpainted", len(self.prompts) * self.count, settings=settings)]

    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        new = self.mask.bool()
        if job.given:
            shown = {"": self.image, "mask": self.mask.expand_as(self.image), "to_replace": self.image * new}
            return {role: repeated(picture, len(images))[""] for role, picture in shown.items()}
        backbone = sampler.backbone
        new = new.to(backbone.device)
        photo = sampler.photo(self.image, len(images))  # (B, C, H, W)

        def blend(made: Tensor, known: Tensor) -> Tensor:
            return torch.where(new, made, known)

        hold = HoldPhoto(backbone.denoiser.path, photo, blend, sampler.noise(images, "known"))
        denoiser, condition = sampler.plain(self.guidance_scale, self.first_prompts(job, images))
        times = sampler.path_times(sampler.times)
        times = times[resampled(len(times) - 1, self.jump, self.resamples)]
        x = hold(sampler.start(images), times[0])
        return sampler.run(denoiser, x, images, condition, times, hold, label=job.name)

    def prompts_of(self, job: Job, image: int) -> list[str]:
        return [] if job.given else [self.prompts[image % len(self.prompts)]]

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        width = len(self.prompts)
        given = [cell("given", 0, role) for role in ("", "mask", "to_replace")]
        rows = [[*given, *(cell("inpainted", row * width + n, "") for n in range(width))] for row in range(self.count)]
        words = [prompt or "result" for prompt in self.prompts]
        return Figure(rows, column_labels=["photo", "mask (white: new)", "to replace", *words], title="inpainting")
