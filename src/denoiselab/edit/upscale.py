"""Stage II: pictures of a first stage, larger (A2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from denoiselab.denoise import Beside, Denoiser, Upscaler
from denoiselab.edit.combine import Combine, combined_views
from denoiselab.edit.edit import Cells, Edit, Figure, Job, Sampler
from denoiselab.edit.filters import make_factors
from denoiselab.edit.names import check_anagram, check_hybrid, check_view
from denoiselab.edit.views import View, make_view


@dataclass(kw_only=True)
class Upscale(Edit):
    """Super-resolution of pictures. Those of an anagram or a hybrid are made as they were: under the same views or of
    the same factors, so that each stays what it shows.

    Args:
        pictures: (N, C, h, w) in [0, 1].
        prompts: of each picture, N lists: a prompt for each view or factor.
        views, reduction, weights: as in `Anagram`.
        factors: as in `Hybrid`, or None: the views count.
        guidance_scale: of classifier-free guidance; None: the backbone's usual one.
    """

    pictures: Tensor
    prompts: Sequence[Sequence[str]]
    views: Sequence[Any] = ("identity",)
    reduction: str = "mean"
    weights: Sequence[float] | None = None
    factors: Any = None
    guidance_scale: float | None = None

    def jobs(self, sampler: Sampler) -> list[Job]:
        backbone = sampler.backbone
        if not isinstance(backbone, Upscaler):
            raise ValueError(f"edit=upscale: allowed is a backbone with a second stage, {backbone.name} has none")
        channels, size = backbone.shape[0], backbone.shape[-1]
        small = size // backbone.scale
        if self.pictures.shape[-2:] != (small, small):
            sides = "x".join(map(str, self.pictures.shape[-2:]))
            raise ValueError(f"edit.run: pictures of {sides}; allowed are {small}x{small}, the first stage's")
        for n, view in enumerate(self.views):
            if check_view(view, size, f"edit.views[{n}]")[0] == "pixels":  # drawn anew at every size
                raise ValueError(f"edit.views[{n}]=pixels: allowed are views that are the same at {small} and {size}")
        for prompts in self.prompts:
            if self.factors is None:
                check_anagram(prompts, self.views, size, self.reduction, self.weights)
            else:
                check_hybrid(prompts, self.factors, channels, held=0)
        settings = {
            "guidance_scale": sampler.scale(self.guidance_scale),
            "noise_level": backbone.noise_level,
            "views": [*self.views],
            "factors": self.factors,
        }
        count = len(self.pictures)
        return [Job("small", count, given=True), Job("upscaled", count, settings=settings)]

    def made_views(self, sampler: Sampler) -> list[View]:
        """The views at the second stage's size."""
        return [make_view(view, sampler.backbone.shape[-1]) for view in self.views]

    def combined(self, sampler: Sampler, guided: Denoiser) -> Denoiser:
        """The guided denoiser under all views, or of all factors."""
        backbone = sampler.backbone
        channels, _, size = backbone.shape
        grey, times = (1 + backbone.low) / 2, sampler.path_times(sampler.times)
        if self.factors is None:
            return combined_views(guided, self.made_views(sampler), grey, times, self.reduction, self.weights)
        factors = make_factors(self.factors, size, channels)
        return Combine(guided, [make_view("identity", size)] * len(factors), factors, grey)

    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        pictures, backbone = self.pictures[list(images)], sampler.backbone
        if job.given:
            return {"": pictures.cpu()}
        assert isinstance(backbone, Upscaler)
        prompts = [self.prompts_of(job, image) for image in images]
        x = sampler.start(images)
        context = backbone.context(pictures.to(backbone.device), sampler.noise(images, "context")(x))
        denoiser = Beside(self.combined(sampler, sampler.guided(self.guidance_scale, prompts)), context)
        condition = sampler.condition(prompts)
        # Frames are sixteen times as large as the first stage's, and little happens in them.
        return sampler.run(sampler.thresholded(denoiser), x, images, condition, label=job.name, record=False)

    def prompts_of(self, job: Job, image: int) -> list[str]:
        return [] if job.given else [*self.prompts[image]]

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        numbers, size = range(len(self.pictures)), sampler.backbone.shape[-1]
        small = [cell("small", n, "") for n in numbers]
        enlarged = [torch.nn.functional.interpolate(each[None], (size, size), mode="nearest")[0] for each in small]
        large = [cell("upscaled", n, "") for n in numbers]
        rows, labels = [enlarged, large], [f"{side} px" for side in (self.pictures.shape[-1], size)]
        for view in self.made_views(sampler):
            if view.name != "identity":
                rows.append([view.displayed(picture[None])[0] for picture in large])
                labels.append(view.name.replace("_", " "))
        return Figure(rows, labels, title="second stage")
