"""Stage II: pictures of a first stage, four times as large (A2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from denoiselab.denoise import Upscaler
from denoiselab.edit.combine import Beside, Combine
from denoiselab.edit.edit import Cells, Edit, Figure, Job, Sampler
from denoiselab.edit.views import View, make_view


@dataclass(kw_only=True)
class Upscale(Edit):
    """Super-resolution of pictures; those of an anagram under its views, so that each stays what it shows.

    Args:
        pictures: (N, C, h, w) in [0, 1].
        prompts: V of each picture, N lists; what each view shows.
        views: V, as in `Anagram`.
        guidance_scale: of classifier-free guidance; None: the backbone's usual one.
    """

    pictures: Tensor
    prompts: Sequence[Sequence[str]]
    views: Sequence[Any] = ("identity",)
    guidance_scale: float | None = None

    def jobs(self, sampler: Sampler) -> list[Job]:
        if not isinstance(sampler.backbone, Upscaler):
            raise ValueError(
                f"edit=upscale: allowed is a backbone with a second stage, {sampler.backbone.name} has none"
            )
        small = sampler.backbone.shape[-1] // sampler.backbone.scale
        if self.pictures.shape[-2:] != (small, small):
            size = "x".join(map(str, self.pictures.shape[-2:]))
            raise ValueError(f"edit.run: pictures of {size}; allowed are {small}x{small}, the first stage's")
        settings = {
            "guidance_scale": sampler.scale(self.guidance_scale),
            "noise_level": sampler.backbone.noise_level,
            "views": [*self.views],
        }
        return [Job("small", len(self.pictures)), Job("upscaled", len(self.pictures), settings=settings)]

    def made_views(self, sampler: Sampler) -> list[View]:
        """The views at the second stage's size."""
        return [make_view(view, sampler.backbone.shape[-1]) for view in self.views]

    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        pictures, backbone = self.pictures[list(images)], sampler.backbone
        if job.name == "small":
            return {"": pictures.cpu()}
        assert isinstance(backbone, Upscaler)
        prompts = [self.prompts_of(job, image) for image in images]
        x = sampler.start(images)
        context = backbone.context(pictures.to(backbone.device), sampler.noise(images, "context")(x))
        views = self.made_views(sampler)
        weight = 1 / len(views)
        guided = sampler.guided(self.guidance_scale, prompts)
        denoiser = Combine(guided, views, [lambda eps: weight * eps] * len(views), grey=(1 + backbone.low) / 2)
        whole = sampler.thresholded(Beside(denoiser, context))
        made = sampler.run(whole, x, images, sampler.condition(prompts), label=job.name)
        made.pop("frames", None)  # sixteen times as large as the first stage's, and little happens in them
        return made

    def prompts_of(self, job: Job, image: int) -> list[str]:
        return [*self.prompts[image]] if job.name == "upscaled" else []

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        scale = sampler.backbone.shape[-1] // self.pictures.shape[-1]
        numbers = range(len(self.pictures))
        enlarged = [cell("small", n, "").repeat_interleave(scale, -1).repeat_interleave(scale, -2) for n in numbers]
        large = [cell("upscaled", n, "") for n in numbers]
        rows = [enlarged, large]
        labels = [f"{side} px" for side in (self.pictures.shape[-1], sampler.backbone.shape[-1])]
        for name, view in zip(self.views, self.made_views(sampler), strict=True):
            if name != "identity":
                rows.append([view.displayed(picture.unsqueeze(0))[0] for picture in large])
                labels.append(view.name.replace("_", " "))
        return Figure(rows, labels, title="second stage")
