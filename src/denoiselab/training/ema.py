"""Exponential moving average of the weights."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EMA(WeightAveraging):
    """w_ema <- decay w_ema + (1 - decay) w after every step; validation and pictures use w_ema.

    BatchNorm's running statistics are averaged along with the weights, its counts are copied. Checkpoints keep the
    average in `state_dict` and the weights in training beside it. List it after every callback that draws: Lightning
    swaps the average in before their on_validation_epoch_end and out in this one's.

    Args:
        decay: in (0, 1), e.g. 0.999.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"callbacks.ema.decay={decay}: allowed is more than 0 and less than 1")
        average = get_ema_multi_avg_fn(decay)

        def update(averaged: list[Tensor], current: list[Tensor], updates: Any) -> None:
            """In place, for tensors of one type."""
            if averaged[0].is_floating_point():
                average(averaged, current, updates)
            else:
                with torch.no_grad():
                    torch._foreach_copy_(averaged, current)

        super().__init__(multi_avg_fn=update)
