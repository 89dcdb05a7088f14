"""Visual anagrams: a picture that shows one thing upright and another turned (A1.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from denoiselab.edit.combine import combined_views
from denoiselab.edit.edit import Cells, Edit, Figure, Job, Sampler
from denoiselab.edit.names import check_anagram
from denoiselab.edit.views import View, make_view


@dataclass(kw_only=True)
class Anagram(Edit):
    """Geng et al. 2024, "Visual Anagrams": the estimates for all views, turned back, are averaged.

    Args:
        prompts: what each view shows.
        views: as many, see `make_view`, e.g. "identity", "rotate_180" or {"patches": 4}.
        count: pictures.
        guidance_scale: of classifier-free guidance, in each view; None: the backbone's usual one.
        reduction: "mean" of the views, or "alternating": one a step, in turn.
        weights: of the views in the mean, positive; they are divided by their sum. None: equal.
    """

    prompts: Sequence[str]
    views: Sequence[Any] = ("identity", "rotate_180")
    count: int = 5
    guidance_scale: float | None = None
    reduction: str = "mean"
    weights: Sequence[float] | None = None

    def jobs(self, sampler: Sampler) -> list[Job]:
        size = sampler.backbone.shape[-1]
        check_anagram(self.prompts, self.views, size, self.reduction, self.weights)
        settings = {
            "guidance_scale": sampler.scale(self.guidance_scale),
            "views": [*self.views],
            "reduction": self.reduction,
            "weights": self.weights,
        }
        return [Job("anagram", self.count, settings=settings)]

    def made_views(self, sampler: Sampler) -> list[View]:
        """The views at the backbone's size."""
        return [make_view(view, sampler.backbone.shape[-1]) for view in self.views]

    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        prompts = [[*self.prompts]] * len(images)
        times, grey = sampler.path_times(sampler.times), (1 + sampler.backbone.low) / 2
        guided = sampler.guided(self.guidance_scale, prompts)
        denoiser = combined_views(guided, self.made_views(sampler), grey, times, self.reduction, self.weights)
        x, condition = sampler.start(images), sampler.condition(prompts)
        made = sampler.run(sampler.thresholded(denoiser), x, images, condition, times, label=job.name)
        return made | self.seen(sampler, made[""])

    def seen(self, sampler: Sampler, pictures: Tensor) -> dict[str, Tensor]:
        """The pictures (B, C, H, W) through each view, by role."""
        return {f"view{n}": view.displayed(pictures) for n, view in enumerate(self.made_views(sampler))}

    def prompts_of(self, job: Job, image: int) -> list[str]:
        return [*self.prompts]

    def roles_read(self, job: Job, image: int) -> dict[str, str]:
        return {f"view{n}": prompt for n, prompt in enumerate(self.prompts)}

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        rows = [[cell("anagram", n, f"view{view}") for n in range(self.count)] for view in range(len(self.views))]
        names = [view.name.replace("_", " ") for view in self.made_views(sampler)]
        labels = [f"{name}: {prompt or '(none)'}" for name, prompt in zip(names, self.prompts, strict=True)]
        return Figure(rows, labels, title="visual anagrams")
