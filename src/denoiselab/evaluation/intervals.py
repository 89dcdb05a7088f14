"""Numbers with their uncertainty: 95 % intervals."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from denoiselab.comparison import NORMAL
from denoiselab.noise import key

LEVEL = 0.95  # of all intervals; NORMAL belongs to it
DRAWS = 100  # sets drawn for an interval: their standard deviation is known to 7 %
FEWEST = 10  # of a stratum: drawn from n, what is drawn varies by (n - 1) / n of what it should


def share_interval(hits: Tensor) -> dict[str, float]:
    """{"value", "low", "high"} of the share of what is true in hits (N,), by Wilson's score (1927).

    The bootstrap would have no width where all are true, or none.
    """
    n, share = len(hits), float(hits.double().mean())
    centre = (share + NORMAL**2 / (2 * n)) / (1 + NORMAL**2 / n)
    half = NORMAL / (1 + NORMAL**2 / n) * (share * (1 - share) / n + NORMAL**2 / (4 * n**2)) ** 0.5
    # At 0 and 1 one end is the share itself, but for rounding.
    return {"value": share, "low": max(min(centre - half, share), 0.0), "high": min(max(centre + half, share), 1.0)}


def mean_interval(values: Tensor, seed: int, strata: Tensor | None = None, repeats: int = 400) -> dict[str, float]:
    """{"value", "low", "high"} of the mean of values (N,): percentiles of the means of sets drawn by `bootstrap`."""
    values = values.double()
    means = torch.stack([values[drawn].mean() for drawn in bootstrap(len(values), seed, strata, repeats)])
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return {"value": float(values.mean()), "low": low, "high": high}


def interval(
    statistic: Callable[[Tensor], float],
    size: int,
    seed: int,
    strata: Tensor | None = None,
    repeats: int = DRAWS,
) -> dict[str, float]:
    """{"value", "low", "high"} of a statistic of a set that sets of few images bias, such as a distance.

    A set drawn by `bootstrap` has fewer different images and so more of the bias: the interval is the value of the
    whole set and 1.96 standard deviations of the drawn sets' values to each side.

    Args:
        statistic: of the numbers (M,) of those in a set.
        size: of the whole set.
    """
    return around(statistic(torch.arange(size)), drawn_values(statistic, size, seed, strata, repeats))


def around(value: float, drawn: Sequence[float]) -> dict[str, float]:
    """{"value", "low", "high"} of a statistic >= 0: its value and 1.96 standard deviations of drawn sets' values."""
    half = NORMAL * float(torch.tensor(drawn, dtype=torch.float64).std())
    return {"value": value, "low": max(value - half, 0.0), "high": value + half}


def jackknife(value: float, without: Tensor, strata: Tensor | None = None) -> dict[str, float]:
    """{"value", "low", "high"} of a share of other things that a set of images meets, such as coverage.

    A set drawn with replacement meets less than a new one, and varies too little. The values without each image tell
    how much each matters: the interval is 1.96 of their standard deviations (Tukey 1958) to each side, which on average
    is not too narrow (Efron & Stein 1981).

    Args:
        value: in [0, 1].
        without: (N,) the values without each image.
        strata: (N,) as of `bootstrap`.
    """
    variance = 0.0
    for own in _strata(len(without), strata):
        variance += (len(own) - 1) * float(without[own].var(correction=0))
    half = NORMAL * variance**0.5
    return {"value": value, "low": max(value - half, 0.0), "high": min(value + half, 1.0)}


def drawn_values(
    statistic: Callable[[Tensor], float], size: int, seed: int, strata: Tensor | None, repeats: int
) -> list[float]:
    """The statistic's values of the sets that `bootstrap` draws."""
    return [statistic(drawn) for drawn in bootstrap(size, seed, strata, repeats)]


def draws_digest(size: int, seed: int, strata: Tensor | None, repeats: int) -> str:
    """Of what decides which numbers `bootstrap` draws: sets that share it have the same ones drawn.

    So their `drawn_values` are pairs (a paired bootstrap), and noise that two sets have in common largely cancels in
    the difference.
    """
    labels = [] if strata is None else strata.tolist()
    return hashlib.sha256(repr((size, seed, labels, repeats)).encode()).hexdigest()[:8]


def bootstrap(size: int, seed: int, strata: Tensor | None, repeats: int) -> Iterator[Tensor]:
    """The numbers (size,) of as many drawn with replacement from a set (Efron 1979), `repeats` times.

    Args:
        strata: (size,) the stratum of each, such as the digit asked for. Samples of the digits in turn do not vary in
            how many there are of each, so those drawn do not either: each is drawn from its own stratum (Bickel &
            Freedman 1984). None, or one of fewer than 10: from all.
    """
    generator = torch.Generator().manual_seed(key(seed, "bootstrap"))
    each_own = _strata(size, strata)
    for _ in range(repeats):
        yield torch.cat([own[torch.randint(len(own), (len(own),), generator=generator)] for own in each_own])


def _strata(size: int, strata: Tensor | None) -> list[Tensor]:
    """The numbers of those in each stratum; where there are none, or one has too few, of all."""
    if strata is None or int(strata.unique(return_counts=True)[1].min()) < FEWEST:
        return [torch.arange(size)]
    return [(strata == each).nonzero()[:, 0] for each in strata.unique()]
