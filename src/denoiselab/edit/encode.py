"""Prompt embeddings, made once and kept (A0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from denoiselab.edit.edit import Cells, Edit, Figure, Job, Sampler

SIDE = 8  # pixels of a square of the figure


@dataclass(kw_only=True)
class Encode(Edit):
    """The conditions of prompts, which the backbone keeps for later runs, and how alike they are.

    Args:
        prompts: to be encoded.
    """

    network = False
    prompts: Sequence[str]

    def jobs(self, sampler: Sampler) -> list[Job]:
        return [Job("similarity", len(self.prompts))]

    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        """Rows of squares (B, 1, SIDE, P SIDE): cosine similarities of the prompts' mean conditions, 0 to 1."""
        condition = sampler.backbone.condition(list(self.prompts))
        if condition is None:
            raise ValueError(f"edit=encode: allowed is a backbone with prompts, {sampler.backbone.name} has none")
        mean = condition.float().reshape(len(condition), -1, condition.shape[-1]).mean(1)  # over the tokens
        mean = torch.nn.functional.normalize(mean, dim=1)
        similarity = (mean[list(images)] @ mean.T).clamp(0, 1).cpu()  # (B, P)
        return {"": similarity.repeat_interleave(SIDE, 1)[:, None, None].expand(-1, -1, SIDE, -1)}

    def prompts_of(self, job: Job, image: int) -> list[str]:
        return [self.prompts[image]]

    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        rows = [[cell("similarity", n, "")] for n in range(len(self.prompts))]
        labels = [f"{n}: {prompt or '(none)'}" for n, prompt in enumerate(self.prompts)]
        return Figure(rows, labels, title="similarity of the prompts, 0 black to 1 white, in the rows' order")
