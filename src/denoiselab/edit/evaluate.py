"""Samples to be measured: as `generate` makes them, in thousands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from denoiselab.edit.edit import Cells, Figure, Job, Sampler
from denoiselab.edit.generate import Generate
from denoiselab.edit.times import shares
from denoiselab.sample import evaluations

SHOWN = 2  # rows of each job in the figure


@dataclass(kw_only=True)
class Evaluate(Generate):
    """Pictures of prompts in turn, for every guidance scale and number of steps, without the way to them.

    Args:
        samples: pictures of each job; image n is of prompt n mod P.
        steps: numbers of steps of the solver, from noise to clean.
        shift: of their times, see `times.shares`; 1 is evenly.
    """

    recorded: ClassVar[bool] = False
    samples: int = 10_000
    steps: Sequence[int] = (50,)

    def images(self) -> int:
        return self.samples

    def times(self, sampler: Sampler, steps: int | None) -> Tensor:
        assert steps is not None
        return sampler.backbone.denoiser.path.at_shares(shares(steps, self.shift))

    def jobs(self, sampler: Sampler) -> list[Job]:
        jobs = super().jobs(sampler)
        for job in jobs:
            job.settings["evaluations"] = evaluations(sampler.solver["name"], job.settings["steps"])
            job.settings["shift"] = self.shift
        return jobs

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        jobs, width = self.jobs(sampler), len(self.prompts) if len(self.prompts) > 1 else 10
        width = min(width, self.samples)
        shown = range(min(SHOWN, self.samples // width))
        rows = [[cell(job.name, row * width + n, "") for n in range(width)] for job in jobs for row in shown]
        labels = [job.label or job.name for job in jobs for _ in shown]
        words: Sequence[str] | None = [prompt or "(none)" for prompt in self.prompts] if len(self.prompts) > 1 else None
        return Figure(rows, labels, None if words is None else list(words), f"the first of {self.samples:,} samples")
