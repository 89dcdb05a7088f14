"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from denoiselab.noise import key
from denoiselab.training.modules import PixelModule


class EMA(WeightAveraging):
    """w_ema <- decay w_ema + (1 - decay) w after every step; validation and pictures use w_ema.

    Checkpoints keep the average in `state_dict` and the weights in training beside it. List it after every callback
    that draws: Lightning swaps the average in before their on_validation_epoch_end and out in this one's. Elsewhere
    `averaged` does.

    BatchNorm's running statistics are averaged along with the weights and its counts copied, but statistics of averaged
    weights are no averages of statistics. With `bn_batches` they are estimated anew before the average is used: the
    means over so many training batches (Izmailov et al. 2018, section 3.3), noised as in training. They depend on the
    average, the seed and the epoch alone, so a resumed run has the same; each rank takes whole global batches, so all
    ranks have the same. Those of the weights in training are left alone.

    Args:
        decay: in (0, 1), e.g. 0.999.
        warmup: the n-th update, counted from 0, has the decay min(decay, (1 + n) / (10 + n)) (TensorFlow's
            ExponentialMovingAverage), so that a short run's average has forgotten how it began.
        bn_batches: global batches that BatchNorm's statistics are estimated on, >= 0; 0 for their average.
    """

    def __init__(self, decay: float, warmup: bool = False, bn_batches: int = 0) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"callbacks.ema.decay={decay}: allowed is more than 0 and less than 1")
        if bn_batches < 0:
            raise ValueError(f"callbacks.ema.bn_batches={bn_batches}: allowed is 0 (averaged statistics) or more")
        self.decay, self.warmup, self.bn_batches = decay, warmup, bn_batches
        self._estimated_at = -1  # the global step of the last estimate
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

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._estimate_statistics(trainer)
        super().on_validation_epoch_start(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._estimate_statistics(trainer)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    @torch.no_grad()
    def _estimate_statistics(self, trainer: L.Trainer) -> None:
        if not self.bn_batches or self._average_model is None or self._estimated_at == trainer.global_step:
            return
        self._estimated_at = trainer.global_step
        module, loader = self._average_model.module, trainer.train_dataloader
        assert isinstance(module, PixelModule) and loader is not None
        norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
        if not norms:
            return
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over the batches; nothing but this calls the average itself
        module.train()
        epoch = trainer.current_epoch
        generator = torch.Generator(module.device).manual_seed(key(module.seed, epoch, "batchnorm"))
        with trainer.precision_plugin.forward_context():
            for number in range(self.bn_batches):
                step = epoch * len(loader) + number % len(loader)
                module.observe(loader.global_batch(step), generator)


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
