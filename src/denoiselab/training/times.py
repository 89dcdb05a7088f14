"""The law of training times."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from denoiselab.noise import GaussianPath

TIME_LAWS = ("uniform", "logit_normal")


@dataclass(frozen=True)
class Times:
    """Times to train at, on any path.

    Attributes:
        law: "uniform"; "logit_normal" (Esser et al. 2024, SD3, section 3.1): t = T / (1 + exp(-z)) with
            z ~ N(location, scale^2), in (0, T), on a discrete path rounded up to 1..T. The paper's time is noise's, as
            ours: a positive location prefers noisy pictures, a negative one nearly clean ones.
        location: of logit_normal, any number.
        scale: of logit_normal, > 0.
    """

    law: str
    location: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.law not in TIME_LAWS:
            raise ValueError(f"model.times.law={self.law!r}: allowed are {', '.join(TIME_LAWS)}")
        if not math.isfinite(self.location):
            raise ValueError(f"model.times.location={self.location}: allowed is a finite number")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"model.times.scale={self.scale}: allowed is a positive number")

    def __call__(self, path: GaussianPath, batch: int, generator: torch.Generator) -> Tensor:
        """Times (batch,), int64 or float32 as `path.random_times`, on the generator's device."""
        if self.law == "uniform":
            return path.random_times(batch, generator)
        z = torch.randn(batch, generator=generator, device=generator.device).double()
        # float32 would round what is close to an end to it
        u = torch.sigmoid(self.location + self.scale * z).clamp(2**-24, 1 - 2**-24)
        return (u * path.T).ceil().long() if path.discrete else (u * path.T).float()


UNIFORM = Times("uniform")
