"""Numbers with their uncertainty: 95 % bootstrap intervals (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from denoiselab.noise import key

LEVEL, NORMAL = 0.95, 1.96


def mean_interval(values: Tensor, seed: int, repeats: int = 400) -> dict[str, float]:
    """{"value", "low", "high"} of the mean of values (N,): percentiles of the means of N drawn with replacement."""
    generator = torch.Generator().manual_seed(key(seed, "bootstrap"))
    values = values.double()
    means = torch.stack(
        [values[torch.randint(len(values), (len(values),), generator=generator)].mean() for _ in range(repeats)]
    )
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return {"value": float(values.mean()), "low": low, "high": high}


def interval(statistic: Callable[[Tensor], float], values: Tensor, seed: int, repeats: int = 25) -> dict[str, float]:
    """{"value", "low", "high"} of a statistic of a set (N, ...) that sets of few images bias, such as a distance.

    A set drawn with replacement has fewer different images and so more of the bias: the interval is the value of the
    whole set and 1.96 standard deviations of the drawn sets' values to each side.
    """
    generator = torch.Generator().manual_seed(key(seed, "bootstrap"))
    value = statistic(values)
    drawn = torch.tensor(
        [statistic(values[torch.randint(len(values), (len(values),), generator=generator)]) for _ in range(repeats)],
        dtype=torch.float64,
    )
    half = NORMAL * float(drawn.std())
    return {"value": value, "low": max(value - half, 0.0), "high": value + half}
