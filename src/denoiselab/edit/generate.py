"""Pictures from pure noise (A0, A1.5, A1.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

from torch import Tensor

from denoiselab.edit.edit import Cells, Edit, Figure, Job, Sampler
from denoiselab.edit.times import shifted


@dataclass(kw_only=True)
class Generate(Edit):
    """Pictures of prompts, for every guidance scale and number of steps.

    Image n is of prompt n mod P. Its noise is the same at every scale and number of steps.

    Args:
        prompts: the conditions; "" is none.
        count: pictures of each prompt.
        guidance_scales: of classifier-free guidance; 0 is unconditional, 1 conditional; None: the backbone's usual one.
        steps: numbers of evaluations from noise to clean; None: the run's list of times.
        shift: of the times of `steps`, see `times.shifted`; 1 is evenly.
    """

    recorded: ClassVar[bool] = True  # whether frames are kept, where the sampler keeps any
    prompts: Sequence[str]
    count: int = 1
    guidance_scales: Sequence[float] | None = None
    steps: Sequence[int] | None = None
    shift: float = 1.0

    def jobs(self, sampler: Sampler) -> list[Job]:
        jobs = []
        step_counts: Sequence[int | None] = self.steps or [None]
        for scale, steps in product(self.guidance_scales or [sampler.scale(None)], step_counts):
            times = self.times(sampler, steps)
            settings = {"guidance_scale": scale, "steps": steps}
            label = [f"guidance {scale:g}"] * bool(self.guidance_scales) + [f"{steps} steps"] * bool(self.steps)
            name = f"g{scale:g}_s{len(times) - 1}"
            jobs.append(Job(name, self.images(), " ".join(label), settings))
        return jobs

    def images(self) -> int:
        """How many pictures each job has."""
        return len(self.prompts) * self.count

    def times(self, sampler: Sampler, steps: int | None) -> Tensor:
        """The times of a job, (steps + 1,), of the backbone's path."""
        return sampler.path_times(sampler.times if steps is None else shifted(steps, self.shift, "edit"))

    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        denoiser, condition = sampler.plain(job.settings["guidance_scale"], self.first_prompts(job, images))
        times = self.times(sampler, job.settings["steps"])
        return sampler.run(
            denoiser, sampler.start(images), images, condition, times, label=job.name, record=self.recorded
        )

    def prompts_of(self, job: Job, image: int) -> list[str]:
        return [self.prompts[image % len(self.prompts)]]

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        jobs, width = self.jobs(sampler), len(self.prompts)
        words = [prompt or "(none)" for prompt in self.prompts]
        if width > 1 and len(jobs) > 1 and self.count == 1:  # prompts x settings
            rows = [[cell(job.name, n, "") for job in jobs] for n in range(width)]
            return Figure(rows, words, [job.label for job in jobs], "from noise")
        if width == 1:  # a row for each setting
            rows = [[cell(job.name, n, "") for n in range(self.count)] for job in jobs]
            return Figure(rows, [job.label or words[0] for job in jobs], title=f"from noise: {words[0]}")
        rows = [
            [cell(job.name, row * width + n, "") for n in range(width)] for job in jobs for row in range(self.count)
        ]
        labels = [job.label for job in jobs for _ in range(self.count)] if len(jobs) > 1 else None
        scale = f", guidance {jobs[0].settings['guidance_scale']:g}" if len(jobs) == 1 else ""
        return Figure(rows, labels, words, f"from noise{scale}")
