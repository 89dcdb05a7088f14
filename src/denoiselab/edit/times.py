"""Lists of times: which indices of a 1,000-step schedule a solver visits, from noisy to clean. Imports no torch.

Indices are DeepFloyd's, 0 (nearly clean) to 999 (noisiest), on every model: `GaussianPath.at_index` finds the time at
the same share of another path. After index 0 comes the clean picture, so a list of n indices is n steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

INDICES = 1000


def strided(stride: int = 30, first: int | None = None) -> list[int]:
    """first, first - stride, ..., 0; 990, 960, ..., 30, 0 by default.

    Args:
        stride: between neighbours, 1 to 999.
        first: a multiple of the stride, up to 999; None for the largest.

    Raises:
        ValueError: a list that would not end at 0, or leave the schedule.
    """
    if not 1 <= stride < INDICES:
        raise ValueError(f"times.stride={stride}: allowed is 1 to {INDICES - 1}")
    most = (INDICES - 1) // stride * stride
    first = most if first is None else first
    if first % stride or not 0 < first < INDICES:
        allowed = f"a multiple of times.stride={stride} up to {most}, or the list would not end clean"
        raise ValueError(f"times.first={first}: allowed is {allowed}")
    return list(range(first, -1, -stride))


def linspace(steps: int) -> list[int]:
    """`steps` indices evenly from 999 to 0, rounded (diffusers' "linspace" spacing).

    Raises ValueError unless 2 <= steps <= 1000.
    """
    return shifted(steps, 1.0)


def shifted(steps: int, shift: float, group: str = "times") -> list[int]:
    """`steps` indices from 999 to 0, at t' = shift t / (1 + (shift - 1) t) for t evenly from 1 to 0, rounded.

    Esser et al. 2024 (SD3), arXiv:2403.03206, equation 23, where shift is the square root of the ratio of pixels. Above
    1 more steps are spent near the noise, below 1 near the clean picture; 1 is `linspace`.

    Args:
        group: what the errors call the settings by, times.steps and times.shift.

    Raises:
        ValueError: unless 2 <= steps <= 1000, shift is positive and finite, and all indices differ.
    """
    if not 2 <= steps <= INDICES:
        raise ValueError(f"{group}.steps={steps}: allowed is 2 to {INDICES}")
    if not 0 < shift < math.inf:
        raise ValueError(f"{group}.shift={shift}: allowed is a positive number")
    even = [1 - k / (steps - 1) for k in range(steps)]
    indices = [round((INDICES - 1) * (shift * t / (1 + (shift - 1) * t))) for t in even]
    if len(set(indices)) < steps:
        allowed = f"fewer with {group}.shift={shift:g}, whose times differ on a schedule of {INDICES} steps"
        raise ValueError(f"{group}.steps={steps}: allowed are {allowed}")
    return indices


def shares(steps: int, shift: float = 1.0) -> list[float]:
    """t / T from 1 to 0 of a run in so many steps, (steps + 1,): even, or moved by `shift` as `shifted` does.

    A list of indices has its last at index 0, near the clean picture, which it then goes to: of few steps too many for
    the little that is left there. Here the last step goes to the clean picture from where it is.
    """
    even = [1 - k / steps for k in range(steps + 1)]
    return [shift * t / (1 + (shift - 1) * t) for t in even]


def explicit(indices: Sequence[int]) -> list[int]:
    """The indices as they are.

    Raises ValueError unless they fall strictly from at most 999 to 0: a list that does not end there leaves noise.
    """
    falls = bool(indices) and all(a > b for a, b in pairwise(indices)) and indices[0] < INDICES
    if not falls or indices[-1] != 0:
        allowed = f"indices that fall strictly from at most {INDICES - 1} to 0, or the result would not be clean"
        raise ValueError(f"times.indices={list(indices)}: allowed are {allowed}")
    return list(indices)


def check_start(start: int, indices: Sequence[int], key: str) -> None:
    """Raises ValueError unless `start` is the position of an entry of the list of times."""
    if not 0 <= start < len(indices):
        raise ValueError(f"{key}={start}: allowed is 0 to {len(indices) - 1}, a position in the list of times")


def resampled(steps: int, jump: int, times: int) -> list[int]:
    """RePaint's walk (Lugmayr et al. 2022, section 4.2) over the positions 0 (noisiest) to `steps` (clean).

    Whenever `jump` more steps are done, it goes back up by as many, `times` - 1 times; the clean end is reached once.

    Args:
        jump: length of a jump, in steps, 1 or more.
        times: how often each stretch is denoised; 1 is the plain 0, 1, ..., steps.
    """
    walk = [0]
    for position in range(1, steps + 1):
        walk.append(position)
        if position % jump == 0 and position < steps:
            for _ in range(times - 1):
                walk += range(position - jump, position + 1)
    return walk
