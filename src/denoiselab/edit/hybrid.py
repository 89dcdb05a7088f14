"""Hybrid images: one thing in the low frequencies, another in the high ones (A1.9), and other factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from denoiselab.denoise import Denoiser
from denoiselab.edit.combine import Combine, Given
from denoiselab.edit.edit import Cells, Edit, Figure, Job, Sampler, repeated
from denoiselab.edit.filters import Factor, make_factors
from denoiselab.edit.names import FACTOR_SETS, check_hybrid
from denoiselab.edit.views import make_view


@dataclass(kw_only=True)
class Hybrid(Edit):
    """Geng et al. 2024b, "Factorized Diffusion": each factor of the picture is estimated for a prompt of its own.

    With a photo it is an inverse hybrid: one factor is the photo's, the others are made.

    Args:
        prompts: what each factor shows; the photo's is not asked for.
        factors: linear maps with sum I, see `make_factors`: "low_high" or a list.
        count: pictures.
        guidance_scale: of classifier-free guidance, for each factor; None: the backbone's usual one.
        image: a photo (C, H, W) in [0, 1] whose factor number `held` is kept; None: nothing is.
        held: see image.
    """

    prompts: Sequence[str]
    factors: str | Sequence[Any] = "low_high"
    count: int = 5
    guidance_scale: float | None = None
    image: Tensor | None = None
    held: int = 0

    def made_factors(self, sampler: Sampler) -> list[Factor]:
        """The factors at the backbone's size."""
        channels, _, size = sampler.backbone.shape
        return make_factors(self.factors, size, channels, "edit.factors")

    def jobs(self, sampler: Sampler) -> list[Job]:
        check_hybrid(self.prompts, self.factors, sampler.backbone.shape[0], self.held)
        settings = {
            "guidance_scale": sampler.scale(self.guidance_scale),
            "factors": self.factors,
            "held": None if self.image is None else self.held,
        }
        hybrid = Job("hybrid", self.count, settings=settings)
        return [hybrid] if self.image is None else [Job("given", 1, given=True), hybrid]

    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        if job.given:
            assert self.image is not None
            return repeated(self.image, len(images))
        factors, backbone, grey = self.made_factors(sampler), sampler.backbone, (1 + sampler.backbone.low) / 2
        made_for = self.made_for()
        prompts = [self.prompts_of(job, image) for image in images]
        identity = make_view("identity", backbone.shape[-1])
        denoiser: Denoiser = Combine(
            sampler.guided(self.guidance_scale, prompts),
            [identity] * len(made_for),
            [factors[n] for n in made_for],
            grey,
        )
        if self.image is not None:
            denoiser = Given(denoiser, factors[self.held], sampler.photo(self.image, 1), grey)
        x, condition = sampler.start(images), sampler.condition(prompts)
        made = sampler.run(sampler.thresholded(denoiser), x, images, condition, label=job.name)
        return made | {f"factor{n}": self.shown(factor, made[""]) for n, factor in enumerate(factors)}

    def shown(self, factor: Factor, pictures: Tensor) -> Tensor:
        """A factor of pictures (B, C, H, W), with grey for zero where it takes constants away."""
        flat = factor(torch.ones_like(pictures[:1]))
        return (factor(pictures) + 0.5 * (1 - flat)).clamp(0, 1)

    def prompts_of(self, job: Job, image: int) -> list[str]:
        return [] if job.given else [self.prompts[n] for n in self.made_for()]

    def made_for(self) -> list[int]:
        """The factors that are made, by number: all but the photo's."""
        return [n for n in range(len(self.prompts)) if self.image is None or n != self.held]

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        roles = ["", *(f"factor{n}" for n in range(len(self.prompts)))]
        rows = [[cell("hybrid", n, role) for n in range(self.count)] for role in roles]
        specs = FACTOR_SETS[self.factors] if isinstance(self.factors, str) else self.factors
        labels = [
            "hybrid",
            *(f"{_name(spec)}: {prompt or '(none)'}" for spec, prompt in zip(specs, self.prompts, strict=True)),
        ]
        columns = None
        if self.image is not None:
            photo = cell("given", 0, "")
            parts = [self.shown(factor, photo[None])[0] for factor in self.made_factors(sampler)]
            rows = [[first, *row] for first, row in zip((photo, *parts), rows, strict=True)]
            labels[1 + self.held] = f"{_name(specs[self.held])}: the photo's"
            columns = ["photo", *[""] * self.count]
        return Figure(rows, labels, columns, "hybrid images")


def _name(spec: Any) -> str:
    """low 2 for {low: 2}."""
    if isinstance(spec, str):
        return spec
    ((name, value),) = spec.items()
    return " ".join(map(str, (name, *(value if isinstance(value, list) else [value]))))
