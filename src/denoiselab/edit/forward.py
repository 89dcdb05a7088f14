"""The forward process on a photo, and its undoing by a blur or by one call of a model (A1.1 - A1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from denoiselab.edit.edit import Cells, Edit, Figure, Job, Sampler, repeated
from denoiselab.edit.filters import gaussian_blur
from denoiselab.edit.times import INDICES


@dataclass(kw_only=True)
class Forward(Edit):
    """Noisy pictures x_t = alpha_t x_0 + sigma_t eps (A1.1).

    Args:
        image: the photo, (C, H, W) in [0, 1].
        t: the levels of noise, indices 0 to 999.
    """

    network = False
    image: Tensor
    t: Sequence[int] = (250, 500, 750)

    def jobs(self, sampler: Sampler) -> list[Job]:
        for t in self.t:
            if not 0 <= t < INDICES:
                raise ValueError(f"edit.t={t}: allowed is 0 to {INDICES - 1}")
        return [Job("original", 1, "original", given=True), *(Job(f"t{t}", 1, f"t = {t}", {"t": t}) for t in self.t)]

    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        if job.given:
            return repeated(self.image, len(images))
        return self.restored(sampler, sampler.noised(self.image, job.settings["t"], images), job.settings["t"])

    def restored(self, sampler: Sampler, x_t: Tensor, t: int) -> dict[str, Tensor]:
        """By role, what is shown of x_t (B, C, H, W), the model's pixels at index t."""
        return {"": sampler.backbone.pictures(x_t).cpu()}

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        jobs = self.jobs(sampler)
        row = [cell(job.name, 0, "") for job in jobs]
        return Figure([row], column_labels=[job.label for job in jobs], title="forward process")


@dataclass(kw_only=True)
class Restored(Forward):
    """Noisy pictures with what a method makes of each, one under the other."""

    method = ""

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        given, *jobs = self.jobs(sampler)
        original = cell(given.name, 0, "")
        noisy, restored = ([cell(job.name, 0, role) for job in jobs] for role in ("noisy", ""))
        rows = [[original, *noisy], [torch.zeros_like(original), *restored]]
        labels = [job.label for job in (given, *jobs)]
        return Figure(rows, ["noisy", self.method], labels, title=f"{self.method} of noisy pictures")


@dataclass(kw_only=True)
class Blur(Restored):
    """Classical denoising by a Gaussian blur (A1.2).

    Args:
        sigma: of the Gaussian, in pixels of a 64 px picture.
    """

    sigma: float = 2.0
    method = "Gaussian blur"

    def restored(self, sampler: Sampler, x_t: Tensor, t: int) -> dict[str, Tensor]:
        pictures = sampler.backbone.pictures
        return {"": pictures(gaussian_blur(x_t, self.sigma)).cpu(), "noisy": pictures(x_t).cpu()}


@dataclass(kw_only=True)
class OneStep(Restored):
    """The clean estimate from one evaluation of the model (A1.3).

    Args:
        prompt: the model's condition.
        guidance_scale: of it; 1 is none.
    """

    network = True
    prompt: str = ""
    guidance_scale: float = 1.0
    method = "one-step estimate"

    def restored(self, sampler: Sampler, x_t: Tensor, t: int) -> dict[str, Tensor]:
        denoiser, condition = sampler.plain(self.guidance_scale, [self.prompt] * len(x_t))
        estimate = denoiser(x_t, sampler.time(t), condition)
        pictures = sampler.backbone.pictures
        return {"": pictures(estimate.x_0).cpu(), "noisy": pictures(x_t).cpu()}

    def prompts_of(self, job: Job, image: int) -> list[str]:
        return [] if job.given else [self.prompt]
