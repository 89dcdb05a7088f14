"""Numbers with their uncertainty: 95 % bootstrap intervals (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from denoiselab.noise import key

LEVEL = 0.95


def mean_interval(values: Tensor, seed: int, repeats: int = 400) -> dict[str, float]:
    """{"value", "low", "high"} of the mean of values (N,): percentiles of the means of N drawn with replacement."""
    generator = torch.Generator().manual_seed(key(seed, "bootstrap"))
    values = values.double()
    means = torch.stack(
        [values[torch.randint(len(values), (len(values),), generator=generator)].mean() for _ in range(repeats)]
    )
    low, high = _percentiles(means)
    return {"value": float(values.mean()), "low": low, "high": high}


def interval(statistic: Callable[[Tensor], float], values: Tensor, seed: int, repeats: int = 50) -> dict[str, float]:
    """{"value", "low", "high"} of a statistic of a set (N, ...) that sets of few images bias, such as a distance.

    A set drawn with replacement has fewer different images and so more of the bias. The interval has the spread of the
    drawn sets' values about their own mean, laid about the value of the whole set.
    """
    generator = torch.Generator().manual_seed(key(seed, "bootstrap"))
    value = statistic(values)
    drawn = torch.tensor(
        [statistic(values[torch.randint(len(values), (len(values),), generator=generator)]) for _ in range(repeats)],
        dtype=torch.float64,
    )
    low, high = _percentiles(drawn - drawn.mean())
    return {"value": value, "low": max(value + low, 0.0), "high": value + high}


def _percentiles(values: Tensor) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(values, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high
