"""Adam and its learning rate as a function of the global step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

LR_SCHEDULES = ("constant", "exponential", "cosine")


@dataclass(frozen=True)
class Optimizer:
    """Adam (Kingma & Ba 2015) with a learning rate that is a pure function of the global step.

    There is no scheduler object and so no scheduler state to restore: a resumed run asks the same function.

    Attributes:
        lr: the highest learning rate, > 0.
        schedule: "constant"; "exponential": times final^(1/epochs) once an epoch, reaching lr * final after the last
            (the course's decay, final = 0.1); "cosine": half a cosine from lr to lr * final, step by step.
        final: the learning rate at the end, as a fraction of lr, in (0, 1] (cosine: [0, 1]).
        warmup_steps: the learning rate rises linearly over so many first steps, >= 0.
        betas: Adam's decay rates.
    """

    lr: float
    schedule: str
    final: float = 0.1
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if self.schedule not in LR_SCHEDULES:
            raise ValueError(f"optimizer.schedule={self.schedule!r}: allowed are {', '.join(LR_SCHEDULES)}")
        if not self.lr > 0:
            raise ValueError(f"optimizer.lr={self.lr}: allowed is a positive number")
        if not (0 < self.final <= 1 or (self.final == 0 and self.schedule == "cosine")):
            raise ValueError(f"optimizer.final={self.final}: allowed is more than 0 and at most 1 (cosine: also 0)")
        if self.warmup_steps < 0:
            raise ValueError(f"optimizer.warmup_steps={self.warmup_steps}: allowed is 0 or more")

    def learning_rate(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The learning rate of optimizer step `step`, counted from 0."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.schedule == "constant":
            factor = 1.0
        elif self.schedule == "exponential":
            factor = self.final ** ((step // steps_per_epoch) / epochs)
        else:
            progress = min(1.0, step / max(1, steps_per_epoch * epochs))
            factor = self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))
        return self.lr * warmup * factor

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
        """Adam over the parameters, in one fused kernel."""
        return torch.optim.Adam(parameters, lr=self.lr, betas=(self.betas[0], self.betas[1]), fused=True)
