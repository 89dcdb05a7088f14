"""Image to image: a picture, noised part of the way, is denoised again (A1.7, A1.7.1, A1.7.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from denoiselab.edit.edit import Cells, Edit, Figure, Job, Sampler, repeated
from denoiselab.edit.times import check_start


@dataclass(kw_only=True)
class SDEdit(Edit):
    """SDEdit (Meng et al. 2022): the later the start, the closer the result is to the picture.

    Args:
        image: the picture, (C, H, W) in [0, 1].
        prompts: what it is pulled towards, a row each; "" is no prompt.
        starts: positions in the list of times; 0 is nearly pure noise.
        count: results for each prompt and start.
        guidance_scale: of classifier-free guidance; None: the backbone's usual one.
    """

    image: Tensor
    prompts: Sequence[str]
    starts: Sequence[int] = (1, 3, 5, 7, 10, 20)
    count: int = 1
    guidance_scale: float | None = None

    def jobs(self, sampler: Sampler) -> list[Job]:
        jobs = [Job("original", 1, "original", given=True)]
        for start in self.starts:
            check_start(start, sampler.times, "edit.starts")
            settings = {
                "start": start,
                "t": sampler.times[start],
                "guidance_scale": sampler.scale(self.guidance_scale),
            }
            label = f"start {start}, t = {sampler.times[start]}"
            jobs.insert(-1, Job(f"start{start:02d}", len(self.prompts) * self.count, label, settings))
        return jobs

    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        if job.given:
            return repeated(self.image, len(images))
        denoiser, condition = sampler.plain(self.guidance_scale, self.first_prompts(job, images))
        x = sampler.noised(self.image, job.settings["t"], images)
        times = sampler.path_times(sampler.times)[job.settings["start"] :]
        return sampler.run(denoiser, x, images, condition, times, label=job.name)

    def prompts_of(self, job: Job, image: int) -> list[str]:
        return [] if job.given else [self.prompts[image % len(self.prompts)]]

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        jobs, width = self.jobs(sampler), len(self.prompts)
        rows = [
            [cell(job.name, 0 if job.given else row * width + n, "") for job in jobs]
            for n in range(width)
            for row in range(self.count)
        ]
        labels = [prompt or "(no prompt)" for prompt in self.prompts for _ in range(self.count)]
        return Figure(rows, labels, [job.label for job in jobs], "image to image")
