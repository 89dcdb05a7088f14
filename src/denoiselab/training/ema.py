"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn


class EMA(WeightAveraging):
    """w_ema <- decay w_ema + (1 - decay) w after every step; validation and pictures use w_ema.

    Checkpoints keep the average in `state_dict` and the weights in training beside it. List it after every callback
    that draws: Lightning swaps the average in before their on_validation_epoch_end and out in this one's. Elsewhere
    `averaged` does.

    BatchNorm's running statistics are averaged along with the weights, its counts copied.

    Args:
        decay: in (0, 1), e.g. 0.999.
        warmup: the n-th update, counted from 0, has the decay min(decay, (1 + n) / (10 + n)) (TensorFlow's
            ExponentialMovingAverage), so that a short run's average has forgotten how it began.
    """

    def __init__(self, decay: float, warmup: bool = False) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"callbacks.ema.decay={decay}: allowed is more than 0 and less than 1")
        self.decay, self.warmup = decay, warmup
        super().__init__()

    def decay_of(self, update: int) -> float:
        """The decay of an update, counted from 0; there is one after every step."""
        return min(self.decay, (1 + update) / (10 + update)) if self.warmup else self.decay

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # Lightning's choice is the module's, which is not there yet
        super().setup(trainer, pl_module, stage)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        # Not by AveragedModel.update_parameters, which looks at its count of updates, and so waits for a GPU, twice.
        if trainer.global_step == self._latest_update_step or self._average_model is None:
            return
        decay = self.decay_of(self._latest_update_step) if self._latest_update_step else 0.0
        pairs = [*zip(_state(self._average_model.module), _state(pl_module), strict=True)]
        averaged, current = zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True)
        torch._foreach_lerp_(averaged, current, 1 - decay)
        if counts := [pair for pair in pairs if not pair[0].is_floating_point()]:  # BatchNorm's
            averaged, current = zip(*counts, strict=True)
            torch._foreach_copy_(averaged, current)
        self._average_model.n_averaged += 1
        self._latest_update_step = trainer.global_step


@contextmanager
def averaged(trainer: L.Trainer, module: L.LightningModule) -> Iterator[None]:
    """The module in eval mode, with the weights that its checkpoint has: the average, where there is an `EMA`."""
    average = next((callback for callback in trainer.callbacks if isinstance(callback, EMA)), None)  # type: ignore[attr-defined]
    if average:
        average._swap_models(module)
    module.eval()
    try:
        yield
    finally:
        module.train()
        if average:
            average._swap_models(module)


def _state(module: nn.Module) -> list[Tensor]:
    """What of a module is averaged: its parameters, then its buffers."""
    return [*module.parameters(), *module.buffers()]
