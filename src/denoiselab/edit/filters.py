"""Factor sets of hybrids (Geng et al. 2024, "Factorized Diffusion"): linear maps that sum to the identity.

Each factor takes its part of the noise estimate from another prompt; because they sum to the identity, the parts of
one estimate make up that estimate. Lengths are in pixels of a 64 px picture and scale with the size, so that a factor
sees the same of a picture at 64, 256 and 1024 px.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from torch import Tensor

from denoiselab.edit.names import Terms, check_factors

Factor = Callable[[Tensor], Tensor]  # linear, (B, C, H, W) -> (B, C, H, W)


def make_factors(specs: Any, size: int, channels: int, key: str = "factors") -> list[Factor]:
    """The factors of a set's name or a list of specs (see `check_factors`), for pictures (channels, size, size).

    Raises ValueError, in one line that begins with `key`, as `check_factors` and `check_sum` do.
    """
    factors = [_factor(terms) for terms in check_factors(specs, channels, key)]
    check_sum(factors, size, channels, key)
    return factors


def check_sum(factors: Sequence[Factor], size: int, channels: int, key: str = "factors") -> None:
    """Raises ValueError, in one line, where the factors' sum misses the identity by more than 1e-4.

    The miss is the largest difference at any pixel of a probe of standard normal noise (1, channels, size, size).
    """
    probe = torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(0))
    miss = float((sum(factor(probe) for factor in factors) - probe).abs().max())
    if not miss <= 1e-4:  # nor NaN
        raise ValueError(f"{key}: allowed is factors that sum to the identity, at size {size} these miss by {miss:.2g}")


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """x (B, C, H, W) square, blurred with a Gaussian of `sigma` > 0 pixels at 64 px: sigma * W / 64 pixels here.

    The kernel is odd and 16.5 sigma wide, as the course's 33 for sigma 2 at 64 px, or as wide as mirroring the picture
    at its edges allows.
    """
    size = x.shape[-1]
    sigma = sigma * size / 64
    width = 2 * min(math.floor(8.25 * sigma), size - 1) + 1
    for kernel in ([width, 1], [1, width]):  # the 2-d kernel is the product of two: 2 x 133 taps at 256 px, not 133^2
        x = TF.gaussian_blur(x, kernel, [sigma, sigma])
    return x


def motion_blur(x: Tensor, length: float) -> Tensor:
    """x (B, C, H, W) square, averaged along rows over `length` pixels at 64 px, in (1, 64]; edges are mirrored."""
    length = length * x.shape[-1] / 64
    reach = math.ceil((length - 1) / 2)
    if reach < 1:
        return x
    weights = x.new_ones(2 * reach + 1)
    weights[[0, -1]] = (length - (2 * reach - 1)) / 2  # what is left of the length, for the pixels at the ends
    padded = F.pad(x, (reach, reach, 0, 0), mode="reflect").flatten(0, 1).unsqueeze(1)  # (B C, 1, H, W + 2 reach)
    return F.conv2d(padded, weights.reshape(1, 1, 1, -1) / length).reshape(x.shape)


def grey(x: Tensor) -> Tensor:
    """The mean of the channels of x (B, C, H, W) in each of them: an orthogonal projection."""
    return x.mean(1, keepdim=True).expand_as(x)


_OPERATORS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda x, _: x,
    "low": gaussian_blur,
    "grey": lambda x, _: grey(x),
    "motion": motion_blur,
}


def _factor(terms: Terms) -> Factor:
    def factor(x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for (operator, value), weight in terms.items():
            total = total.add(_OPERATORS[operator](x, value), alpha=weight)
        return total

    return factor
